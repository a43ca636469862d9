"""`metatui completion`: what a shell needs to complete commands, presets, runs and settings."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

from metatui.utils.errors import MetatuiError


@click.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def completion(context: click.Context, shell: str) -> None:
    """Print the completion script for SHELL.

    bash: eval "$(metatui completion bash)" in ~/.bashrc;  zsh: eval "$(metatui completion zsh)" in ~/.zshrc;
    fish: metatui completion fish > ~/.config/fish/completions/metatui.fish
    """
    kind = get_completion_class(shell)
    if kind is None:
        raise MetatuiError(f"this version of click completes nothing in {shell}")
    click.echo(kind(context.find_root().command, {}, "metatui", "_METATUI_COMPLETE").source())
