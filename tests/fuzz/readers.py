"""Functions that read the damaged files of a fuzz case with metatui's code."""

from __future__ import annotations

import asyncio
import contextlib
import io
import itertools
import os
from html.parser import HTMLParser
from pathlib import Path
from random import Random

from metatui.utils.errors import MetatuiError
from tests.fuzz.samples import CACHE, CIFAR, DATA, IMAGES, OTHER, REGRESSION, RUNS
from tests.fuzz.values import TEXTS


class UnescapedOutputError(AssertionError):
    """Raised if output contains control characters or markup that should have been escaped."""


def check_printable(text: str, *, lines: bool = True) -> str:
    """Return `text` unchanged if all its characters are printable.

    Args:
        lines: whether line breaks are also allowed.

    Raises:
        UnescapedOutputError: if `text` contains other characters.
    """
    for character in text:
        if not character.isprintable() and not (lines and character == "\n"):
            raise UnescapedOutputError(f"{character!r} in {text[:300]!r}")
    return text


def command(*words: str, home: Path) -> None:
    """Run a `metatui` command, check that its output is printable, and let its errors propagate."""
    from metatui.cli.main import cli

    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            cli.main(args=list(words), prog_name="metatui", standalone_mode=False)
        finally:
            check_printable(out.getvalue())
            check_printable(err.getvalue())


def rename_randomly(path: Path, rng: Random) -> Path:
    """Rename the folder `path` to a random hostile name in some fuzz cases. Return the new or unchanged path."""
    name = rng.choice(TEXTS)
    fit = name not in ("", ".", "..") and not set(name) & set("/\0") and len(os.fsencode(_encodable(name))) < 256
    if not fit or not path.is_dir() or rng.random() < 0.5:
        return path
    return path.rename(path.with_name(_encodable(name)))


def _encodable(name: str) -> str:
    return name.encode(errors="replace").decode()


def preset(home: Path, rng: Random) -> None:
    from metatui.config import presets

    found, problems = presets.user()
    for each in found:
        check_printable(each.name)
    for problem in problems:
        check_printable(problem, lines=False)
    if rng.random() < 0.5:
        command("presets", home=home)
        command("presets", "show", "own", home=home)
    presets.load("own")


def suite(home: Path, rng: Random) -> None:
    from metatui.runs.storage.store import RunStore
    from metatui.runs.suites.files import load
    from metatui.runs.suites.manifest import SuiteManifest

    for each in load([home / "suites/own.toml"]):
        for text in (each.title, each.source, each.notes, *(run.name for run in each.runs)):
            check_printable(text)
        for _, folder in SuiteManifest(each, RunStore()).folders():
            assert folder is None or folder.path.resolve().parent == (home / RUNS).resolve(), folder


def run(home: Path, rng: Random) -> None:
    """Choose one of these at random: list the runs, export one of them, or read all of them as the app does."""
    from metatui.runs.storage.store import RunStore
    from metatui.tui.model.replay import Replay

    own = rename_randomly(home / RUNS / REGRESSION, rng).name
    match rng.randrange(3):
        case 0:
            command("runs", *rng.choice(((), ("--json",))), home=home)
        case 1:
            name = str(home / RUNS / rng.choice((own, IMAGES)))
            command("runs", "export", name, *rng.choice(((), ("--evaluations",))), home=home)
        case _:
            for folder in RunStore().runs():
                with contextlib.suppress(MetatuiError):
                    replay = Replay(folder)
                    for _ in range(2):
                        monitor = replay.read()
                    [check_printable(line.text) for line in monitor.journal]


def checkpoint(home: Path, rng: Random) -> None:
    from metatui.runs.analysis.evaluate import evaluate, views
    from metatui.runs.storage.store import RunStore

    folder = RunStore().find(REGRESSION)
    evaluate(folder, tasks=2, steps=1)
    views(folder, [0])


def model(home: Path, rng: Random) -> None:
    import metatui

    loaded = metatui.load_model(REGRESSION)
    loaded.adapt([[0.0], [1.0]], [[0.0], [1.0]], steps=1).predict([[0.5]])


def resume(home: Path, rng: Random) -> None:
    from metatui.runs.execution.session import Session
    from metatui.runs.storage.store import RunStore

    session = Session.resume(RunStore().find(REGRESSION), {"training.iterations": 6})
    with contextlib.closing(iter(session)) as events:
        for event in itertools.islice(events, 5):
            check_printable(str(getattr(event, "text", "")))


def report(home: Path, rng: Random) -> None:
    from metatui.runs.analysis.comparison.compare_runs import compare
    from metatui.runs.analysis.exports import EXPORTS

    own = rename_randomly(home / RUNS / REGRESSION, rng)
    compared = compare(own, OTHER, tasks=2, steps=1)
    for kind, write in EXPORTS.items():
        file, *_ = write(compared, home / "tmp" / f"comparison{kind}")
        if kind in (".pdf", ".png"):
            continue
        text = check_printable(file.read_bytes().decode())
        if kind in (".html", ".svg"):
            HtmlChecker(convert_charrefs=True).feed(text)


