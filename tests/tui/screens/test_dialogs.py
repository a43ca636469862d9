"""Tests of the layout of dialogs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from textual.widgets import Input

from metatui.runs.storage.run_folder import RunFolder
from metatui.tui.screens.compare.save_dialog import ExportScreen, ReportScreen
from metatui.tui.screens.dialogs.confirm import ConfirmScreen
from metatui.tui.screens.dialogs.dialog import Dialog
from metatui.tui.screens.dialogs.failure import FailureScreen
from metatui.tui.screens.dialogs.prompt import AskScreen
from tests.tui.screens.conftest import ScreenApp, text_of
from tests.tui.sizes import SIZES

LOG = """\
Traceback (most recent call last):
  File "/home/me/metatui/runs/execution/session.py", line 212, in _train
    for event in trainer.events():
                 ^^^^^^^^^^^^^^^^
  File "/home/me/metatui/learning/training/trainer.py", line 187, in events
    yield from self._meta_steps(first=iteration + 1, last=self.settings.training.iterations)
RuntimeError: CUDA error: an illegal memory access was encountered
"""
QUESTION = (
    "Enter 5 held-out classes, separated by commas. Each is a number (from 0), a name, or the beginning of a name. "
    "The name of an alphabet selects as many of its characters as are needed."
)
DIALOGS: dict[str, Callable[[], Dialog[Any]]] = {
    "question": lambda: AskScreen("Classes", QUESTION, check=lambda _: None),
    "export": lambda: ExportScreen(Path("/home/me/comparison.md"), lambda _: None),
    "failure": lambda: FailureScreen(
        RunFolder(Path("/runs/maml-sinusoid-20260102-030405")),
        "the run ended after meta-step 300 with an unexpected error (RuntimeError): the traceback is in "
        "/runs/maml-sinusoid-20260102-030405/crash.log",
        LOG.splitlines(),
    ),
}


async def test_details_have_room_for_wrapped_lines() -> None:
    details = ["Finished, 20 meta-steps, test 6.9 ± 1.0, 10 of 600 tasks diverged", "Stopped"]
    dialog = ConfirmScreen("Delete", "Delete these runs?", yes="Delete", details=details)
    async with ScreenApp(dialog).run_test(size=(60, 24)):
        assert dialog.query_one("#confirm-details").size.height == 3
        assert text_of(dialog, "#confirm-details") == " ".join(details)


@pytest.mark.parametrize(
    "make",
    [lambda path: ExportScreen(path, lambda _: None), lambda path: ReportScreen([RunFolder(path)], path.parent)],
    ids=["export", "report"],
)
async def test_a_long_path_can_be_read(tmp_path: Path, make: Callable[[Path], Dialog[Any]]) -> None:
    def whole() -> str:
        return text_of(dialog, "#save-whole").replace(" ", "")

    dialog = make(tmp_path / "a-folder-with-a-long-name" / "another-folder-with-a-long-name" / "runs" / "maml.html")
    async with ScreenApp(dialog).run_test(size=(80, 24)) as pilot:
        await pilot.pause()
        path = dialog.query_one("#save-path", Input)
        name = Path(path.value).name
        assert text_of(dialog, "#save-path").endswith(name), "the field shows the end of the path"
        assert whole() == path.value
        await pilot.press("end", "ctrl+u", *"~/x.html")
        await pilot.pause()
        assert not dialog.query_one("#save-whole").display, "a short path fits in the field"
        path.value = str(tmp_path / "no-such-folder-with-a-long-name" / "x.html")
        await pilot.pause()
        assert whole() == path.value
        await pilot.press("enter")
        await pilot.pause()
        assert not dialog.query_one("#save-whole").display, "the error names the path"
        assert path.value in text_of(dialog, "#dialog-error").replace(" ", "")
        await pilot.press("backspace")
        await pilot.pause()
        assert whole() == path.value
        await pilot.resize_terminal(50, 24)
        path.value = "/a-folder-with-a-name/a-file-with-a-name.html"
        await pilot.pause()
        assert whole() == path.value
        await pilot.resize_terminal(80, 24)
        await pilot.pause()
        assert not dialog.query_one("#save-whole").display


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("name", DIALOGS)
def test_snapshot(snap_compare: Callable[..., bool], name: str, size: tuple[int, int]) -> None:
    assert snap_compare(ScreenApp(DIALOGS[name]()), terminal_size=size)
