"""Fixtures for an app with an empty home directory and fake runs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from metatui.config.settings import Settings
from metatui.tui.app import MetatuiApp
from metatui.tui.launch import make_app
from tests.tui.fakes import FakeSessions


@pytest.fixture(autouse=True)
def _empty_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("CONFIG", "DATA", "STATE", "CACHE"):
        monkeypatch.setenv(f"XDG_{name}_HOME", str(tmp_path / name.lower()))
    for name in ("TMUX", "NO_COLOR", "METATUI_RUNS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("COLORTERM", "truecolor")


@pytest.fixture(autouse=True)
def _updates_only_by_tests(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("metatui.tui.controllers.run.UPDATE_EVERY", 3600.0)


@pytest.fixture
def runs_dir(tmp_path: Path) -> Path:
    return tmp_path / "runs"


@pytest.fixture
def sessions(runs_dir: Path) -> FakeSessions:
    return FakeSessions(runs_dir)


@pytest.fixture
def make(sessions: FakeSessions, runs_dir: Path) -> Callable[..., MetatuiApp]:
    """Return a function that creates an app with `settings`, or the default ones."""

    def made(settings: Settings | None = None, *, ascii: bool = False, theme: str | None = None) -> MetatuiApp:  # noqa: A002
        return make_app(settings=settings or Settings(), runs_dir=runs_dir, ascii=ascii, theme=theme, sessions=sessions)

    return made
