"""The compiled engine: the batched one's numbers, brought in at a meta-step that the settings decide."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable, Iterator
from typing import TypeVar

import pytest
import torch

from metatui.errors import SettingsError
from metatui.knobs import parse
from metatui.learning import upgrade
from metatui.learning.engines import make_engine, meta_parameters
from metatui.learning.engines.compiled import CompiledEngine, CompileFailed
from metatui.learning.events import Change, Event, Noted, Progress, Stop
from metatui.learning.inner import InnerLoop, Params
from metatui.learning.losses import MEAN_SQUARED_ERROR
from metatui.learning.models import mlp
from metatui.learning.state import TrainerState
from metatui.learning.tasks.sinusoid import SinusoidSource
from metatui.learning.trainer import Trainer
from metatui.settings import Settings

Make = Callable[..., Settings]
E = TypeVar("E")
WAVES = SinusoidSource().episodes("train", range(4), seed=0, shots=5, queries=6)


class Compiler:
    """What stands for the process that compiles: it ended with `returncode`, or never ends."""

    def __init__(self, returncode: int | None = 0, said: str = "") -> None:
        self.returncode = returncode
        self.said = said
        self.killed = False

    def communicate(self, timeout: float | None = None) -> tuple[str, None]:
        if self.returncode is None and not self.killed:
            raise subprocess.TimeoutExpired("compiler", timeout or 0.0)
        return self.said, None

    def kill(self) -> None:
        self.killed = True


@pytest.fixture
def traced(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Graphs are traced and run as they are, which takes no C++ compiler and little time; the change comes early."""
    monkeypatch.setattr(CompiledEngine, "backend", "eager")
    monkeypatch.setattr(upgrade, "AFTER", 6)
    monkeypatch.setattr(upgrade, "_start", lambda settings: Compiler())
    yield
    torch.compiler.reset()


def of(kind: type[E], events: list[Event]) -> list[E]:
    return [event for event in events if isinstance(event, kind)]


def flat(gradients: Params) -> torch.Tensor:
    return torch.cat([g.flatten() for g in gradients.values()])


def losses(events: list[Event]) -> list[float]:
    return [event.meta_loss for event in of(Progress, events)]


def told(trainer: Trainer, at: int, command: Change | Stop) -> list[Event]:
    """The trainer's events, with a command submitted after `at` meta-steps."""
    events = []
    for event in trainer.events():
        if isinstance(event, Progress) and event.iteration == at:
            trainer.submit(command)
        events.append(event)
    return events


@pytest.mark.parametrize("first_order", [False, True])
def test_a_graph_has_the_batched_engines_numbers_at_any_inner_rate(first_order: bool, traced: None) -> None:
    model, episodes = mlp((7, 5)).double(), WAVES.to("cpu", torch.float64)
    theta = {name: p.detach() for name, p in meta_parameters(model).items()}
    engine = CompiledEngine(model, MEAN_SQUARED_ERROR)
    graph = engine.prepare(theta, episodes, InnerLoop(0.01, 3), first_order=first_order)
    engine.use(graph, episodes, InnerLoop(0.01, 3), first_order=first_order)
    for lr in (0.01, 0.2):
        inner = InnerLoop(lr, 3)
        got = engine.meta_gradient(theta, episodes, inner, first_order=first_order)
        expected = make_engine("loop", model, MEAN_SQUARED_ERROR).meta_gradient(
            theta, episodes, inner, first_order=first_order
        )
        assert (flat(got.gradients) - flat(expected.gradients)).norm() <= 1e-8 * flat(expected.gradients).norm()
        torch.testing.assert_close(got.loss, expected.loss, rtol=1e-10, atol=0)
        torch.testing.assert_close(got.support_loss, expected.support_loss, rtol=1e-10, atol=0)
        torch.testing.assert_close(got.outputs, expected.outputs, rtol=1e-8, atol=1e-12)


def test_the_change_is_noted_at_its_meta_step_and_repeats(tiny: Make, traced: None) -> None:
    settings = tiny(compute__engine="compiled", compute__precision="float64")
    events = list(Trainer(settings).events())
    assert [(note.iteration, "compiled from here on" in note.text) for note in of(Noted, events)] == [(6, True)]
    assert losses(events) == losses(list(Trainer(settings).events()))
    batched = losses(list(Trainer(tiny(compute__engine="batched", compute__precision="float64")).events()))
    assert losses(events) == pytest.approx(batched, rel=1e-9)


