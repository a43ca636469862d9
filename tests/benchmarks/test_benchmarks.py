"""Tests of the benchmarks with small models: all libraries compute the same results, and tables are printed."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
import torch
from rich.console import Console

from metatui.cli.console.progress import PlainDisplay
from metatui.config.declarations import Scalar
from metatui.config.presets import load
from metatui.config.settings import Settings
from metatui.events import Event, Noted, Progress, Started
from metatui.learning.data.omniglot.cache import save
from metatui.learning.data.omniglot.manifest import characters
from metatui.learning.data.omniglot.splits import DRAWINGS
from metatui.runs.storage.run_folder import RunFolder
from metatui.utils import paths
from tests.benchmarks import __main__ as side_by_side
from tests.benchmarks import finn_table, floor, memory, product, timing
from tests.benchmarks.report import figure
from tests.benchmarks.side import Side, UnavailableError
from tests.benchmarks.sides_higher import higher_side
from tests.benchmarks.sides_metatui import metatui_side
from tests.benchmarks.sides_plain import plain_side
from tests.benchmarks.timing import DisagreementError, check_agreement
from tests.benchmarks.works import Work, make_work, works

WAVES: Mapping[str, Scalar] = {
    "task.source": "sinusoid", "task.shots": 3, "task.queries": 4, "model.hidden": (8,), "algorithm.meta_batch": 3,
    "algorithm.inner_steps": 2, "algorithm.inner_lr": 0.1,
}  # fmt: skip
IMAGES: Mapping[str, Scalar] = {
    "task.source": "glyphs", "task.ways": 3, "task.shots": 1, "task.queries": 2, "model.filters": 4,
    "algorithm.meta_batch": 2, "algorithm.inner_steps": 2, "algorithm.inner_lr": 0.1,
}  # fmt: skip


@pytest.fixture(autouse=True)
def short_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    """Shorten the benchmarks to one round, with one warm-up step and one timed step per library, in one thread."""
    monkeypatch.setattr(timing, "usable_cores", lambda: 1)
    monkeypatch.setattr(timing, "WARM_UP", 0.0)
    monkeypatch.setattr(timing, "TURN", 0.0)
    monkeypatch.setattr(timing, "MIN_ROUNDS", 1)


def small(algorithm: str, task: Mapping[str, Scalar] = WAVES) -> Work:
    outer_lr = 0.5 if algorithm == "reptile" else 0.01
    return make_work("small", {**task, "algorithm.name": algorithm, "algorithm.outer_lr": outer_lr})


def names(table: str) -> list[str]:
    """Return the column headings of a Markdown table."""
    return [cell.strip() for cell in table.splitlines()[0].strip("|").split("|")]


@pytest.mark.parametrize("task", [WAVES, IMAGES], ids=["waves", "images"])
@pytest.mark.parametrize("algorithm", ["maml", "fomaml", "reptile"])
def test_sides_agree(algorithm: str, task: Mapping[str, Scalar]) -> None:
    work = small(algorithm, task)
    timed, _ = side_by_side.measure_work(work, side_by_side.makers(work), seconds=0)  # checks the sides first
    expected = {"metatui", "higher"} if algorithm != "reptile" else {"metatui", "plain PyTorch"}
    assert expected <= timed.keys()
    assert all(side.ms > 0 for side in timed.values())


def test_disagreeing_side_is_reported() -> None:
    work, other = small("maml"), small("fomaml")
    with pytest.raises(DisagreementError, match="higher has different meta-parameters in 'small'"):
        check_agreement(work, [metatui_side, lambda _: higher_side(other.exact())])


def test_sides_do_not_change_the_model() -> None:
    work = small("reptile")
    before = {name: p.clone() for name, p in work.model.state_dict().items()}
    plain_side(work).step()
    metatui_side(work).step()
    assert all(torch.equal(before[name], p) for name, p in work.model.state_dict().items())


@pytest.mark.parametrize("algorithm", ["maml", "reptile"])
def test_metatui_starts_again_after_divergence(algorithm: str) -> None:
    """Check that failed meta-steps, which are incomplete, are not timed again and again."""
    side, fresh = metatui_side(small(algorithm), "loop"), metatui_side(small(algorithm), "loop")
    side.step()
    for p in side.theta().values():
        p.fill_(1e30)
    side.step()  # diverges
    for each in (side, fresh):
        each.step()
    assert all(torch.equal(p, side.theta()[name]) for name, p in fresh.theta().items())


def test_rows_of_the_table() -> None:
    rows = works()
    assert [(w.algorithm.name, len(w.episodes), w.algorithm.inner_steps) for w in rows] == [
        ("maml", 25, 5), ("maml", 25, 1), ("maml", 4, 1), ("fomaml", 25, 5), ("maml", 4, 5), ("maml", 4, 5),
        ("fomaml", 4, 5), ("reptile", 4, 5),
    ]  # fmt: skip
    assert rows[2].name == "sinusoid MAML, 4 tasks, K=5, Q=10, 1 step"
    assert rows[4].name.endswith("conv4-64 max-pool, MAML, 4 tasks, 5-way 1-shot, 15 queries, 5 steps")


def test_table_is_printed_and_saved(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    side_by_side.main(["--only", "4 tasks, k=5", "--seconds", "0", "--json", str(tmp_path / "figures.json")])
    printed = capsys.readouterr()
    heading, _, row = printed.out.splitlines()
    assert heading.startswith("| work (ms a meta-step) | metatui | higher |")
    assert row.startswith("| sinusoid MAML, 4 tasks, K=5, Q=10, 1 step | ")
    kept = json.loads((tmp_path / "figures.json").read_text())
    (sides,) = [row["sides"] for row in kept["rows"]]
    assert list(sides) == names(printed.out)[1:]
    assert len(sides["metatui"]["turns_ms"]) == 1
    left_out = {"learn2learn", "JAX"} - sides.keys()
    assert all(f"{name} is left out because it cannot be imported" in printed.err for name in left_out)


class FakeTime:
    """A fake of the module `time`, whose clock is set by the test."""

    def __init__(self) -> None:
        self.now = 0.0

    def perf_counter(self) -> float:
        return self.now


def test_libraries_are_timed_in_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    """Check the order, the times and the numbers of threads of all meta-steps, with 2 cores and 3 rounds.

    The first meta-step of each library takes 100 s, as if it included a compilation. The times must not include it.
    """
    for name, value in {"WARM_UP": 0.9, "TURN": 5.0, "SLOW": 2000.0, "MIN_ROUNDS": 3}.items():
        monkeypatch.setattr(timing, name, value)
    monkeypatch.setattr(timing, "usable_cores", lambda: 2)
    clock = FakeTime()
    monkeypatch.setattr(timing, "time", clock)
    taken: list[tuple[str, int]] = []
    slowness = {1: 1.0, 2: 0.5}

    def side(name: str, threads: int | None = None, seconds: float = 1.0) -> Side:
        def step() -> None:
            first = (name, torch.get_num_threads()) not in taken
            taken.append((name, torch.get_num_threads()))
            clock.now += 100.0 if first else seconds * slowness[torch.get_num_threads()]

        return Side(name, step, dict, threads)

    fixed, free, slow = side("fixed", 1), side("free"), side("slow", 1, seconds=6.0)
    for each in (fixed, free, slow):
        timing.choose_threads(each)
    assert {name for name, _ in taken} == {"free"}
    assert (fixed.threads, free.threads, slow.threads) == (1, 2, 1)
    taken.clear()
    clock.now = 0.0
    timed = timing.take_turns([fixed, free, slow], 250.0)
    assert {name: each.turns[:2] for name, each in timed.items()} == {
        "fixed": (1000.0, 1000.0), "free": (500.0, 500.0), "slow": (6000.0, 6000.0),
    }  # fmt: skip
    assert {each.torch_threads for each in timed.values()} == {1, 2}
    # A warm-up of at least 0.9 s, and a turn of 5 s. Slow meta-steps have a warm-up only in the first round.
    first = [*["fixed"] * 6, *["free"] * 11, *["slow"] * 2]
    later = [*["fixed"] * 6, *["free"] * 12, "slow"]
    assert [name for name, _ in taken] == [*first, *later, *later]
    assert timing.take_turns([fixed], 60.0)["fixed"].turns == (1000.0,) * 10
    assert timing.Timings((1.0, 2.0, 9.0), 1).ms == 2.0


def test_unknown_row_is_refused() -> None:
    with pytest.raises(SystemExit, match="--only is 'nothing', but must be part of a row's name"):
        side_by_side.main(["--only", "nothing"])


def test_gpu_row_has_a_floor(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(side_by_side, "works", lambda device: [small("maml", IMAGES)])
    monkeypatch.setattr(side_by_side, "machine", lambda device: {})
    monkeypatch.setattr(side_by_side, "floor_ms", lambda work: 1e-6)
    side_by_side.main(["--device", "cuda", "--seconds", "0"])
    assert "The floor is 1e-06 ms: metatui reaches 0% of what the device could do." in capsys.readouterr().out


def test_floor_is_the_slower_of_arithmetic_and_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    work = small("maml", IMAGES)
    monkeypatch.setattr(floor, "matmul_rate", lambda device, dtype: 1e9)
    monkeypatch.setattr(floor, "copy_rate", lambda device: 1e30)
    arithmetic = floor.floor_ms(work)
    assert arithmetic > 0
    monkeypatch.setattr(floor, "matmul_rate", lambda device, dtype: 2e9)
    assert floor.floor_ms(work) == pytest.approx(arithmetic / 2)
    monkeypatch.setattr(floor, "copy_rate", lambda device: 1.0)
    assert floor.floor_ms(work) > arithmetic


def test_overhead_is_printed_with_its_limit() -> None:
    found = product.measure_overhead(small("maml"), seconds=0)
    assert found["bare_ms"] > 0
    assert found["run_ms"] > 0
    assert found["added_ms"] == pytest.approx(found["run_ms"] - found["bare_ms"])  # of the one round
    rows = [
        {"work": "slow", "bare_ms": 100.0, "run_ms": 110.0, "added_ms": 10.0},
        {"work": "quick", "bare_ms": 0.5, "run_ms": 0.55, "added_ms": 0.05},
    ]
    _, _, slow, quick = product.table(rows).splitlines()
    assert slow == "| slow | 100 | 110 | 10.00 (10%) | 15.00 |"
    assert quick == "| quick | 0.5 | 0.55 | 0.05 (10%) | 0.10 |"


def test_run_is_timed_after_its_last_change_of_engine(monkeypatch: pytest.MonkeyPatch) -> None:
    def events(engine: str, *texts: str) -> Iterator[Event]:
        yield Started(Settings(), "cpu", "a CPU", engine, "", 10, 0)
        for number, text in enumerate(texts):
            yield Progress(number + 1, 1.0, None, 1.0, 1.0, 0.001, 25, 1.0)
            yield Noted(number + 1, text)

    hint, switch = "The loss no longer decreases", "Meta-steps are compiled from now on"
    shown = PlainDisplay(Console(file=StringIO()), RunFolder(Path("run")))
    eager = events("loop", hint)
    assert product.settle(eager, shown) == "loop"
    assert next(eager) == Noted(1, hint)
    compiled = events("compiled", "Waiting for the compiler", hint, switch, hint)
    assert product.settle(compiled, shown) == "compiled"
    assert isinstance(next(compiled), Progress)
    with pytest.raises(UnavailableError, match="there is no compiler"):
        product.settle(events("compiled", "Training continues on the batched engine: there is no compiler"), shown)
    monkeypatch.setattr(product, "metatui_side", lambda work: metatui_side(work, "batched"))
    with pytest.raises(DisagreementError, match="the engine is loop in the run, but batched in the bare meta-steps"):
        product.measure_overhead(make_work("small", {**WAVES, "compute.engine": "loop"}), seconds=0)


def test_memory_of_inner_steps_is_measured() -> None:
    work = small("maml", IMAGES)
    for how in ("recomputed", "unrolled"):
        found = memory.measure_memory("loop", memory.with_second_order(how, work))
        assert found.engine == "loop"
        assert found.bytes >= 0
        assert memory.distance_of("loop", memory.with_second_order(how, work)) <= timing.AGREEMENT
    rows: list[dict[str, Any]] = [
        {
            "name": "auto", "few": {"engine": "loop", "bytes": 100_000_000},
            "many": {"engine": "batched", "bytes": 150_000_000}, "distance": 1.2e-15,
        },
        {"name": "batched", "error": "20 steps did not finish in 900 s"},
    ]  # fmt: skip
    _, _, auto, batched = memory.table(rows).splitlines()
    assert auto == "| auto (loop, batched) | 100 MB | 150 MB | 1.50 | 1.5 | 1e-15 |"
    assert batched == "| batched | 20 steps did not finish in 900 s | | | | |"


def test_memory_is_measured_after_the_first_meta_step(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[str] = []

    class Peak:
        def __init__(self, device: str, *, over_current: bool) -> None:
            calls.append(f"begin on {device}, {over_current}")

        def bytes(self) -> int:
            calls.append("end")
            return 7

    monkeypatch.setattr(memory, "PeakMemory", Peak)
    monkeypatch.setattr(
        memory, "metatui_side", lambda work, engine: Side("", lambda: calls.append("step"), dict, 1, "loop")
    )
    assert memory.measure_memory("auto", small("maml")) == memory.PeakResult("loop", 7)
    assert calls == ["step", "begin on cpu, True", *["step"] * memory.META_STEPS, "end"]


def test_unmeasurable_row_has_a_reason(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "CONFIGURATIONS", (("nothing", "auto"), ("loop", "auto")))
    memory.main(["--only", "nothing"])
    *_, row = capsys.readouterr().out.splitlines()
    assert row.startswith("| nothing, auto | ")
    assert "compute.engine is 'nothing', but must be one of" in row


@pytest.fixture
def omniglot(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Create a packed Omniglot data set whose images consist of noise."""
    generator = torch.Generator().manual_seed(0)
    shape = (len(characters()), DRAWINGS, 28, 28)
    path = tmp_path / "omniglot.safetensors"
    save(path, torch.randint(256, shape, dtype=torch.uint8, generator=generator).numpy())
    monkeypatch.setattr(paths, "omniglot_cache", lambda: path)


