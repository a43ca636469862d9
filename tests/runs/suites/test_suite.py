"""Tests of suite files: the runs that they describe, errors in invalid files, and the manifest."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path

import pytest

from metatui.config import presets
from metatui.config.fields import change
from metatui.runs.storage.journal import JournalWriter
from metatui.runs.storage.run_folder import RunFolder
from metatui.runs.storage.store import RunStore
from metatui.runs.suites import MAX_SUITE_RUNS, PlannedRun, Suite, SuiteManifest, SuiteMonitor, bundled, load, read
from metatui.runs.suites.files import names
from metatui.utils.errors import BadInput
from tests.runs.analysis.comparisons import SINUSOID

WHOLE = """
[suite]
title = "Two things"
notes = "Nothing."

[[compare]]
name = "waves"
preset = "quick"
seeds = [3, 4]
tasks = 50
steps = 2
target = 1.5
set = { task.shots = 5, "training.iterations" = 7 }

[compare.grid]
algorithm.name = ["maml", "scratch"]
"algorithm.outer_lr" = [0.1, 0.2]

[[compare]]
name = "images"

[compare.set]
task = { source = "glyphs", ways = 3 }

[[compare.runs]]
set.algorithm = { name = "reptile", inner_steps = 2 }

[[compare.runs]]
preset = "glyphs"
set = { task.shots = 2 }
"""


def write_suite(folder: Path, text: str, name: str = "mine") -> Path:
    path = folder / f"{name}.toml"
    path.write_text(text)
    return path


def values(run: PlannedRun, *paths: str) -> tuple[object, ...]:
    return tuple(run.settings.value(path) for path in paths)


def test_expansion_of_runs_grid_and_seeds(tmp_path: Path) -> None:
    suite = read(write_suite(tmp_path, WHOLE))
    assert (suite.name, suite.title, suite.notes, suite.source) == ("mine", "Two things", "Nothing.", "")
    waves, images = suite.comparisons
    assert (waves.tasks, waves.steps, waves.shots, waves.target) == (50, 2, None, 1.5)
    what = ("algorithm.name", "algorithm.outer_lr", "training.seed", "task.shots", "training.iterations")
    assert [values(run, *what) for run in waves.runs] == [
        ("maml", 0.1, 3, 5, 7),
        ("maml", 0.1, 4, 5, 7),
        ("maml", 0.2, 3, 5, 7),
        ("maml", 0.2, 4, 5, 7),
        # One run for each seed, because scratch does not use the outer learning rate.
        ("scratch", 0.2, 3, 5, 7),
        ("scratch", 0.2, 4, 5, 7),
    ]
    assert [run.label for run in waves.runs] == [
        "MAML (outer lr 0.1, seed 3)",
        "MAML (outer lr 0.1, seed 4)",
        "MAML (outer lr 0.2, seed 3)",
        "MAML (outer lr 0.2, seed 4)",
        "scratch (seed 3)",
        "scratch (seed 4)",
    ]
    assert {run.origin for run in suite.runs} == {"suite mine"}
    assert waves.runs[0].settings.algorithm.meta_batch == presets.load("quick").settings.algorithm.meta_batch
    reptile, maml = images.runs
    assert values(reptile, "task.source", "task.ways", "algorithm.inner_steps") == ("glyphs", 3, 2)
    assert values(maml, "task.shots", "task.ways", "algorithm.inner_lr") == (2, 3, 0.4)
    assert images.warnings
    assert len(suite.runs) == 8
    assert len({run.name for run in suite.runs}) == 8


def test_labels_of_runs(tmp_path: Path) -> None:
    text = """
    [[compare]]
    name = "a"
    seeds = [0, 1]
    [[compare.runs]]
    label = "few shots"
    set = { task.shots = 5 }
    [[compare.runs]]
    set = { task.shots = 10 }
    """
    suite = read(write_suite(tmp_path, text))
    labels = ["few shots (seed 0)", "few shots (seed 1)", "MAML (seed 0)", "MAML (seed 1)"]
    assert [run.label for run in suite.runs] == labels
    folders = {run.identity: RunFolder(tmp_path / str(number)) for number, run in enumerate(suite.runs)}
    assert list(suite.comparisons[0].titles(folders).values()) == ["few shots", "few shots"]


def test_bundled_ablation_has_labels() -> None:
    suites = {suite.name: suite for suite in bundled()}
    for name in ("maml-plus-plus-ablation", "maml-plus-plus-ablation-small"):
        labels = [run.label.removesuffix(" (seed 0)") for run in suites[name].runs if not run.settings.training.seed]
        assert (labels[0], labels[2], labels[-1], len(labels)) == ("MAML", "multi-step loss", "MAML++", 7)


def test_run_shared_by_two_comparisons(tmp_path: Path) -> None:
    again = '[[compare]]\nname = "a"\npreset = "quick"\n[[compare]]\nname = "b"\npreset = "quick"\n'
    suite = read(write_suite(tmp_path, again))
    assert [run.name for run in suite.runs] == ["a: MAML"]
    assert len(suite.comparisons[1].runs) == 1


def test_preset_path_is_relative_to_the_suite(tmp_path: Path) -> None:
    (tmp_path / "own.toml").write_text("[task]\nshots = 3\n")
    suite = read(write_suite(tmp_path, '[[compare]]\nname = "a"\npreset = "./own.toml"\n'))
    assert suite.runs[0].settings.task.shots == 3


def test_suite_of_presets(tmp_path: Path) -> None:
    (tmp_path / "own.toml").write_text("[task]\nshots = 3\n")
    given = ["sinusoid-maml", str(tmp_path / "own.toml"), str(write_suite(tmp_path, WHOLE))]
    mine, loose = load(given, {"training.iterations": 9})
    assert (mine.name, loose.name) == ("mine", "presets")
    assert [run.origin for run in loose.runs] == ["sinusoid-maml (changed)", "own (changed)"]
    assert {run.settings.training.iterations for run in (*mine.runs, *loose.runs)} == {9}


def test_identity_ignores_device_and_checkpoints() -> None:
    here = PlannedRun("a", "b", SINUSOID, "")
    there = PlannedRun("a", "b", change(SINUSOID, {"compute.device": "cuda:1", "checkpoint.every": 5.0}), "")
    precise = PlannedRun("a", "b", change(SINUSOID, {"compute.precision": "float64"}), "")
    assert here.identity == there.identity != precise.identity


def test_bundled_suites() -> None:
    small, whole = (next(suite for suite in bundled() if suite.name == name) for name in ("chapter-small", "chapter"))
    assert [suite.name for suite in bundled()] == names()
    for suite in (small, whole):
        assert suite.title
        assert suite.source
        for part in suite.comparisons:
            algorithms = [run.settings.algorithm.name for run in part.runs]
            assert list(dict.fromkeys(algorithms)) == ["maml", "fomaml", "reptile", "scratch"]
            assert (part.tasks, part.steps, part.warnings) == (600, 10, ())
            assert part.target
    told = {(run.settings.task.source, run.settings.task.shots) for run in small.runs}
    assert told == {("sinusoid", 10), ("glyphs", 5), ("glyphs", 1)}
    told = {(run.settings.task.source, run.settings.task.shots) for run in whole.runs}
    assert told == {("sinusoid", 10), ("omniglot", 5), ("omniglot", 1)}


def test_wheel_contains_suites() -> None:
    project = tomllib.loads((Path(__file__).parents[3] / "pyproject.toml").read_text())
    included = project["tool"]["hatch"]["build"]["targets"]["wheel"]["force-include"]
    assert included == {"presets": "metatui/_presets"}
    assert (presets.bundled_dir() / "suites").is_dir()


COMPARE = '[[compare]]\nname = "a"\n'


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[suite]\n", "compare is missing, but must be a non-empty list of tables"),
        ("compare = 3", "compare is 3, but must be a non-empty list of tables"),
        ("compare = [3]", "compare has 3, but must be a non-empty list of tables"),
        ("suite = 3\n" + COMPARE, "suite is 3, but must be a table of strings"),
        ("[suite]\ntitel = 'x'\n" + COMPARE, "'suite.titel' is not a known key: did you mean suite.title?"),
        ("[suite]\ntitle = 4\n" + COMPARE, "suite.title is 4, but must be text"),
        ("[suite]\n[[compares]]\n", "'compares' is not a known key: did you mean compare?"),
        ("[runs]\n" + COMPARE, "'runs' is not a known key: the keys are suite, compare"),
        ("[[compare]]\n", "compare 1: name is missing, but must be 1 to 64 letters, digits, '-' or '_'"),
        ("[[compare]]\nname = '../x'", "compare 1: name is '../x', but must be 1 to 64 letters"),
        (COMPARE + COMPARE, "compare 2: name is 'a', but must be different from the names of the other comparisons"),
        (COMPARE + "seed = [1]", "'seed' is not a known key: did you mean seeds?"),
        (COMPARE + "seeds = 1", "a: seeds is 1, but must be a non-empty list of whole numbers"),
        (COMPARE + "seeds = []", "a: seeds is [], but must be a non-empty list of whole numbers"),
        (COMPARE + "seeds = [true]", "a: seeds has True, but must be a non-empty list of whole numbers of at least 0"),
        (COMPARE + "seeds = [-1]", "a: seeds has -1, but must be a non-empty list of whole numbers of at least 0"),
        (COMPARE + "seeds = [9999999999]", "a: training.seed is 9999999999, but must be a whole number from 0"),
        (COMPARE + "preset = 'sinusoid-mam'", "a: preset is 'sinusoid-mam': 'sinusoid-mam' is neither a preset nor"),
        (COMPARE + "preset = 1", "a: preset is 1, but must be text"),
        (COMPARE + "set = 1", "a: set is 1, but must be a table of settings, such as algorithm.name"),
        (COMPARE + "set = { algorithm.nam = 'maml' }", "a: set: 'algorithm.nam' is not a setting: did you mean algo"),
        (COMPARE + "set = { algorithm = 3 }", "a: set: 'algorithm' is not a setting"),
        (COMPARE + "set = { task.shots = 'x' }", "a: task.shots is 'x', but must be a whole number from 1"),
        (COMPARE + "set = { task.shots = [1] }", "a: task.shots is [1], but must be a whole number from 1"),
        (COMPARE + "grid = { task.shots = 3 }", "a: grid.task.shots is 3, but must be a non-empty list of values"),
        (COMPARE + "grid = { task.shots = [] }", "a: grid.task.shots is [], but must be a non-empty list of values"),
        (COMPARE + "grid = { task.shots = [0] }", "a: task.shots is 0, but must be a whole number from 1"),
        (COMPARE + "grid = { compute.device = ['cpu'] }", "a: grid.compute.device does not affect results"),
        (COMPARE + "seeds = [1]\ngrid.training.seed = [1]", "a: seeds and grid.training.seed change the same setting"),
        (COMPARE + "runs = 3", "a: runs is 3, but must be a non-empty list of tables"),
        (COMPARE + "runs = [{ name = 'x' }]", "a, run 1: 'name' is not a known key: the keys are preset, set"),
        (COMPARE + "runs = [{}, { set.task.shots = 0 }]", "a, run 2: task.shots is 0, but must be a whole number"),
        (COMPARE + "label = 'x'", "'label' is not a known key"),
        (COMPARE + "runs = [{ label = 3 }]", "a, run 1: label is 3, but must be 1 to 40 printable characters"),
        (COMPARE + "runs = [{ label = '' }]", "a, run 1: label is '', but must be 1 to 40 printable characters"),
        (COMPARE + "runs = [{ label = ' x' }]", "a, run 1: label is ' x', but must be 1 to 40 printable characters"),
        (COMPARE + 'runs = [{ label = "a\\u001bb" }]', "but must be 1 to 40 printable characters without leading"),
        (COMPARE + f"runs = [{{ label = '{'x' * 41}' }}]", "but must be 1 to 40 printable characters"),
        (COMPARE + "runs = [{ label = 'x' }, { label = 'x' }]", "a, run 2: label is 'x', but must be different from"),
        (COMPARE + "tasks = 1", "a: tasks is 1, but must be a whole number of at least 2"),
        (COMPARE + "tasks = 200_000", "a: evaluation.test_tasks is 200000, but must be a whole number from 2 to"),
        (COMPARE + "steps = 2.0", "a: steps is 2.0, but must be a whole number of at least 1"),
        (COMPARE + "shots = 0", "a: shots is 0, but must be a whole number of at least 1"),
        (COMPARE + "target = '95%'", "a: target is '95%', but must be a number"),
        (COMPARE + "target = nan", "a: target is nan, but must be a number"),
        (COMPARE + "target = true", "a: target is True, but must be a number"),
        (COMPARE + f"target = 1{'0' * 400}", "a: target is 1000000000"),
        (COMPARE + f"tasks = 1{'0' * 400}", "a: evaluation.test_tasks is 1000000000"),
        (COMPARE + "target = 95\npreset = 'glyphs'", "a: target is 95, but must be an accuracy above 0 and at most 1"),
        (
            COMPARE + "grid.task.source = ['sinusoid', 'glyphs']",
            "a: runs on different data cannot be compared: task.source is sinusoid for",
        ),
    ],
)  # fmt: skip
def test_invalid_files_are_refused(text: str, message: str, tmp_path: Path) -> None:
    path = write_suite(tmp_path, text)
    with pytest.raises(BadInput) as caught:
        load([path])
    sentence = str(caught.value)
    assert sentence.startswith(f"'{path}'")
    assert message in sentence
    assert "\n" not in sentence


def test_maximum_number_of_runs(tmp_path: Path) -> None:
    many = f"seeds = {list(range(MAX_SUITE_RUNS // 2 + 1))}"
    path = write_suite(tmp_path, f"{COMPARE}{many}\ngrid.task.shots = [1, 2]")
    with pytest.raises(
        BadInput, match=r"expand to 1,002 runs \(run entries x grid points x seeds\), but a suite must have at most"
    ):
        load([path])
    path = write_suite(tmp_path, f'{COMPARE}{many}\n[[compare]]\nname = "b"\n{many}\n')
    with pytest.raises(BadInput, match="expand to 1,002 runs"):
        load([path])


def test_unknown_names_are_refused(tmp_path: Path) -> None:
    for given, message in (
        (
            "chapter-smal",
            "'chapter-smal' is neither a suite, nor a preset, nor a TOML file: did you mean chapter-small?",
        ),
        (str(tmp_path / "none.toml"), "there is no such file"),
        (str(tmp_path), "is not a file"),
    ):
        with pytest.raises(BadInput, match="'") as caught:
            load([given])
        assert message in str(caught.value)
    with pytest.raises(BadInput, match="the file name must be 1 to 64 letters"):
        load([write_suite(tmp_path, COMPARE, "a suite")])
    with pytest.raises(BadInput, match="suite 'chapter' is given twice"):
        load(["chapter", "chapter"])


@pytest.fixture
def suite(tmp_path: Path) -> Suite:
    return read(write_suite(tmp_path, '[[compare]]\nname = "a"\npreset = "quick"\nseeds = [0, 1]\n'))


def create_run(store: RunStore, run: PlannedRun) -> RunFolder:
    return store.create(run.settings)


def test_manifest_identifies_runs_by_settings(suite: Suite, tmp_path: Path) -> None:
    store = RunStore(tmp_path / "runs")
    first, second = suite.runs
    with SuiteManifest(suite, store) as manifest:
        assert [folder for _, folder in manifest.folders()] == [None, None]
        manifest.add(create_run(store, second))
        again = create_run(store, second)
        manifest.add(again)
        assert [folder for _, folder in manifest.folders()] == [None, again]
        manifest.add(one := create_run(store, first))
        store.delete(again)
        (_, found), (_, older) = manifest.folders()
        assert found == one
        assert older not in (None, again)
    assert len(store.runs()) == 2  # the suite's own folder is not a run


def test_failure_counts_only_for_runs_with_the_same_settings(tmp_path: Path) -> None:
    store = RunStore(tmp_path / "runs")

    def statuses(suite: Suite) -> list[tuple[str, str]]:
        return [(run.planned.name, run.status) for run in SuiteMonitor(SuiteManifest(suite, store)).read().runs]

    (suite,) = load(["sinusoid-maml", "sinusoid-anil"])
    maml, anil = suite.runs
    with SuiteManifest(suite, store) as manifest:
        manifest.failed(maml, "there is no such device")
        manifest.failed(anil, "there is no such device")
    assert statuses(suite) == [("presets: MAML", "failed"), ("presets: ANIL", "failed")]
    (others,) = load(["quick", "sinusoid-reptile"])
    assert statuses(others) == [("presets: MAML", "waiting"), ("presets: Reptile", "waiting")]
    (changed,) = load(["sinusoid-maml", "sinusoid-anil"], {"training.seed": 7})
    assert statuses(changed) == [("presets: MAML", "waiting"), ("presets: ANIL", "waiting")]
    (moved,) = load(["sinusoid-anil", "sinusoid-reptile"], {"compute.threads": 1})
    assert statuses(moved) == [("presets: ANIL", "failed"), ("presets: Reptile", "waiting")]
    manifest.failures_path.write_text(json.dumps({"presets: MAML": "recorded without its settings"}))
    assert statuses(suite) == [("presets: MAML", "waiting"), ("presets: ANIL", "waiting")]


def test_reason_of_a_failed_run(suite: Suite, tmp_path: Path) -> None:
    store = RunStore(tmp_path / "runs")
    planned, _ = suite.runs
    with SuiteManifest(suite, store) as manifest:
        run = create_run(store, planned)
        manifest.add(run)
        manifest.failed(planned, "it diverged")
    for event, problem in (("interrupted", None), ("failed", "it diverged")):
        journal = JournalWriter(run.journal_path)
        journal.record(event, 0)
        journal.close()
        found = SuiteMonitor(manifest).read().runs[0]
        assert (found.status, found.problem) == (event, problem)


def test_manifest_lock(suite: Suite, tmp_path: Path) -> None:
    store = RunStore(tmp_path / "runs")
    with SuiteManifest(suite, store), pytest.raises(BadInput, match="suite 'mine' is being run by this process"):
        SuiteManifest(suite, store).__enter__()
    left = SuiteManifest(suite, store).folder / ".runs.json.4242.tmp"
    left.write_bytes(b"partial file of a killed process")
    with SuiteManifest(suite, store):
        assert not left.exists()


@pytest.mark.parametrize("name", ["deleted", "\ud800", "a\0b"])
def test_impossible_run_is_trained_again(name: str, suite: Suite, tmp_path: Path) -> None:
    with SuiteManifest(suite, RunStore(tmp_path / "runs")) as manifest:
        manifest.path.write_text(json.dumps({"runs": [name]}))
        assert [folder for _, folder in manifest.folders()] == [None, None]


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"runs": 3}', '{"runs": [3]}', '{"runs": ["../x"]}', "[" * 9999])
def test_invalid_manifest_is_refused(text: str, suite: Suite, tmp_path: Path) -> None:
    manifest = SuiteManifest(suite, RunStore(tmp_path / "runs"))
    manifest.folder.mkdir(parents=True)
    manifest.path.write_text(text)
    with pytest.raises(BadInput, match="is not a valid list of runs: delete the file to train the suite again"):
        manifest.runs()
