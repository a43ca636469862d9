"""Tests of compiled meta-steps: agreement with the batched engine, and the switch to them at a fixed meta-step."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import TypeVar

import pytest
import torch

from metatui.config.declarations import Scalar
from metatui.config.fields import change, parse
from metatui.config.settings import Settings
from metatui.events import Change, Checkpointed, Event, Finished, Noted, Progress, Stop
from metatui.learning.engines.compiled import compiled_step
from metatui.learning.engines.compiled.aot_package import Run
from metatui.learning.experiment import set_up
from metatui.learning.optim.outer import DivergedError
from metatui.learning.training import compile_switch, compile_worker
from metatui.learning.training.learner import Learner
from metatui.learning.training.trainer import Trainer
from metatui.learning.training.trainer_state import TrainerState
from metatui.utils.errors import SettingsError

Make = Callable[..., Settings]
E = TypeVar("E")


class Compiler:
    """A fake compiler process that has ended with `returncode`, or that never ends if `returncode` is None."""

    def __init__(self, returncode: int | None = 0, output: str = "") -> None:
        self.returncode = returncode
        self.output = output
        self.killed = False
        self.waits = 0

    def wait(self, timeout: float) -> int | None:
        self.waits += 1
        assert self.waits < 100, "the run waits for the compiler without end"
        return self.returncode

    def receive(self) -> dict[str, str | None] | None:
        if self.returncode:
            return {"error": self.output} if self.output else None
        return {"error": None}

    def end(self) -> None:
        self.killed = True


Functions = dict[Path, Callable[..., torch.Tensor]]


@pytest.fixture
def traced(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Functions:
    """Call functions directly instead of compiling them, so that no C++ compiler is needed.

    Returns a dictionary from the paths of compiled files to the functions that are called in their place.
    """
    functions: Functions = {}

    def compile_to(path: Path, function: Callable[..., torch.Tensor], inputs: object, threads: int) -> None:
        functions[path] = function

    def load(path: Path) -> Run:
        return lambda inputs: functions[path](*inputs)

    def start(settings: Settings) -> Compiler:
        learner = Learner(set_up(settings))
        assert learner.graphs is not None
        learner.graphs.compile(learner.sample(range(settings.algorithm.meta_batch)), settings.algorithm)
        return Compiler()

    monkeypatch.setattr(compiled_step, "CHECKED_STEPS", 2)
    monkeypatch.setattr(compiled_step, "TIMED_STEPS", 2)
    monkeypatch.setattr(compiled_step, "compile_to", compile_to)
    monkeypatch.setattr(compiled_step, "load", load)
    monkeypatch.setattr(compile_switch, "start", start)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return functions


def compiled(tiny: Make, **changes: Scalar) -> Settings:
    """Return settings of a run that switches to compiled meta-steps after meta-step 6."""
    return tiny(**{"compute__engine": "compiled", "compute__compile_after": 6, **changes})


def events_of_type(kind: type[E], events: list[Event]) -> list[E]:
    return [event for event in events if isinstance(event, kind)]


def losses(events: list[Event]) -> list[float]:
    return [event.meta_loss for event in events_of_type(Progress, events)]


def events_with(trainer: Trainer, at: int, command: Change | Stop) -> list[Event]:
    """Run a trainer, submit `command` after meta-step `at`, and return all events."""
    events = []
    for event in trainer.events():
        if isinstance(event, Progress) and event.iteration == at:
            trainer.submit(command)
        events.append(event)
    return events


@pytest.mark.parametrize("name", ["maml", "fomaml", "reptile"])
def test_compiled_meta_step_matches_batched(name: str, tiny: Make, traced: Functions) -> None:
    settings = tiny(
        algorithm__name=name, algorithm__inner_steps=3, algorithm__grad_clip=0.7, compute__precision="float64"
    )  # fmt: skip
    batched = Learner(set_up(change(settings, {"compute.engine": "batched"})))
    graphed = Learner(set_up(change(settings, {"compute.engine": "compiled"})))
    assert graphed.graphs is not None
    graphed.graphs.compile(graphed.sample(range(3)), settings.algorithm)
    graphed.graphs.use(graphed.sample(range(3)), settings.algorithm)
    for number, inner_lr in enumerate((0.01, 0.2, 0.05)):
        tasks = range(3 * number, 3 * number + 3)
        for learner in (batched, graphed):
            learner.experiment.change_setting("algorithm.inner_lr", inner_lr)
        expected, got = batched.meta_step(tasks, 0.01), graphed.meta_step(tasks, 0.01)
        assert asdict(got) == pytest.approx(asdict(expected), rel=1e-9)
        torch.testing.assert_close(graphed.flat.vector, batched.flat.vector, rtol=1e-8, atol=1e-10)
        for key, kept in batched.tensors().items():
            torch.testing.assert_close(graphed.tensors()[key], kept, rtol=1e-7, atol=1e-12)


def test_diverging_meta_step_changes_nothing(tiny: Make, traced: Functions) -> None:
    settings = compiled(tiny)
    learner = Learner(set_up(settings))
    assert learner.graphs is not None
    learner.graphs.compile(learner.sample(range(3)), settings.algorithm)
    learner.graphs.use(learner.sample(range(3)), settings.algorithm)
    learner.flat.vector[0] = torch.inf
    before = {name: t.clone() for name, t in {**learner.theta, **learner.tensors()}.items()}
    with pytest.raises(DivergedError):
        learner.meta_step(range(3), 0.01)
    after = {**learner.theta, **learner.tensors()}
    assert all(torch.equal(after[name], t) for name, t in before.items())


def test_switch_is_noted_and_repeatable(tiny: Make, traced: Functions, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compiled_step.GraphedStep, "seconds", lambda *_: 0.0125)
    settings = compiled(tiny, compute__precision="float64")
    trainer = Trainer(settings)
    events = list(trainer.events())
    text = "Meta-steps are compiled from now on and agree with the batched engine; each takes 12.5 ms"
    assert [(note.iteration, note.text) for note in events_of_type(Noted, events)] == [(6, text)]
    assert trainer.experiment.measured.ms["compiled"] == 12.5
    assert losses(events) == losses(list(Trainer(settings).events()))
    batched = losses(list(Trainer(tiny(compute__engine="batched", compute__precision="float64")).events()))
    assert losses(events) == pytest.approx(batched, rel=1e-9)


def test_changed_meta_batch_is_compiled_again(tiny: Make, traced: Functions) -> None:
    trainer = Trainer(compiled(tiny))
    events = events_with(trainer, 9, Change("algorithm.meta_batch", 5))
    assert [note.iteration for note in events_of_type(Noted, events)] == [6, 15]


@pytest.mark.parametrize("at", [3, 6, 11])
def test_resumed_run_switches_at_the_same_meta_step(at: int, tiny: Make, traced: Functions) -> None:
    settings = compiled(tiny)
    whole = Trainer(settings)
    expected = losses(list(whole.events()))
    saved: dict[str, TrainerState] = {}
    events_with(Trainer(settings, save=saved.__setitem__), at, Stop())
    again = Trainer(settings, state=saved["last"])
    events = list(again.events())
    assert losses(events) == expected[at:]
    assert [note.iteration for note in events_of_type(Noted, events)] == [max(at, 6)]
    final = whole.state().tensors
    assert all(torch.equal(tensor, final[name]) for name, tensor in again.state().tensors.items())


@pytest.mark.parametrize(
    ("compiler", "words"), [(Compiler(1, "no C++ compiler"), "no C++ compiler"), (Compiler(-9), "ended unexpectedly")]
)
def test_failed_compilation_falls_back_to_batched(
    compiler: Compiler, words: str, tiny: Make, traced: Functions, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(compile_switch, "start", lambda settings: compiler)
    events = list(Trainer(compiled(tiny)).events())
    (note,) = events_of_type(Noted, events)
    assert note.text.startswith("Training continues on the batched engine: ")
    assert words in note.text
    assert losses(events) == losses(list(Trainer(tiny(compute__engine="batched")).events()))


@pytest.mark.parametrize("at", [7, 9])
def test_resumed_run_repeats_failed_compilation(
    at: int, tiny: Make, traced: Functions, monkeypatch: pytest.MonkeyPatch
) -> None:
    working = compile_worker.start
    monkeypatch.setattr(compile_switch, "start", lambda settings: Compiler(1))
    settings = compiled(tiny)
    saved: dict[str, TrainerState] = {}
    expected = losses(list(Trainer(settings).events()))
    events_with(Trainer(settings, save=saved.__setitem__), at, Stop())
    monkeypatch.setattr(compile_switch, "start", working)
    events = list(Trainer(settings, state=saved["last"]).events())
    (note,) = events_of_type(Noted, events)
    assert note.text.endswith("on the batched engine: the compilation failed before the run was resumed")
    assert losses(events) == expected[at:]


def test_switch_is_checkpointed_at_once(tiny: Make, traced: Functions, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compile_switch, "start", lambda settings: Compiler(1))
    events = list(Trainer(compiled(tiny), save=lambda kind, state: None).events())
    assert ("last", 6) in [(event.kind, event.iteration) for event in events_of_type(Checkpointed, events)]


def test_failed_compilation_after_resume_is_reported(
    tiny: Make, traced: Functions, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = compiled(tiny)
    saved: dict[str, TrainerState] = {}
    events_with(Trainer(settings, save=saved.__setitem__), 9, Stop())
    traced.clear()
    monkeypatch.setattr(compile_switch, "start", lambda settings: Compiler(1, "no C++ compiler"))
    (note,) = events_of_type(Noted, list(Trainer(settings, state=saved["last"]).events()))
    assert "no C++ compiler; earlier meta-steps were compiled, so rounding may differ from here on" in note.text


def test_wrong_compiled_function_is_refused(tiny: Make, traced: Functions, monkeypatch: pytest.MonkeyPatch) -> None:
    def load(path: Path) -> Run:
        return lambda inputs: traced[path](*[t.mul_(0.5) if t.shape == (5,) else t for t in inputs])

    monkeypatch.setattr(compiled_step, "load", load)
    events = list(Trainer(compiled(tiny)).events())
    (note,) = events_of_type(Noted, events)
    assert (
        note.text
        == "Training continues on the batched engine: the compiled meta-step does not agree with the eager one"
    )
    assert losses(events) == losses(list(Trainer(tiny(compute__engine="batched")).events()))


def test_stop_does_not_wait_for_the_compiler(tiny: Make, traced: Functions, monkeypatch: pytest.MonkeyPatch) -> None:
    compiler = Compiler(returncode=None)
    monkeypatch.setattr(compile_switch, "start", lambda settings: compiler)
    trainer, waiting = Trainer(compiled(tiny)), []
    for event in trainer.events():
        if isinstance(event, Noted):
            waiting.append((event.iteration, event.text))
            trainer.submit(Stop())
    assert waiting == [(6, "Waiting for the compiler: training will continue with compiled meta-steps")]
    assert isinstance(event, Finished)
    assert (event.iteration, event.reason) == (6, Stop().reason)
    assert compiler.killed


@pytest.mark.parametrize(
    "wrong", [{"task": {"source": "glyphs"}}, {"algorithm": {"name": "reptile", "inner_batch": 5}}]
)
def test_unsuitable_settings_are_refused(wrong: dict[str, dict[str, str]]) -> None:
    with pytest.raises(SettingsError, match=r"compute\.engine is 'compiled', but must be another"):
        parse({**wrong, "compute": {"engine": "compiled"}})


@pytest.mark.skipif(not any(map(shutil.which, ("c++", "g++", "clang++"))), reason="there is no C++ compiler")
@pytest.mark.filterwarnings("ignore")  # torch's compiler emits warnings about itself
def test_real_compiler(tiny: Make, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("AOT_INDUCTOR_COMPILE_WRAPPER_OPT_LEVEL", "O0")  # less time; the loops are optimised as usual
    settings = compiled(
        tiny, model__hidden=(4,), algorithm__inner_steps=1, training__iterations=4, compute__compile_after=3
    )  # fmt: skip
    events = list(Trainer(settings).events())
    last = events_of_type(Noted, events)[-1]
    assert last.iteration == 3
    assert last.text.startswith("Meta-steps are compiled from now on and agree with the batched engine; each takes ")
    batched = losses(list(Trainer(change(settings, {"compute.engine": "batched"})).events()))
    assert losses(events) == pytest.approx(batched, rel=1e-4)


DIES_AT_ONCE = """
import os, sys
from metatui.config.settings import Settings
from metatui.utils.child_process import ChildProcess
child = ChildProcess("metatui.learning.training.compile_worker", output=sys.stdout.fileno())
child.send(Settings().model_dump(mode="json"))
os._exit(0)
"""


def test_compiler_ends_with_its_run() -> None:
    with subprocess.Popen([sys.executable, "-c", DIES_AT_ONCE], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as run:
        assert run.stdout is not None
        # The compiler, which inherited this standard output, ends before it prints anything: its parent has died.
        assert run.stdout.read() == b""
    assert run.returncode == 0, "the compiler was not started"
