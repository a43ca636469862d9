"""`metatui attach`: open the app with a run that is training in another process."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from metatui.cli.app import open_app
from metatui.cli.options import complete_live_runs, examples, runs_dir_option

if TYPE_CHECKING:
    from metatui.runs.storage.run_folder import RunFolder


@click.command(
    epilog=examples(
        "metatui attach # show the newest run that is training",
        "metatui attach maml-sinusoid # the beginning of a name is enough",
    )
)
@click.argument("run", required=False, shell_complete=complete_live_runs)
@runs_dir_option
@click.option("--ascii", "ascii_only", is_flag=True, help="Use ASCII characters only.")
@click.option("--theme", metavar="NAME", help="Colour theme of the app.")
def attach(run: str | None, runs_dir: Path | None, ascii_only: bool, theme: str | None) -> int:
    """Open a live RUN (one that is still training) in the app, to watch, pause, change or stop it.

    RUN is the name of a run, the beginning of its name, its folder, or latest for the newest run; the default is the
    newest live run. Quitting the app does not stop the run.
    """
    from metatui.utils import paths

    root = paths.runs_dir(runs_dir)
    return open_app(lambda: {"runs_dir": root, "attach": _live(run, root)}, ascii_only=ascii_only, theme=theme)


def _live(name: str | None, root: Path) -> RunFolder:
    """Return the live run `name`, or the newest live run if `name` is None.

    Raises:
        BadInput: if there is no such run, or it is not live.
    """
    from metatui.runs.storage.store import RunStore

    store = RunStore(root)
    if name is None:
        return store.require_live_runs()[0]
    run = store.find(name, live=True)
    if not run.is_live():
        raise run.not_live_error()
    return run
