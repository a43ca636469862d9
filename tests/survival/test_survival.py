"""Short version of `python -m tests.survival`: killed and resumed runs have the results of uninterrupted ones."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from metatui.runs.storage.jsonl import AppendOnlyFile
from metatui.utils.files import write_atomically
from tests.survival.cases import CASES, Case
from tests.survival.fork_server import ForkServer
from tests.survival.killing import survive
from tests.survival.memory import Samples
from tests.survival.process import KillPoints, Kind, count_writes


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ForkServer]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        with ForkServer() as server:
            yield server


@pytest.mark.parametrize("case", [CASES[0], CASES[8]], ids=lambda case: f"{case.algorithm}-{case.engine}")
def test_killed_run_has_the_results_of_an_uninterrupted_one(case: Case, tmp_path: Path, server: ForkServer) -> None:
    short = replace(case, overrides={**case.overrides, "training.iterations": 40})
    result = survive(short, tmp_path / "runs", server, kills=2, seed=5)
    assert result.kills
    assert result.differences == []


def test_files_are_half_written_at_kill_points(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    passed: list[tuple[str, list[bytes]]] = []

    def reach(self: KillPoints, kind: Kind, where: str) -> None:
        passed.append((where, [path.read_bytes() for path in tmp_path.iterdir()]))

    for name in ("write", "pwrite", "fsync", "replace", "ftruncate", "unlink"):  # to restore them after the test
        monkeypatch.setattr(os, name, getattr(os, name))
    monkeypatch.setattr(KillPoints, "reach", reach)
    count_writes(KillPoints(-1, None, 0))
    write_atomically(tmp_path / "file", b"whole content")
    assert passed == [
        ("write", [b"whole "]), ("fsync", [b"whole content"]), ("replace", [b"whole content"]),
        ("fsync", [b"whole content"]),
    ]  # fmt: skip
    (tmp_path / "file").unlink()
    passed.clear()
    file = AppendOnlyFile(tmp_path / "lines")
    file.write(b"one line")
    file.close()
    assert passed == [("pwrite", [b"one "]), ("fsync", [b"one line"])]


@pytest.mark.parametrize(("end", "grew"), [(100, False), (105, False), (106, True)])
def test_growth_of_memory_is_detected(end: int, grew: bool) -> None:
    warming_up, steady, growing = [*range(30), *[100] * 60], [100] * 90, [*[100] * 75, *[end] * 15]
    assert not Samples(warming_up).grew
    assert Samples(growing).grew is grew
    assert Samples(steady, device=growing).grew is grew
