"""Fixtures for an app with an empty home directory and fake runs."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from pytest_textual_snapshot import SVGImageExtension
from syrupy.assertion import SnapshotAssertion
from syrupy.location import PyTestLocation
from textual.pilot import Pilot

from metatui.config.settings import Settings
from metatui.tui.app import MetatuiApp
from metatui.tui.launch import make_app
from tests.tui.fakes import FakeSessions
from tests.tui.sizes import SIZES


def pytest_make_parametrize_id(val: object, argname: str) -> str | None:
    """Format a terminal size in test ids, and therefore in the names of snapshot files, for example as `80x24`."""
    return "x".join(map(str, val)) if argname == "size" and isinstance(val, tuple) else None


class PlainNames(SVGImageExtension):  # type: ignore[misc]
    """Snapshot extension that writes SVG files without brackets in their names, for example `test_page-80x24.svg`."""

    @classmethod
    def get_snapshot_name(cls, *, test_location: PyTestLocation, index: int | str = 0) -> str:
        name: str = super().get_snapshot_name(test_location=test_location, index=index)
        return name.replace("[", "-").replace("]", "")


@pytest.fixture
def compare_sizes(snapshot: SnapshotAssertion) -> Callable[[Pilot[None]], Awaitable[None]]:
    """Return a function that compares the screen with a snapshot at each size in `SIZES`."""

    async def compare(pilot: Pilot[None]) -> None:
        for width, height in SIZES:
            await pilot.resize_terminal(width, height)
            await pilot.pause()
            expected = snapshot(name=f"{width}x{height}", extension_class=PlainNames)
            assert expected == pilot.app.export_screenshot()

    return compare


@pytest.fixture(autouse=True)
def _plain_snapshot_names(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pytest_textual_snapshot.SVGImageExtension", PlainNames)


@pytest.fixture(autouse=True)
def _empty_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("CONFIG", "DATA", "STATE", "CACHE"):
        monkeypatch.setenv(f"XDG_{name}_HOME", str(tmp_path / name.lower()))
    for name in ("TMUX", "NO_COLOR", "METATUI_RUNS"):
        monkeypatch.delenv(name, raising=False)
    (tmp_path / "config" / "metatui").mkdir(parents=True)
    (tmp_path / "config" / "metatui" / "app.toml").write_text("tour_offered = true\n")  # otherwise a line appears
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("COLORTERM", "truecolor")


@pytest.fixture(autouse=True)
def _updates_only_by_tests(monkeypatch: pytest.MonkeyPatch) -> None:
    """Turn off the timers and timeouts of the app, so that tests do not depend on the speed of the machine."""
    monkeypatch.setattr("metatui.tui.controllers.run.UPDATE_EVERY", 3600.0)
    monkeypatch.setattr("metatui.tui.app.FINISH_START_AFTER", 3600.0)
    monkeypatch.setattr("metatui.tui.app.MetatuiApp.NOTIFICATION_TIMEOUT", 3600.0)
    monkeypatch.setattr("metatui.tui.terminal.key_order.MAX_WAIT_SECONDS", 3600.0)


@pytest.fixture
def runs_dir(tmp_path: Path) -> Path:
    return tmp_path / "runs"


@pytest.fixture
def sessions(runs_dir: Path) -> FakeSessions:
    return FakeSessions(runs_dir)


@pytest.fixture
def make(sessions: FakeSessions, runs_dir: Path) -> Callable[..., MetatuiApp]:
    """Return a function that creates an app with the given or the default settings."""

    def create(settings: Settings | None = None, *, ascii: bool = False, theme: str | None = None) -> MetatuiApp:  # noqa: A002
        return make_app(settings=settings or Settings(), runs_dir=runs_dir, ascii=ascii, theme=theme, sessions=sessions)

    return create