@pytest.mark.usefixtures("omniglot")
def test_finns_table_is_trained_and_printed(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    finn_table.main(
        [
            "--cells", "omniglot-5way-1shot-finn", "--iterations", "2", "--tasks", "2", "--device", "cpu",
            "--runs-dir", str(tmp_path / "runs"), "--json", str(tmp_path / "figures.json"),
        ]
    )  # fmt: skip
    _, _, row = capsys.readouterr().out.splitlines()
    assert row.startswith("| 5-way 1-shot | 98.7 ± 0.4 | ")
    (kept,) = json.loads((tmp_path / "figures.json").read_text())["rows"]
    assert (kept["tasks"], kept["meta_steps"]) == (2, 2)
    test = RunFolder(tmp_path / "runs" / kept["run"]).evaluation().test
    assert test is not None
    assert [kept["accuracy"] / 100, kept["ci95"] / 100] == pytest.approx(test.final)


def test_finns_cells_have_published_numbers_and_600_tasks() -> None:
    presets = [load(name) for name in finn_table.CELLS]
    assert [finn_table.published_accuracy(preset)[0] for preset in presets] == [98.7, 99.9, 95.8, 98.9]
    assert {preset.settings.evaluation.test_tasks for preset in presets} == {600}


def test_missing_omniglot_is_explained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(paths, "omniglot_cache", lambda: tmp_path / "nothing")
    with pytest.raises(SystemExit, match="run `metatui data omniglot`"):
        finn_table.main(["--runs-dir", str(tmp_path)])


def test_figures_have_significant_digits() -> None:
    assert [figure(value, 3) for value in (0.1234, 7.8, 99.96, 123.4, 12345.6)] == [
        "0.123",
        "7.8",
        "100",
        "123",
        "12,346",
    ]
    assert [figure(value, 2) for value in (0.987, 4.25, 34.6, 120.2)] == ["0.99", "4.2", "35", "120"]


def test_unavailable_side_has_a_reason() -> None:
    def absent(work: Work) -> Side:
        raise UnavailableError("it is not there")

    timed, why_not = side_by_side.measure_work(small("maml"), [metatui_side, absent], seconds=0)
    assert (list(timed), why_not) == (["metatui"], ["it is not there"])