def test_another_kind_of_meta_step_is_compiled_anew(tiny: Make, traced: None) -> None:
    trainer = Trainer(tiny(compute__engine="compiled"))
    events = told(trainer, 9, Change("algorithm.meta_batch", 5))
    assert [note.iteration for note in of(Noted, events)] == [6, 15]


@pytest.mark.parametrize("at", [3, 6, 11])
def test_a_resumed_run_changes_where_the_first_one_did(at: int, tiny: Make, traced: None) -> None:
    settings = tiny(compute__engine="compiled")
    whole = Trainer(settings)
    expected = losses(list(whole.events()))
    saved: dict[str, TrainerState] = {}
    told(Trainer(settings, save=saved.__setitem__), at, Stop())
    again = Trainer(settings, state=saved["last"])
    events = list(again.events())
    assert losses(events) == expected[at:]
    assert [note.iteration for note in of(Noted, events)] == [max(at, 6)]
    final = whole.state().tensors
    assert all(torch.equal(tensor, final[name]) for name, tensor in again.state().tensors.items())


@pytest.mark.parametrize(
    ("compiler", "words"), [(Compiler(1, "no C++ compiler\n"), "no C++ compiler"), (Compiler(-9), "ended unexpectedly")]
)
def test_a_failed_compilation_leaves_the_batched_engine(
    compiler: Compiler, words: str, tiny: Make, traced: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(upgrade, "_start", lambda settings: compiler)
    events = list(Trainer(tiny(compute__engine="compiled")).events())
    (note,) = of(Noted, events)
    assert note.text.startswith("The batched engine goes on: ")
    assert words in note.text
    assert losses(events) == losses(list(Trainer(tiny(compute__engine="batched")).events()))


def test_a_graph_that_computes_something_else_is_refused(traced: None, monkeypatch: pytest.MonkeyPatch) -> None:
    model = mlp((6,))
    theta = {name: p.detach() for name, p in meta_parameters(model).items()}
    real = torch.compile
    monkeypatch.setattr(
        torch, "compile", lambda graph, **options: real(lambda theta, *rest: graph(_halved(theta), *rest), **options)
    )
    with pytest.raises(CompileFailed, match="is off by"):
        CompiledEngine(model, MEAN_SQUARED_ERROR).prepare(theta, WAVES, InnerLoop(0.01, 1), first_order=False)


def _halved(theta: Params) -> Params:
    return {name: p / 2 for name, p in theta.items()}


def test_a_stop_does_not_wait_for_the_compiler(tiny: Make, traced: None, monkeypatch: pytest.MonkeyPatch) -> None:
    compiler = Compiler(returncode=None)
    monkeypatch.setattr(upgrade, "_start", lambda settings: compiler)
    events = told(Trainer(tiny(compute__engine="compiled")), 6, Stop())
    assert events[-1].iteration == 6
    assert compiler.killed


@pytest.mark.parametrize("wrong", [{"task": {"source": "glyphs"}}, {"algorithm": {"name": "reptile"}}])
def test_what_has_no_small_meta_gradient_is_refused_in_words(wrong: dict[str, dict[str, str]]) -> None:
    with pytest.raises(SettingsError, match=r"compute\.engine is 'compiled', but must be another"):
        parse({**wrong, "compute": {"engine": "compiled"}})


@pytest.mark.skipif(not any(map(shutil.which, ("c++", "g++", "clang++"))), reason="there is no C++ compiler")
@pytest.mark.filterwarnings("ignore")  # torch's compiler warns of its own parts
def test_the_real_compiler_in_a_process_of_its_own(tiny: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(upgrade, "AFTER", 3)
    events = list(Trainer(tiny(compute__engine="compiled")).events())
    assert [(note.iteration, "compiled from here on" in note.text) for note in of(Noted, events)] == [(3, True)]
    batched = losses(list(Trainer(tiny(compute__engine="batched")).events()))
    assert losses(events) == pytest.approx(batched, rel=1e-4)
    torch.compiler.reset()
