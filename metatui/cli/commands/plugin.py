"""`metatui plugin`: print a complete plugin as a starting point."""

from __future__ import annotations

from importlib.resources import files

import click

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
    """Print a complete plugin of KIND, to be changed into a model, an algorithm or a data set of your own.

    The first lines of the file say how to train with it. The option --plugin FILE.py, given before a command, loads a
    plugin: metatui --plugin my_model.py run quick --set model.name=my_model.
    """
    click.echo(files("metatui.cli.templates").joinpath(f"{kind}.py").read_text(encoding="utf-8"), nl=False)
