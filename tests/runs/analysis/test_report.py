"""Tests that reports are complete, self-contained, and safe whatever the files of a run contain."""

from __future__ import annotations

import base64
import http.server
import os
import re
import shutil
import subprocess
import threading
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path

import pytest
from markdown_it import MarkdownIt

from metatui.cli import main
from metatui.config import presets
from metatui.config.fields import change
from metatui.events import Change, Progress
from metatui.runs.analysis.comparison import Comparison, compare
from metatui.runs.analysis.comparison.tables import NONE
from metatui.runs.analysis.report import as_html, write
from metatui.runs.analysis.report.content import MAX_EVENTS, report
from metatui.runs.analysis.report.render import escape_markdown
from metatui.runs.analysis.tex import as_tex
from metatui.runs.execution.session import Session
from metatui.runs.formatting import with_unit
from metatui.runs.storage.journal import JournalWriter
from metatui.runs.storage.store import RunStore
from metatui.utils import paths
from tests.runs.analysis.comparisons import GLYPHS, SINUSOID, train

EVIL = "<script>alert(1)</script><img src=http://example.org/x onerror=alert(2)>\"'&\x1b[31m\x00"
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    runs = tmp_path_factory.mktemp("runs")
    session = Session.start(SINUSOID, runs_dir=runs, preset=EVIL)
    for event in session:
        if isinstance(event, Progress) and event.iteration == 5:
            session.submit(Change("algorithm.inner_lr", 0.02))
    writer = JournalWriter(session.run.journal_path)
    writer.record("warned", 20, text=EVIL)
    for number in range(MAX_EVENTS):
        writer.record("noted", 20, text=f"note {number}")
    writer.close()
    train(runs, training__seed=1)
    train(runs, algorithm__name="scratch")
    train(runs, GLYPHS, algorithm__name="fomaml")
    return runs


@pytest.fixture(autouse=True)
def own_folders(tmp_path: Path, store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("METATUI_RUNS", str(store))
    monkeypatch.setattr(paths, "log_file", lambda: tmp_path / "metatui.log")


@pytest.fixture(scope="module")
def waves(store: Path) -> Comparison:
    """Return a comparison of three runs on the same tasks. The name of the first run contains markup."""
    runs = sorted(run.path for run in RunStore(store).runs() if "sinusoid" in run.path.name)
    evil = runs[0].with_name("<b onclick=x>&amp;\u202eb")
    if not evil.exists():
        shutil.copytree(runs[0], evil)
    return compare(evil, *runs[1:], runs_dir=store, target=1000.0, steps=3)


@pytest.fixture(scope="module")
def images(store: Path) -> Comparison:
    return compare("fomaml", runs_dir=store)


@pytest.fixture(scope="module")
def pages(waves: Comparison, images: Comparison) -> dict[str, str]:
    return {"waves": as_html(waves), "images": as_html(images)}


@pytest.fixture(scope="module")
def markdown(waves: Comparison, tmp_path_factory: pytest.TempPathFactory) -> str:
    file, *_ = write(waves, tmp_path_factory.mktemp("reports") / "report.md")
    return file.read_text()


class Page(HTMLParser):
    """Parser that collects the tags, attributes and text of an HTML page."""

    VOID = ("meta", "link", "br", "img", "input")

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str]] = []
        self.words: list[str] = []
        self._open: list[str] = []
        self.feed(text)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(name, value or "") for name, value in attrs]
        if tag not in self.VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(name, value or "") for name, value in attrs]

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self._open and self._open[-1] != "style":
            self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(self.words)


@pytest.mark.parametrize("which", ["waves", "images"])
def test_page_has_no_scripts_or_external_resources(which: str, pages: dict[str, str]) -> None:
    text = pages[which]
    page = Page(text)
    assert not {"script", "iframe", "object", "embed", "svg", "base", "form"} & set(page.tags)
    assert not [name for name, _ in page.attributes if name.startswith("on")]
    loading = [value for name, value in page.attributes if name in ("href", "src", "srcset", "xlink:href", "style")]
    assert all(value.startswith(("#", "data:image/svg+xml;base64,")) or value == "data:," for value in loading)
    style = text[text.index("<style>") : text.index("</style>")]
    assert "url(" not in style
    assert "@import" not in style
    assert not any(c in text for c in "\x00\x1b\u202e")
    assert page.tags.count("img") >= 6
    for value in loading:
        if value.startswith("data:image"):
            ET.fromstring(base64.b64decode(value.split(",")[1]))
    assert page.tags.count("h1") == 1


