"""`metatui completion`: print the script that enables completion in a shell."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

from metatui.cli.console.output import echo
from metatui.cli.options import examples
from metatui.utils.errors import MetatuiError


@click.command(
    epilog=examples(
        'eval "$(metatui completion bash)" # in ~/.bashrc',
        'eval "$(metatui completion zsh)" # in ~/.zshrc',
        "metatui completion fish > ~/.config/fish/completions/metatui.fish",
    )
)
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def completion(context: click.Context, shell: str) -> None:
    """Print the completion script for SHELL."""
    kind = get_completion_class(shell)
    if kind is None:
        raise MetatuiError(f"the installed version of click has no completion for {shell}")
    echo(kind(context.find_root().command, {}, "metatui", "_METATUI_COMPLETE").source())
