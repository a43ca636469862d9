"""Train runs in processes that are killed with SIGKILL, and compare their results with those of uninterrupted runs."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch

from metatui.config.schedule import Planned, PlannedChange, PlannedValidation
from metatui.config.toml import settings_toml
from metatui.events import Progress
from metatui.runs.storage.checkpoints import newest_checkpoint
from metatui.runs.storage.commands import merge_commands
from metatui.runs.storage.result_files import EvaluationRecord
from metatui.runs.storage.run_folder import RunFolder
from metatui.runs.storage.store import RunStore
from tests.metrics import read_all
from tests.survival.cases import Case, Commands
from tests.survival.fork_server import Counted, ForkServer, log_path
from tests.survival.process import Kind


@dataclass
class KillResult:
    """Record of a run that was killed several times and then finished."""

    killed_at: Counter[str] = field(default_factory=Counter)
    differences: list[str] = field(default_factory=list)
    """Names of the results that differ from those of an uninterrupted run."""

    @property
    def kills(self) -> int:
        return self.killed_at.total()


def survive(case: Case, folder: Path, server: ForkServer, *, kills: int, seed: int) -> KillResult:
    """Train `case` without interruption, and again with up to `kills` kills at random points. Compare the two runs."""
    folder.mkdir(parents=True)
    preset = folder / "case.toml"
    preset.write_text(settings_toml(case.settings, {}, case.plan, whole=True))
    counted = _train(server, folder / "whole", ["run", str(preset)], case.commands)
    assert not isinstance(counted, str)
    whole = _only_run(folder / "whole")
    result, draw, place = KillResult(), random.Random(seed), folder / "killed"
    for _ in range(kills):
        kind: Kind = draw.choice(("step", "write")) if counted["step"] else "write"
        # A resumed run is shorter, and a faster one writes less often, but the kill point must be before its end.
        number = draw.randint(1, max(1, counted[kind] // (2 if kind == "write" or result.kills else 1)))
        where = _train(server, place, _arguments(place, preset), _left(place, case.commands), kind, number)
        if not isinstance(where, str):
            break  # it finished before the kill point
        result.killed_at[where] += 1
    if _status(place) != "finished":
        _train(server, place, _arguments(place, preset), _left(place, case.commands))
    result.differences = list(differing_results(whole, _only_run(place)))
    return result


def differing_results(expected: RunFolder, found: RunFolder) -> list[str]:
    """Return the names of the results that differ between two runs. Times are ignored."""
    pairs: Mapping[str, tuple[Any, Any]] = {
        "status": (expected.status(), found.status()),
        "metrics": (_metrics(expected), _metrics(found)),
        "evaluations": (_timeless(expected.evaluation()), _timeless(found.evaluation())),
        "adaptation": (expected.views(), found.views()),
        "validations": (_validations(expected), _validations(found)),
        "commands": (_executed_commands(expected), _executed_commands(found)),
        "state": (_values(expected), _values(found)),
        "files": (_files(expected), _files(found)),
    }
    differing = [name for name, (one, other) in pairs.items() if one != other]
    ours, theirs = _tensors(expected), _tensors(found)
    if ours.keys() != theirs.keys():
        return [*differing, "names of parameters"]
    return differing + [f"parameter {name}" for name, tensor in ours.items() if not torch.equal(tensor, theirs[name])]


def _train(
    server: ForkServer, runs: Path, arguments: list[str], commands: Commands, kind: Kind | None = None, number: int = 0
) -> Counted | str:
    server.start(runs, arguments, commands, kind, number)
    ended = server.wait()
    if not isinstance(ended, str):
        assert server.code == 0, f"ended with {server.code}: {log_path(runs).read_text()[-3000:]}"
    return ended


def _arguments(runs: Path, preset: Path) -> list[str]:
    found = RunStore(runs).runs()
    return ["run", "--resume", str(found[0].path)] if found else ["run", str(preset)]


def _only_run(runs: Path) -> RunFolder:
    (run,) = RunStore(runs).runs()
    return run


def _status(runs: Path) -> str | None:
    found = RunStore(runs).runs()
    return found[0].status() if found else None


def _left(runs: Path, commands: Commands) -> Commands:
    """Return the commands that must still be submitted to the run in `runs`.

    These are all commands except the changes and validations that the run has recorded. A resumed run repeats recorded
    changes and validations by itself.
    """
    found = RunStore(runs).runs()
    known = [item.planned for item in merge_commands(found[0].changes(), found[0].journal())] if found else []
    left = {}
    for after, items in commands.items():
        rest = [item for item in items if _planned(after, item) not in known]
        if rest:
            left[after] = rest
    return left


def _planned(after: int, command: Any) -> Planned | None:
    match command:
        case ["change", path, value]:
            return PlannedChange(after, path, value)
        case ["evaluate"]:
            return PlannedValidation(after)
        case _:
            return None


def _metrics(run: RunFolder) -> list[Progress]:
    return [replace(p, seconds=0.0) for p in read_all(run.metrics())]


def _timeless(record: EvaluationRecord) -> list[Any]:
    return [e and replace(e, seconds=0.0) for e in (record.validation, record.best, record.test)]


def _validations(run: RunFolder) -> list[Any]:
    return [(e.iteration, {**e.details, "best": None}) for e in run.validations()]


def _executed_commands(run: RunFolder) -> list[Planned]:
    return [item.planned for item in merge_commands(run.changes(), run.journal()) if item.made]


def _values(run: RunFolder) -> dict[str, Any]:
    state, problems = newest_checkpoint(run.checkpoints_path)
    assert state is not None
    assert not problems
    return {name: value for name, value in state.values.items() if name != "seconds"}


def _tensors(run: RunFolder) -> Mapping[str, torch.Tensor]:
    state, _ = newest_checkpoint(run.checkpoints_path)
    assert state is not None
    return state.tensors


def _files(run: RunFolder) -> list[str]:
    """Return the relative paths of all files and folders of a run, except the checkpoint `previous`.

    Whether that checkpoint exists depends on timing.
    """
    names = {str(path.relative_to(run.path)) for path in run.path.rglob("*")}
    return sorted(names - {"checkpoints/previous.safetensors"})