def test_settings_that_differ_from_the_preset_are_listed(tmp_path: Path) -> None:
    settings = change(presets.load("quick").settings, {"training.iterations": 6, "evaluation.test_tasks": 6})
    session = Session.start(settings, runs_dir=tmp_path, preset="quick")
    for event in session:
        if isinstance(event, Progress) and event.iteration == 2:
            session.submit(Change("algorithm.outer_lr", 0.02))
    sections = {section.title: section for section in report(compare(session.run)).sections}
    changed = sections["Settings"].tables[-1]
    assert changed.title == "Settings that differ from the preset"
    assert ("algorithm.outer_lr", "0.02") in [row[1:3] for row in changed.rows]
    [started] = sections["Environment"].tables[0].rows
    assert "quick (changed)" in started


def test_markup_in_files_is_escaped(pages: dict[str, str], markdown: str) -> None:
    text = Page(pages["waves"]).text
    assert "<script>alert(1)</script>" in text
    assert "<b onclick=x>&amp;�b" in text
    assert "\\<script\\>alert(1)\\</script\\>" in markdown
    assert not any(c in markdown for c in "\x00\x1b\u202e")


@pytest.mark.parametrize(
    "text", ["&lt;b&gt;", "~~a~~ $x$", "`*_[a](b)<i>|#\\", "- a", "+ a", "1. a", "2) a", "# a", "-0.5"]
)
def test_escaped_text_is_shown_unchanged(text: str) -> None:
    escaped = escape_markdown(text)
    parsed = MarkdownIt().enable(["table", "strikethrough"]).parse(f"- {escaped}\n\n| h |\n| --- |\n| {escaped} |\n")
    shown = ["".join(part.content for part in token.children or ()) for token in parsed if token.type == "inline"]
    assert shown == [text, "h", text]
    assert [token.type for token in parsed].count("list_item_open") == 1
    assert "$" not in escaped.replace("\\$", ""), "some viewers show it as a formula"


def test_name_of_a_markdown_file_may_be_any_bytes(images: Comparison, tmp_path: Path) -> None:
    file, *figures = write(images, tmp_path / os.fsdecode(b"\xff.md"))
    assert "(%FF-training.svg)" in file.read_text()
    assert all(figure.exists() for figure in figures)


@pytest.mark.parametrize("kind", ["html", "markdown"])
def test_report_is_complete(kind: str, waves: Comparison, pages: dict[str, str], markdown: str) -> None:
    text = Page(pages["waves"]).text if kind == "html" else markdown
    text = text.replace("\\_", "_")
    run = waves.runs[1]
    start = run.run.journal()[0].details
    for message in (
        "MAML and scratch on sinusoid", "sinusoid, test split, 6 tasks, 10-shot, 10 queries, 3 inner steps",
        "Loss after 3 inner steps", "Adaptation", "Validations during training", "Pairs on the same tasks",
        "Cost of training", "First validation with a loss of 1000 or better", run.id, "algorithm.inner_lr", "0.02",
        "Inner learning rate changed from 0.01 to 0.02", f"note {MAX_EVENTS - 5}", "and 4 more events",
        str(start["torch"]), str(start["host"]), str(start["device_name"]), "model.hidden",
    ):  # fmt: skip
        assert message in text, message
    assert f"note {MAX_EVENTS - 1}" not in text
    for verdict in waves.verdicts:
        assert verdict in text.replace("\\", "")


def test_report_has_no_empty_or_repeated_labels(images: Comparison) -> None:
    content = report(images)
    titles = [panel.title for section in content.sections for panel in section.figures]
    assert len(set(titles)) == len(titles) >= 5
    tables = {table.title: table for section in content.sections for table in section.tables}
    settings = {row[0]: row[1] for row in tables["Settings of the run"].rows}
    assert settings["model.name"] == "conv4"
    assert (settings["task.ways_range"], settings["task.ways"]) == (NONE, "3 classes")
    headings = tables["Where the runs were trained"].headings
    assert "started" in headings
    assert not any("meta-step" in heading for heading in headings), "no run was resumed"


def test_report_of_single_run(pages: dict[str, str]) -> None:
    page = Page(pages["images"])
    assert "FOMAML on glyphs" in page.text
    assert "Pairs" not in page.text
    assert "3-way 1-shot" in page.text
    assert "Settings that differ" not in page.text


