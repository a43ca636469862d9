"""Tests of `metatui compare`: JSON, terminal output, and exported files."""

from __future__ import annotations

import csv
import errno
import io
import json
import math
import re
import xml.etree.ElementTree as ET
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from metatui.cli import main
from metatui.cli.commands import compare as compare_command
from metatui.cli.console import comparison as comparison_console
from metatui.config.fields import change
from metatui.runs.analysis import exports
from metatui.runs.analysis.comparison import Comparing, Comparison, Protocol, RunResult, compare, compare_runs
from metatui.runs.analysis.comparison.pairwise_tests import pairs, seed_pairs
from metatui.runs.analysis.comparison.seed_groups import seed_groups
from metatui.runs.analysis.comparison.tables import costs, tables
from metatui.runs.analysis.exports import EXPORTS, as_csv, as_json, export
from metatui.runs.analysis.report import as_html
from metatui.runs.analysis.tex import as_tex
from metatui.runs.storage.run_folder import RunFolder
from metatui.runs.storage.store import RunStore
from metatui.utils import paths
from metatui.utils.errors import BadInput
from metatui.utils.files import WriteRefusedError
from tests.runs.analysis.comparisons import GLYPHS, SINUSOID, result, train

RUN_KEYS = {
    "run", "algorithm", "tasks", "steps", "seconds_per_step", "tasks_per_second", "peak_memory_bytes", "to_target",
}  # fmt: skip
PAIR_KEYS = {
    "a", "b", "metric", "step", "difference", "ci95", "t", "p", "p_holm", "wilcoxon_p", "effect_size", "verdict",
}  # fmt: skip


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    runs = tmp_path_factory.mktemp("runs")
    for name in ("maml", "reptile", "scratch"):
        train(runs, algorithm__name=name)
    for name in ("fomaml", "pretrained"):
        train(runs, GLYPHS, algorithm__name=name)
    return runs