class HtmlChecker(HTMLParser):
    """Parser that raises UnescapedOutputError for elements that could run code or send requests."""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if (tag, attrs) == ("link", [("rel", "icon"), ("href", "data:,")]):
            return  # an empty icon, which prevents browsers from requesting one
        if tag == "a" and all(name == "href" and (value or "").startswith("#") for name, value in attrs):
            return  # a link within the page
        if tag == "img" and (dict(attrs).get("src") or "").startswith("data:image/svg+xml;base64,"):
            return
        if tag == "use" and (dict(attrs).get("xlink:href") or "").startswith("#"):
            return
        if tag in ("script", "img", "iframe", "object", "embed", "link", "a", "foreignobject"):
            raise UnescapedOutputError(f"<{tag} {attrs}>")
        for name, value in attrs:
            if name.startswith("on") or name in ("href", "src", "xlink:href", "action", "srcdoc"):
                raise UnescapedOutputError(f"<{tag} {name}={value}>")


def omniglot(home: Path, rng: Random) -> None:
    from metatui.learning.data.omniglot.cache import load, pack
    from tests.omniglot_files import SMALL

    packed = home / "tmp/packed.safetensors"
    pack(home / "omniglot", to=packed, layout=SMALL)
    load(packed, layout=SMALL)


def omniglot_cache(home: Path, rng: Random) -> None:
    from metatui.learning.data.omniglot.cache import load
    from tests.omniglot_files import SMALL

    load(home / DATA / "data/omniglot.safetensors", layout=SMALL)


def pictures(home: Path, rng: Random) -> None:
    from metatui.learning.data.image_folder.cache import load
    from metatui.learning.data.image_folder.scan import list_folder

    rename_randomly(home / "pictures/class00", rng)
    listing = list_folder(str(home / "pictures"))
    packed = load(listing, size=16, rgb=True)
    [check_printable(str(each)) for each in (*listing.left_out, *packed.unusable.values())]
    assert len(packed.pixels) == len(packed.digests) == len(listing.files)


def class_lists(home: Path, rng: Random) -> None:
    from metatui.learning.data.image_folder.scan import list_folder

    root = home / "listed"
    listing = list_folder(str(root), rng.choice(("", str(root / "lists"))))
    assert all(each.split and each.files for each in listing.classes)
    [check_printable(str(each)) for each in listing.left_out]


def cifar100(home: Path, rng: Random) -> None:
    from metatui.learning.data.cifar100.classes import IMAGES
    from metatui.learning.data.cifar100.files import read

    IMAGES.update(CIFAR)
    assert read(home / "cifar").shape == (100, 2, 3, 32, 32)


def table(home: Path, rng: Random) -> None:
    from metatui.config.fields import parse
    from metatui.learning.data.episodes import SPLITS
    from metatui.learning.data.sources.table import TableOptions
    from metatui.learning.data.table.source import load_table

    table = {"file": str(home / "tables/plants.csv"), "task_column": "plant", "targets": "y0"}
    settings = parse({"task": {"source": "table", "shots": 3, "queries": 3}, "table": table})
    source = load_table(settings, settings.options_of("table", TableOptions))
    [check_printable(text) for text in (*source.notes, *source.notices)]
    for split in SPLITS:
        check_printable(source.describe(split, 0, seed=0))
        episodes = source.episodes(split, range(4), seed=0, shots=3, queries=3)
        assert episodes.support_x.shape[:2] == episodes.query_y.shape[:2] == (4, 3)


def engines(home: Path, rng: Random) -> None:
    from metatui.learning.engines.autotune import EngineTimings

    for number in range(3):
        measured = EngineTimings(key=f"{number:024x}")
        min(measured.ms.values(), default=0.0)
        measured.add("loop", 1.0)


def preferences(home: Path, rng: Random) -> None:
    from metatui.tui.launch import chosen_theme, saved_preferences
    from metatui.tui.preferences import save

    saved, warning = saved_preferences()
    check_printable(chosen_theme(None, saved) + warning, lines=False)
    save(saved)


def package(home: Path, rng: Random) -> None:
    from metatui.learning.engines.compiled.aot_package import load

    for path in (home / CACHE / "compiled").iterdir():
        load(path)


def app(home: Path, rng: Random) -> None:
    """Open the listed runs and presets in the app, and check that the screens contain only printable text."""
    from metatui.tui.launch import make_app

    rename_randomly(home / RUNS / REGRESSION, rng)
    size = rng.choice(((80, 24), (120, 40), (200, 60), (40, 10)))

    beside = ["space"] if rng.random() < 0.2 else []  # starts a worker process, which takes seconds

    async def look() -> None:
        shown = make_app(runs_dir=home / RUNS)
        async with shown.run_test(size=size) as pilot:
            await pilot.press("2")
            await shown.workers.wait_for_complete()
            for _ in range(3):
                await pilot.press("2", "enter")
                await shown.workers.wait_for_complete()
                await pilot.pause()
                for key in ("left_square_bracket", "comma", "full_stop", "y", "t", "m", "z", "z", "ctrl+o", "escape"):
                    await pilot.press(key)
                _check_screen(shown)
                await pilot.press("2", "down", *beside)
                await shown.workers.wait_for_complete()
                _check_screen(shown)
            await pilot.press("3", "down", "end", "enter")
            _check_screen(shown)

    asyncio.run(look())


def _check_screen(shown: object) -> None:
    for strip in shown.screen._compositor.render_strips():  # type: ignore[attr-defined]
        for segment in strip:
            check_printable(segment.text, lines=False)