def test_conclusions_over_seeds_come_first(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    runs = [
        train(tmp_path, training__seed=seed, algorithm__name=name) for name in ("maml", "fomaml") for seed in (0, 1)
    ]
    comparison = compare(*runs, train(tmp_path, algorithm__name="scratch"))
    (of_seeds,) = (pair.verdict for pair in comparison.seeds)
    with_scratch = {pair.verdict for pair in comparison.pairs if pair.b.settings.algorithm.name == "scratch"}
    assert len(with_scratch) == 4
    assert comparison.conclusions[0] == of_seeds
    assert set(comparison.conclusions[1:]) == with_scratch
    text = Page(as_html(comparison)).text
    first = text[: text.index("Loss after")]
    assert all(verdict in first for verdict in comparison.conclusions)
    assert comparison.pairs[0].verdict not in first
    assert comparison.pairs[0].verdict in text
    assert main(["compare", *(str(run.path) for run in runs)]) == 0
    lines = [line for line in capsys.readouterr().out.splitlines() if line.endswith(".")]
    assert [line.split(":")[0] for line in lines[:2]] == ["MAML (2 seeds)", "FOMAML (2 seeds)"]
    assert lines[2:] == [f"{of_seeds}."]
    tex = as_tex(comparison)
    assert "MAML (2 seeds) & FOMAML (2 seeds) & " in tex
    assert "Welch's p & p, Holm" in tex


@pytest.fixture
def report_server(pages: dict[str, str], tmp_path: Path) -> Iterator[tuple[str, list[str]]]:
    """Serve two reports over HTTP. Yield the address of the server and a list to which each requested path is added."""
    for name, text in pages.items():
        (tmp_path / f"{name}.html").write_text(text)
    asked: list[str] = []

    class Server(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *given: object) -> None:
            super().__init__(*given, directory=str(tmp_path))  # type: ignore[arg-type]

        def log_message(self, format: str, *given: object) -> None:  # noqa: A002
            asked.append(self.path)

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Server)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}", asked
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed")
@pytest.mark.parametrize("name", ["waves.html", "images.html"])
def test_browser_loads_only_the_page(name: str, report_server: tuple[str, list[str]], tmp_path: Path) -> None:
    assert CHROMIUM is not None
    address, asked = report_server
    done = subprocess.run(
        [
            CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run",
            f"--user-data-dir={tmp_path / 'browser'}", "--enable-logging=stderr", "--v=0", "--dump-dom",
            f"{address}/{name}",
        ],
        capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0
    assert asked == [f"/{name}"]
    assert "CONSOLE" not in done.stderr
    assert "<h1>" in done.stdout
    assert "<figure><img" in done.stdout


def test_report_command(
    store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    page = tmp_path / "a.html"
    assert main(["report", "fomaml", "--to=~/a.html", "--tasks", "4"]) == 0
    out, err = capsys.readouterr()
    assert out.startswith("FOMAML: accuracy ")
    assert " ".join(err.split()) == f"Written to {page}"
    assert "4 tasks" in Page(page.read_text()).text
    assert main(["report", "fomaml", "--to", str(page)]) == 2
    assert "already exists: choose another name, or replace the file with --force" in capsys.readouterr().err
    assert main(["report", "fomaml", "--to", str(page), "--force"]) == 0
    assert main(["report", "fomaml", "--to", str(tmp_path / "a.md")]) == 0
    text = (tmp_path / "a.md").read_text()
    assert text.startswith("# FOMAML on glyphs\n")
    linked = set(re.findall(r"\]\((a-[a-z-]+\.svg)\)", text))
    assert linked == {file.name for file in tmp_path.glob("*.svg")} > {"a-training.svg", "a-training-seconds.svg"}
    (tmp_path / "a.md").unlink()
    (tmp_path / "a-training.svg").write_text("mine")
    assert main(["report", "fomaml", "--to", str(tmp_path / "a.md")]) == 2
    assert "a-training.svg', which already exists: choose another name" in " ".join(capsys.readouterr().err.split())
    assert (tmp_path / "a-training.svg").read_text() == "mine"
    assert main(["report", "fomaml", "--to", str(tmp_path / "a.md"), "--force"]) == 0
    assert (tmp_path / "a-training.svg").read_text().startswith("<svg")
    assert main(["compare", "fomaml", "fomaml", "--export", str(page), "--force"]) == 2
    assert "is given twice" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "a report needs at least one run: 'metatui runs' lists all runs, and 'latest' is the newest one"),
        (["nothing"], "'nothing' is not a run in "),
        (["fomaml", "--to", "x.pdf"], "--to is 'x.pdf', but must end in .html or .md"),
        (["fomaml", "--to", "/nowhere/x.md"], "there is no folder '/nowhere'"),
        (["fomaml", "--tasks", "1"], "evaluation.test_tasks is 1, but must be a whole number from 2"),
        (["fomaml", "scratch"], "runs on different data cannot be compared"),
    ],
)
def test_bad_input_is_refused(arguments: list[str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
                   capsys: pytest.CaptureFixture[str]) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    assert main(["report", *arguments]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert message in err
    assert err.count("\n") == 1
    assert list(tmp_path.glob("*.html")) == []


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        ("1", "steps", "1 step"), ("1", "classes", "1 class"), ("1", "s", "1 s"), ("1", "", "1"),
        ("1", "examples", "1 example"), ("5", "steps", "5 steps"), ("1.5", "s", "1.5 s"),
    ],
)  # fmt: skip
def test_units_of_settings(value: str, unit: str, text: str) -> None:
    assert with_unit(value, unit) == text
