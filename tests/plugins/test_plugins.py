"""Tests of runs with an algorithm, a model and a data set from plugins, which are loaded from files or installed."""

from __future__ import annotations

import json
import re
import shutil
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from metatui.cli.commands.plugin import KINDS
from metatui.cli.main import main
from metatui.config.plugins import select_plugin_files
from metatui.config.registry import ALGORITHMS, PLUGINS_VARIABLE, REGISTRIES
from metatui.config.settings import Settings
from metatui.events import Progress, Stop
from metatui.learning.checks import algorithms as checks
from metatui.learning.checks.comparison import Check
from metatui.runs.execution.control import LiveRun
from metatui.runs.execution.session import Session
from metatui.runs.storage.checkpoints import newest_checkpoint
from metatui.runs.storage.run_folder import RunFolder
from metatui.runs.storage.store import RunStore
from metatui.utils import paths
from tests.metrics import read_all
from tests.readme import ROOT

FILES = [Path(__file__).parent / name for name in ("algorithm.py", "model.py", "data_set.py")]
PACKAGE = "example_plugin"
ENTRY_POINTS = f"""\
[metatui.algorithms]
learned_rate = {PACKAGE}.algorithm:LearnedRate

[metatui.models]
fourier = {PACKAGE}.model:Fourier

[metatui.data]
polynomials = {PACKAGE}.data_set:Polynomials
"""

NAMES = ("learned_rate", "fourier", "polynomials")
SMALL = [
    "--set", "model.name=fourier", "--set", "task.source=polynomials", "--set", "fourier.width=5",
    "--set", "polynomials.degree=3", "--set", "algorithm.inner_steps=2", "--set", "evaluation.inner_steps=2",
    "--set", "evaluation.every=6", "--set", "evaluation.tasks=4", "--set", "evaluation.test_tasks=4",
    "--set", "compute.engine=batched", "--set", "compute.threads=1", "--device", "cpu",
]  # fmt: skip
LEARNED_RATE = [*SMALL, "--set", "algorithm.name=learned_rate", "--set", "learned_rate.decay=0.5"]
LONG, SHORT = (["--set", f"training.iterations={n}"] for n in (1_000_000, 12))


@pytest.fixture
def from_files(registries: None) -> list[str]:
    """Return the command-line options that load the example plugins from their files."""
    return [option for file in FILES for option in ("--plugin", str(file))]