@pytest.fixture(autouse=True)
def own_folders(tmp_path: Path, store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("METATUI_RUNS", str(store))
    monkeypatch.setattr(paths, "log_file", lambda: tmp_path / "metatui.log")
    monkeypatch.setattr(compare_command, "EVERY_SECONDS", math.inf)


@pytest.fixture
def waves(store: Path) -> Comparison:
    return compare("maml", "reptile", "scratch", runs_dir=store, target=1000.0)


@pytest.fixture
def images(store: Path) -> Comparison:
    return compare("fomaml", "pretrained", runs_dir=store)


Answer = Callable[..., Any]


@pytest.fixture
def answer(capsys: pytest.CaptureFixture[str]) -> Answer:
    """Return a function that runs `compare --json`, expects empty standard error, and returns the JSON object."""

    def run(*arguments: str) -> Any:
        assert main(["compare", *arguments, "--json"]) == 0
        out, err = capsys.readouterr()
        assert err == ""
        return json.loads(out, parse_constant=lambda word: pytest.fail(f"{word} is not JSON"))

    return run


def test_json_has_all_results(answer: Answer, store: Path) -> None:
    report = answer("maml", "reptile", "scratch", "--tasks", "7", "--target", "1000")
    assert report.keys() == {"runs", "pairs", "seeds", "groups", "warnings", "protocol", "metric", "target"}
    assert [run["algorithm"] for run in report["runs"]] == ["maml", "reptile", "scratch"]
    for run in report["runs"]:
        assert run.keys() >= RUN_KEYS
        assert (run["tasks"], run["steps"], run["accuracy"]) == (7, [0, 1, 2], None)
        assert len(run["loss"]["mean"]) == len(run["loss"]["ci95"]) == 3
        assert run["to_target"].keys() == {"iterations", "tasks", "seconds"}
        assert run["curves"].keys() == {"training", "validation"}
        assert RunStore(store).find(run["run"]).path == Path(run["dir"])
    trained, untrained = report["runs"][0], report["runs"][2]
    assert len(trained["curves"]["training"]["meta_loss"]) == 20
    assert trained["curves"]["validation"]["iterations"] == [10, 20]
    assert (untrained["curves"]["training"], untrained["seconds_per_step"]) == (None, None)
    assert [(pair["a"], pair["b"]) for pair in report["pairs"]] == [
        (report["runs"][i]["run"], report["runs"][j]["run"]) for i, j in ((0, 1), (0, 2), (1, 2))
    ]
    for pair in report["pairs"]:
        assert pair.keys() >= PAIR_KEYS
        assert (pair["metric"], pair["step"]) == ("loss", 2)
    assert (report["warnings"], report["target"]) == ([], 1000)
    assert report["protocol"]["tasks"] == 7


def test_different_data_are_refused_before_checkpoints_are_read(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compare_runs, "saved_state", lambda run: pytest.fail("a checkpoint was read"))
    with pytest.raises(BadInput, match=r"runs on different data cannot be compared: task.source is sinusoid for MAML"):
        compare("maml", "fomaml", runs_dir=store)


def test_own_steps(answer: Answer) -> None:
    report = answer("maml", "reptile", "--steps", "own")
    assert (report["protocol"]["own_steps"], report["pairs"][0]["steps"]) == (True, [2, 2])


def test_json_of_images(answer: Answer) -> None:
    report = answer("fomaml", "pretrained", "--steps", "1", "--shots", "2", "--split", "val", "--target", "100%")
    run = report["runs"][0]
    assert (report["metric"], run["steps"], run["to_target"]) == ("accuracy", [0, 1], None)
    assert 0 <= run["accuracy"]["mean"][-1] <= 1
    assert len(run["loss"]["mean"]) == 2
    assert (report["protocol"]["split"], report["protocol"]["shots"]) == ("val", 2)
    assert report["protocol"]["batch_norm"] == "transductive"
    assert "also used to select the checkpoints" in report["warnings"][0]


def test_conclusions_and_tables_fit_80_columns(
    waves: Comparison, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    assert main(["compare", "maml", "reptile", "scratch", "--target", "1000"]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    text = " ".join(out.split())
    assert text.startswith(waves.conclusions[0])
    assert (
        "Protocol: sinusoid, test split, 6 tasks, 10-shot, 10 queries, 2 inner steps; 95 % intervals over tasks" in text
    )
    for title in (
        "Loss after 2 inner steps", "Adaptation", "Pairs on the same tasks", "tasks seen", "Settings that differ",
        "Cost of training; speed (meta-steps/s) relative to MAML",
        "First validation with a loss of 1000 or better",
    ):  # fmt: skip
        assert title in text
    assert max(map(len, out.splitlines())) <= 80
    assert "on the same 6 tasks" in text
    assert "repeat each run with several seeds, for example with 'metatui rerun RUN --seeds 1,2'." in text


def test_wide_tables_are_split(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    assert main(["compare", "maml", "reptile", "scratch"]) == 0
    blocks = capsys.readouterr().out.split("Adaptation\n")[1:]
    headings = [block.split("──")[0].split() for block in blocks]
    assert [heading[:2] for heading in headings] == [["inner", "step"]] * 2
    assert [name for heading in headings for name in heading[2:]] == ["MAML", "Reptile", "scratch"]


def test_values_of_long_names_are_listed_below_them(
    waves: Comparison, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    pair = waves.pairs[0]
    a, b = (replace(run, label=f"maml-sinusoid-20261129-01505{i}") for i, run in enumerate((pair.a, pair.b)))
    comparison_console.show(replace(waves, pairs=(replace(pair, a=a, b=b),)))
    lines = capsys.readouterr().out.partition("Pairs on the same tasks\n")[2].splitlines()
    assert lines[0] == f"{a.label}, {b.label}"
    assert [line.strip().split("  ")[0] for line in lines[1:6]] == [
        "a − b, loss", "p", "p, Holm", "Wilcoxon p", "Cohen's d_z",
    ]  # fmt: skip


def test_progress_without_a_terminal(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(compare_command, "EVERY_SECONDS", 0.0)
    assert main(["compare", "maml", "scratch"]) == 0
    assert "evaluating scratch (2 of 2): 0 of 6 tasks\n" in capsys.readouterr().err


def test_ascii_terminal(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    screen = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    monkeypatch.setattr(comparison_console, "console", lambda **_: Console(file=screen, width=80, highlight=False))
    assert main(["compare", "maml", "scratch"]) == 0
    screen.seek(0)
    text = screen.read()
    assert "+/-" in text
    assert "a - b, loss" in text


def test_progress_in_a_terminal(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    watched = io.StringIO()

    def console(*, stderr: bool = False) -> Console:
        return Console(file=watched if stderr else io.StringIO(), force_terminal=stderr, width=80)

    monkeypatch.setattr(compare_command, "console", console)
    monkeypatch.setattr(comparison_console, "console", console)
    assert main(["compare", "maml", "scratch", "--tasks", "201"]) == 0
    assert "MAML (1 of 2)" in watched.getvalue() or "scratch (2 of 2)" in watched.getvalue()
    with compare_command.progress_bar() as on_progress:
        on_progress(Comparing("MAML, freeze [/a]", 1, 2, 0, 6))  # a closing tag in rich's markup
    assert "MAML, freeze [/a] (1 of 2)" in watched.getvalue()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "a comparison needs at least two runs: 'metatui runs' lists all runs"),
        (["maml"], "a comparison needs at least two runs"),
        (["maml", "nothing"], "'nothing' is not a run in "),
        (["maml", "maml"], "is given twice"),
        (["maml", "fomaml"], "runs on different data cannot be compared: task.source is sinusoid for MAML, glyphs for"),
        (["maml", "scratch", "--tasks", "1"], "evaluation.test_tasks is 1, but must be a whole number from 2"),
        (["maml", "scratch", "--steps", "0"], "evaluation.inner_steps is 0, but must be a whole number from 1"),
        (["maml", "scratch", "--steps", "many"], "--steps is 'many', but must be a whole number of at least 1, or"),
        (["maml", "scratch", "--split", "train"], "'train' is not one of 'test', 'val'"),
        (["maml", "scratch", "--target", "soon"], "--target is 'soon', but must be an accuracy, such as 0.95"),
        (["maml", "scratch", "--target=-1"], "target is -1, but must be a loss of at least 0"),
        (["fomaml", "pretrained", "--target", "95"], "target is 95, but must be an accuracy above 0 and at most 1"),
        (
            ["maml", "scratch", "--export", "x.docx"],
            "must end in one of .csv, .html, .json, .md, .pdf, .png, .svg, .tex",
        ),
        (["maml", "scratch", "--export", "/nowhere/x.md"], "there is no folder '/nowhere'"),
    ],
)  # fmt: skip
def test_bad_input_is_refused(arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["compare", *arguments]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert message in err
    assert err.count("\n") == 1


def test_exported_files(store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], answer: Answer) -> None:
    files = [tmp_path / f"my (first) report{ending}" for ending in EXPORTS]
    assert main(["compare", "maml", "reptile", *(f"--export={file}" for file in files)]) == 0
    err = " ".join(capsys.readouterr().err.split())
    assert all(f"Written to {file}" in err for file in files)
    assert json.loads((tmp_path / "my (first) report.json").read_text()) == answer("maml", "reptile")
    text = (tmp_path / "my (first) report.md").read_text()
    assert text.startswith("# Comparison\n")
    linked = re.findall(r"!\[[^\]]+\]\(([^)]+)\)", text)
    names = ("training", "validation", "adaptation", "result", "time")
    assert linked == [f"my%20%28first%29%20report-{name}.svg" for name in names]
    for name in names:
        drawn = ET.parse(tmp_path / f"my (first) report-{name}.svg")
        assert "Reptile" in "".join(drawn.getroot().itertext()), "each figure has a legend"
    assert f"{tmp_path / 'my (first) report.md'}, with 5 figures next to it" in err
    ET.parse(tmp_path / "my (first) report.svg")
    assert (tmp_path / "my (first) report.csv").read_text().startswith("run,label,algorithm,seed,")
    (tmp_path / "x.md").mkdir()
    with pytest.raises(BadInput, match="is a folder, but must be a file"):
        export(compare("maml", runs_dir=store), tmp_path / "x.md")


def test_existing_files_are_replaced_only_with_force(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    page, figure = tmp_path / "result.md", tmp_path / "result-adaptation.svg"
    command = ["compare", "maml", "scratch", "--tasks", "2", f"--export={page}"]
    with monkeypatch.context() as patch:
        patch.setattr("metatui.runs.analysis.comparison.compare", lambda *runs, **options: pytest.fail("it measured"))
        for existing, option in ((page, "--export"), (figure, "a figure next to the report")):
            existing.write_text("mine")
            assert main(command) == 2
            message = f"{option} is '{existing}', which already exists: choose another name, or replace the file with"
            assert f"{message} --force" in capsys.readouterr().err
            assert existing.read_text() == "mine"
            existing.unlink()
    page.write_text("mine")
    assert main([*command, "--force"]) == 0
    assert page.read_text().startswith("# Comparison\n")


def test_result_is_shown_although_a_file_cannot_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def full(path: Path, data: bytes) -> None:
        raise WriteRefusedError(path, OSError(errno.ENOSPC, "No space left on device"))

    monkeypatch.setattr(exports, "write_atomically", full)
    assert main(["compare", "maml", "scratch", "--json", f"--export={tmp_path / 'a.csv'}"]) == 1
    out, err = capsys.readouterr()
    assert len(json.loads(out)["pairs"]) == 1
    assert "no space left on device" in err


def test_latest_refers_to_newest_runs(store: Path, answer: Answer, capsys: pytest.CaptureFixture[str]) -> None:
    newest = [summary.id for summary in RunStore(store).summaries()]
    runs = answer("latest~1", "latest", "--tasks", "2")["runs"]
    assert [run["run"] for run in runs] == [newest[1], newest[0]]
    assert main(["compare", "latest", "latest~99"]) == 2
    assert f"there is no run 'latest~99': '{store}' has {len(newest)} runs" in capsys.readouterr().err


def test_csv_has_a_row_for_each_step(waves: Comparison, images: Comparison) -> None:
    rows = list(csv.DictReader(io.StringIO(as_csv(waves))))
    assert [row["over"] for row in rows] == ["tasks"] * 3 * 3 + [""] * 3, "the last rows contain the tests"
    assert [float(row["mean"]) for row in rows[:3]] == list(waves.runs[0].evaluation.loss.mean)
    assert {row["ways"] for row in rows} == {""}
    assert {row["metric"] for row in csv.DictReader(io.StringIO(as_csv(images)))} == {
        "accuracy",
        "loss",
    }


def test_csv_states_the_protocol(waves: Comparison, images: Comparison) -> None:
    for comparison in (waves, images):
        rows = list(csv.DictReader(io.StringIO(as_csv(comparison))))
        assert {row["tasks"] for row in rows} == {str(comparison.protocol.tasks)}
        assert {row["batch_norm"] for row in rows} == {comparison.protocol.batch_norm or ""}


def test_csv_has_a_row_for_each_test(waves: Comparison) -> None:
    text = as_csv(waves)
    assert text.startswith(
        "run,label,algorithm,seed,iteration,split,tasks,ways,shots,queries,batch_norm,metric,inner_step,mean,ci95,"
        "inner_lr,diverged,checkpoint,over,seeds,sd,compared_with,difference,difference_ci95,test,p,p_holm\n"
    )
    rows = list(csv.DictReader(io.StringIO(text)))
    tests = [row for row in rows if row["test"]]
    assert [(row["label"], row["compared_with"]) for row in tests] == [
        (pair.a.label, pair.b.label) for pair in waves.pairs
    ]
    for row, pair in zip(tests, waves.pairs, strict=True):
        assert (row["test"], row["metric"], row["inner_step"], row["mean"]) == ("paired t", "loss", "2", "")
        assert float(row["difference"]) == pair.test.mean
        assert float(row["difference_ci95"]) == pair.test.ci95
        assert (float(row["p"]), float(row["p_holm"])) == (pair.test.p, pair.p_holm)
    assert {row["p"] + row["p_holm"] + row["compared_with"] for row in rows if row not in tests} == {""}


def constructed(*runs: RunResult) -> Comparison:
    return Comparison(
        protocol=Protocol("sinusoid", "test", 3, 10, 10, 1, 0, None, None),
        runs=runs,
        pairs=pairs(runs, metric="loss", step=1),
        seeds=seed_pairs(runs, metric="loss", step=1),
        target=None,
        warnings=(),
        groups=seed_groups(runs),
    )


def rows_of_tests(comparison: Comparison) -> list[dict[str, str]]:
    return [row for row in csv.DictReader(io.StringIO(as_csv(comparison))) if row["test"]]


def test_csv_has_a_row_for_each_test_over_seeds() -> None:
    comparison = constructed(
        *(
            result(f"{name} {seed}", [1.0 + seed, 2.0, last], settings=settings)
            for name, last in (("maml", 1.75), ("reptile", 2.5))
            for seed in range(2)
            for settings in (change(SINUSOID, {"algorithm.name": name, "training.seed": seed}),)
        )
    )
    (pair,) = comparison.seeds
    first, *others = rows_of_tests(comparison)
    assert (first["test"], first["run"], first["label"], first["compared_with"]) == (
        "Welch", "", pair.a.label, pair.b.label,
    )  # fmt: skip
    assert float(first["difference"]) == pair.test.difference
    assert (float(first["p"]), float(first["p_holm"])) == (pair.test.p, pair.p_holm)
    assert [row["test"] for row in others] == ["paired t"] * len(comparison.pairs)
    report = as_json(comparison)
    assert [(each["a"], each["b"]) for each in report["seeds"]] == [(["maml 0", "maml 1"], ["reptile 0", "reptile 1"])]
    assert [each["median_difference"] for each in report["pairs"]] == [each.test.median for each in comparison.pairs]


def test_csv_names_the_test_that_was_possible() -> None:
    steady, shifted = result("steady", [1.0, 1.25, 1.5]), result("shifted", [2.0, 2.25, 2.5])
    comparison = constructed(steady, shifted)
    (row,) = rows_of_tests(comparison)
    assert row["test"] == "Wilcoxon", "the t-test of equal differences is undefined"
    assert float(row["p"]) == float(row["p_holm"]) == comparison.pairs[0].test.wilcoxon_p
    (row,) = rows_of_tests(constructed(steady, result("lost", [math.nan, math.nan, 1.0])))
    assert (row["p"], row["p_holm"], row["diverged"]) == ("nan", "nan", "2")
    all_there, few_left = result("A", [1.0, 1.2, 1.5, 1.1, 1.3]), result("B", [*[math.nan] * 3, 2.0, 2.5])
    comparison = constructed(all_there, few_left)
    assert math.isfinite(comparison.pairs[0].test.deciding_p)
    (row,) = rows_of_tests(comparison)
    assert (row["p"], row["p_holm"], row["diverged"]) == ("nan", "nan", "3")


def as_markdown(comparison: Comparison, folder: Path) -> str:
    file, *_ = export(comparison, folder / "comparison.md")
    return file.read_text()


def test_markdown_escapes_names(waves: Comparison, tmp_path: Path) -> None:
    named = replace(waves.runs[0], run=RunFolder(Path("/runs/a_b|c*<d>")))
    text = as_markdown(replace(waves, runs=(named, *waves.runs[1:]), warnings=("some [thing]",)), tmp_path)
    assert r"a\_b\|c\*\<d\>" in text
    assert r"- Warning: some \[thing\]." in text
    for table in text.split("\n\n"):
        if table.startswith("| run | name"):
            assert {line.replace("\\|", "").count("|") for line in table.splitlines()} == {6}


def test_markdown_is_complete(waves: Comparison, tmp_path: Path) -> None:
    text = as_markdown(waves, tmp_path).replace("\\", "")
    assert "sinusoid, test split, 6 tasks, 10-shot, 10 queries, 2 inner steps; 95 % intervals over tasks." in text
    for table in tables(waves):
        assert f"## {table.title}" in text
    assert all(verdict in text for verdict in waves.verdicts)


def test_seeds_are_summarised_everywhere(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    names = [
        *(train(tmp_path, training__seed=seed).id for seed in (0, 1, 2)),
        train(tmp_path, algorithm__name="fomaml").id,
    ]
    comparison = compare(*names, runs_dir=tmp_path)
    over_seeds = comparison.groups[0].loss
    assert main(["compare", *names, "--runs-dir", str(tmp_path), "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert [(group["label"], group["n"], group["seeds"]) for group in report["groups"]] == [
        ("MAML", 3, [0, 1, 2]), ("FOMAML", 1, [0]),
    ]  # fmt: skip
    first = report["groups"][0]
    assert (first["mean"], first["sd"], first["ci95"]) == (
        over_seeds.mean[-1], over_seeds.deviation[-1], over_seeds.ci95[-1],
    )  # fmt: skip
    assert report["groups"][1]["sd"] is None
    assert len(report["pairs"]) == 3, "no pairs of seeds"
    rows = list(csv.DictReader(io.StringIO(as_csv(comparison))))
    assert [row["over"] for row in rows] == ["tasks"] * 12 + ["seeds"] * 3 + [""] * 3
    assert [(row["label"], row["seeds"], float(row["sd"])) for row in rows[12:15]] == [
        ("MAML", "3", sd) for sd in over_seeds.deviation
    ]
    seeds_only = replace(comparison, runs=comparison.runs[:3], groups=comparison.groups[:1])
    for compared, has_speed in ((comparison, True), (seeds_only, False)):
        table = costs(compared)
        assert ("speed" in table.headings, "relative to" in table.title) == (has_speed, has_speed)
        assert {len(row) for row in table.rows} == {len(table.headings)}
    for text in (as_markdown(comparison, tmp_path), as_html(comparison)):
        assert "Loss over seeds, after 2 inner steps" in text
        assert "MAML (3 seeds): mean loss " in text
        assert "over tasks; for groups of several seeds, over the seeds" in text
    tex = as_tex(comparison)
    lines = [line.strip().split(" & ") for line in tex.splitlines() if " & " in line]
    assert [(line[0], line[1]) for line in lines[1:3]] == [("MAML", "3"), ("FOMAML", "1")]
    assert r"training.seed & 0, 1, 2 & 0 \\" in tex
    assert tex.count("seed 0) & FOMAML & ") == 1, "paired tests"
    assert "$\\pm$" in lines[1][2]
    assert "$\\pm$" not in lines[2][2]


def test_tex_is_a_booktabs_table(waves: Comparison) -> None:
    named = replace(waves.runs[0], label="50 % of_it & $x$")
    text = as_tex(replace(waves, runs=(named, *waves.runs[1:]), groups=()))
    pairs = 1 + len(waves.pairs)
    assert text.count(r" \\" + "\n") == 1 + len(waves.runs) + pairs
    assert "p, Holm & Wilcoxon p & Cohen's d\\_z" in text
    assert r"    50 \% of\_it \& \$x\$ & " in text
    assert "half-width of the 95 \\% interval over tasks" in text
    for label, cell in (("[2mm] a", "{[}2mm] a"), ("* b", "{*} b")):
        named = replace(waves.runs[1], label=label)
        rows = as_tex(replace(waves, runs=(waves.runs[0], named), groups=()))
        assert f"\n    {cell} & " in rows, "it does not belong to the end of the previous row"
    assert [rule in text for rule in (r"\toprule", r"\midrule", r"\bottomrule")] == [True] * 3
    assert text.isascii()
    tables = ["results", "pairs"]
    assert [label for label in tables if f"\\label{{tab:sinusoid-{label}}}" in text] == tables
    warned = as_tex(replace(waves, warnings=("MAML is not finished",)))
    assert "Note: MAML is not finished." in warned
