"""`metatui plugin`: print a complete plugin as a starting point."""

from __future__ import annotations

from importlib.resources import files

import click

from metatui.cli.console.output import echo
from metatui.cli.options import examples

KINDS = ("model", "algorithm", "data")


@click.command(
    epilog=examples(
        "metatui plugin model > my_model.py",
        "metatui plugin algorithm > my_algorithm.py",
        "metatui plugin data > my_data.py",
    )
)
@click.argument("kind", type=click.Choice(KINDS))
def plugin(kind: str) -> None:
    """Print an example plugin of the given KIND: a starting point for your own model, algorithm or data set.

    The first lines of the file say how to train with the plugin. To load a plugin, put --plugin FILE.py before the
    command: metatui --plugin my_model.py run quick --set model.name=my_model.
    """
    echo(files("metatui.cli.templates").joinpath(f"{kind}.py").read_text(encoding="utf-8"), nl=False)