@pytest.fixture
def installed(registries: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Install the example plugins as a distribution.

    Returns:
        An empty list, because installed plugins are found without command-line options.
    """
    site = tmp_path / "site"
    for file in FILES:
        (site / PACKAGE).mkdir(parents=True, exist_ok=True)
        shutil.copy(file, site / PACKAGE)
        monkeypatch.delitem(sys.modules, f"{PACKAGE}.{file.stem}", raising=False)
    monkeypatch.delitem(sys.modules, PACKAGE, raising=False)
    metadata = site / f"{PACKAGE}-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {PACKAGE}\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text(ENTRY_POINTS)
    monkeypatch.syspath_prepend(str(site))
    monkeypatch.setenv("PYTHONPATH", str(site))
    return []


@pytest.fixture(params=["from_files", "installed"])
def plugins(request: pytest.FixtureRequest) -> Iterator[list[str]]:
    yield request.getfixturevalue(request.param)
    for name in [name for name in sys.modules if name.split(".")[0] == PACKAGE]:
        del sys.modules[name]


@pytest.fixture(autouse=True)
def own_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("METATUI_RUNS", str(tmp_path / "runs"))
    monkeypatch.setattr(paths, "log_file", lambda: tmp_path / "metatui.log")


@pytest.fixture(autouse=True)
def patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """Increase the time limits for answers from the process of a run.

    A busy machine may suspend this process for seconds between two meta-steps.
    """
    monkeypatch.setattr("metatui.runs.execution.control.client.ANSWER_SECONDS", 60.0)
    monkeypatch.setattr("metatui.runs.execution.control.client.OVER_SECONDS", 60.0)


def answer(capsys: pytest.CaptureFixture[str], *arguments: str) -> Any:
    """Run a command with `--json` and return its JSON object."""
    assert main([*arguments, "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def metrics_of(run: RunFolder) -> list[tuple[float | None, ...]]:
    """Return the number, meta-loss, support loss and gradient norm of each meta-step."""
    return [(p.iteration, p.meta_loss, p.support_loss, p.grad_norm) for p in read_all(run.metrics())]


def parameters(run: RunFolder) -> dict[str, torch.Tensor]:
    state, _ = newest_checkpoint(run.checkpoints_path)
    assert state
    return state.tensors


def stopped_after(iteration: int, settings: Settings) -> RunFolder:
    """Train in this process, stop after meta-step `iteration`, and return the run."""
    session = Session.start(settings)
    for event in session:
        if isinstance(event, Progress) and event.iteration == iteration:
            session.submit(Stop())
    assert session.run.status() == "stopped"
    return session.run


def test_commands(plugins: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ran = answer(capsys, *plugins, "run", *LEARNED_RATE, *SHORT)
    assert (ran["status"], ran["iterations"]) == ("finished", 12)
    run = RunStore().find(ran["run"])
    rate = parameters(run)["theta/inner_lr/all"]
    assert rate.shape == ()
    assert rate != 0.01
    evaluated = answer(capsys, "evaluate", run.id)
    assert evaluated["loss"] == ran["test"]["loss"]
    assert main(["evaluate", run.id, "--inner-lr", "0.1"]) == 2
    assert "it is the initial value of the learned rates" in capsys.readouterr().err

    maml = answer(capsys, "run", *SMALL, *SHORT)
    compared = answer(capsys, "compare", run.id, maml["run"])
    assert [each["run"] for each in compared["runs"]] == [run.id, maml["run"]]
    page = tmp_path / "report.html"
    assert main(["report", run.id, "--to", str(page)]) == 0
    assert capsys.readouterr().out.startswith("MAML with a learned rate: loss ")
    assert "MAML with a learned rate" in page.read_text()
    explained = answer(capsys, "explain", "learned_rate")
    assert explained["idea"].startswith("MAML with one learned inner learning rate")


def test_stopped_run_resumes_to_the_same_numbers(plugins: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    whole = RunStore().find(answer(capsys, *plugins, "run", *LEARNED_RATE, *SHORT)["run"])
    run = stopped_after(5, whole.settings())
    assert main(["run", "--resume", run.id]) == 0
    assert metrics_of(run) == metrics_of(whole)
    ours, expected = parameters(run), parameters(whole)
    assert ours.keys() == expected.keys()
    assert all(torch.equal(ours[name], expected[name]) for name in expected)


def test_child_process(plugins: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    run = RunStore().find(answer(capsys, *plugins, "run", *LEARNED_RATE, *LONG, "--detach")["run"])
    with closing(LiveRun.attach(run)) as live:
        next(event for event in live if isinstance(event, Progress) and event.iteration >= 3)
    assert answer(capsys, "stop", run.id)["status"] == "stopped"
    here = stopped_after(3, run.settings())
    assert metrics_of(run)[:3] == metrics_of(here)


def test_options(from_files: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    listed = {each["setting"]: each["when"] for each in answer(capsys, *from_files, "settings")["settings"]}
    assert {path: when for path, when in listed.items() if path.split(".")[0] in NAMES} == {
        "learned_rate.decay": {"algorithm.name": ["learned_rate"]},
        "fourier.frequencies": {"model.name": ["fourier"]},
        "fourier.width": {"model.name": ["fourier"]},
        "polynomials.degree": {"task.source": ["polynomials"]},
    }


def checked(monkeypatch: pytest.MonkeyPatch, name: str = "learned_rate") -> dict[str, Check]:
    """Check the gradients of the algorithm `name` on a single test problem, and return the result for each engine."""
    assert name in ALGORITHMS.names()
    monkeypatch.setattr(checks, "ALGORITHMS", SimpleNamespace(names=lambda: [name]))
    monkeypatch.setattr(checks, "WORKS", {"waves": checks.WORKS["waves"]})
    return {result.engine: result for result in checks.check_algorithms()}


def test_gradients(from_files: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    select_plugin_files(from_files[1::2])
    results = checked(monkeypatch)
    assert results.keys() >= {"loop", "batched"}
    assert {result.reference for result in results.values()} == {"finite differences"}
    assert all(result.ok for result in results.values())


def test_examples_in_the_readme(tmp_path: Path, registries: None, capsys: pytest.CaptureFixture[str]) -> None:
    text = (ROOT / "metatui" / "README.md").read_text(encoding="utf-8")
    examples = [code for code in re.findall(r"```python\n(.*?)```", text, re.DOTALL) if "\nclass " in code]
    assert len(examples) == 2
    file = tmp_path / "examples.py"
    file.write_text("\n".join(examples), encoding="utf-8")
    settings = {
        "algorithm.name": "sign_maml", "sign_maml.scale": 2, "model.name": "linear", "task.source": "glyphs",
        "task.ways": 2, "task.shots": 1, "task.queries": 1, "training.iterations": 1, "evaluation.tasks": 2,
        "evaluation.test_tasks": 2, "compute.device": "cpu",
    }  # fmt: skip
    changes = [word for path, value in settings.items() for word in ("--set", f"{path}={value}")]
    assert answer(capsys, "--plugin", str(file), "run", *changes)["status"] == "finished"


@pytest.fixture
def templates(tmp_path: Path, registries: None, capsys: pytest.CaptureFixture[str]) -> list[str]:
    """Save what `metatui plugin` prints for each kind of plugin, and return the options that load the saved files."""
    options = []
    for kind in KINDS:
        assert main(["plugin", kind]) == 0
        file = tmp_path / f"my_{kind}.py"
        file.write_text(capsys.readouterr().out, encoding="utf-8")
        options += ["--plugin", str(file)]
    return options


@pytest.mark.parametrize("kind", KINDS)
def test_printed_plugin(kind: str, templates: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """Run the training command that is given in the first lines of the printed plugin."""
    file = Path(templates[2 * KINDS.index(kind) + 1])
    (words,) = re.findall(rf"metatui --plugin my_{kind}.py (run quick .*?)(?:\"\"\")?\n", file.read_text("utf-8"))
    small = ["training.iterations=2", "evaluation.tasks=2", "evaluation.test_tasks=2", "compute.device=cpu"]
    changes = [word for change in small for word in ("--set", change)]
    ran = answer(capsys, "--plugin", str(file), *words.split(), *changes)
    run = RunStore().find(ran["run"])
    setting, _, name = words.split()[-1].partition("=")
    assert (ran["status"], run.settings().value(setting)) == ("finished", name)


def test_printed_plugins_together(templates: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """Train with all printed plugins at once, with changed options, on regression tasks and on images."""
    small = {"training.iterations": 1, "evaluation.tasks": 2, "evaluation.test_tasks": 2, "compute.device": "cpu"}
    names = {"model.name": "my_model", "my_model.width": 4, "algorithm.name": "my_algorithm"}
    lines = {"my_algorithm.decay": 0.5, "task.source": "my_data", "my_data.steepest": 3}
    images = {"task.source": "glyphs", "task.ways": 2, "task.shots": 1, "task.queries": 1}
    for settings in (names | lines, names | images):
        changes = [word for path, value in (small | settings).items() for word in ("--set", f"{path}={value}")]
        assert answer(capsys, *templates, "run", *changes)["status"] == "finished"


def test_gradients_of_the_printed_algorithm(templates: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    select_plugin_files(templates[1::2])
    results = checked(monkeypatch, "my_algorithm")
    assert results.keys() >= {"loop", "batched"}
    assert all(result.ok for result in results.values())


def test_failing_plugin(
    tmp_path: Path, registries: None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Run a plugin that fails on engines that stack tasks.

    The learned rate then has a task dimension, which the plugin does not take into account.
    """
    text = FILES[0].read_text()
    line = text.splitlines().index("            change = task.scaled(rate, gradient)") + 1
    file = tmp_path / "failing.py"
    file.write_text(text.replace("task.scaled(rate, gradient)", "{name: rate * g for name, g in gradient.items()}"))
    sentence = f"the plugin '{file}' failed on line {line} (RuntimeError: "
    settings = ["--set", "algorithm.name=learned_rate", "--set", "compute.engine=batched", "--device", "cpu"]
    assert main(["--plugin", str(file), "run", *settings]) == 1
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.startswith(f"metatui: the run ended after meta-step 0 because {sentence}")
    assert error.endswith("crash.log")
    results = checked(monkeypatch)
    assert results["loop"].ok
    assert not results["batched"].ok
    assert results["batched"].reason.startswith(sentence)


@pytest.mark.parametrize("missing", NAMES)
def test_missing_plugin(
    missing: str, from_files: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run = answer(capsys, *from_files, "run", *LEARNED_RATE, "--set", "training.iterations=1")["run"]
    (index,) = (number for number, name in enumerate(NAMES) if name == missing)
    monkeypatch.setenv(PLUGINS_VARIABLE, "")
    monkeypatch.delitem(REGISTRIES[index]._classes, missing)
    for command in (["evaluate", run], ["run", "--resume", run]):
        assert main(command) == 2
        out, err = capsys.readouterr()
        assert (out, err.count("\n")) == ("", 1)
        assert f"{REGISTRIES[index].setting} is '{missing}'" in err
        assert "--plugin FILE.py" in err
