"""Sample home folder with a valid file of every kind that metatui reads."""

from __future__ import annotations

import json
import os
import zipfile
from collections.abc import Mapping
from pathlib import Path

from metatui.config.fields import parse
from metatui.config.settings import Settings
from tests.cifar_files import write_folder
from tests.folder_files import names, write_classes
from tests.learning.data.table.tables import regressions

CONFIG, DATA, CACHE = Path("config/metatui"), Path("data/metatui"), Path("cache/metatui")
RUNS = DATA / "runs"
REGRESSION, OTHER, IMAGES = "maml-sinusoid-1", "maml-sinusoid-2", "maml-glyphs-1"
CIFAR = {"train": 1, "test": 1}
"""Number of images per class in each sample file of CIFAR-100."""
SUITE = """[suite]
title = "Two seeds"

[[compare]]
name = "seeds"
seeds = [0, 1]
set = { training.iterations = 3 }
target = 1.0

[[compare.runs]]
label = "a"

[compare.runs.set]
algorithm.inner_lr = 0.02

[compare.grid]
task.shots = [5, 10]
"""


def environment(home: Path) -> Mapping[str, str]:
    """Return the environment variables that make metatui keep all its files in `home`."""
    folders = {f"XDG_{name}_HOME": str(home / name.lower()) for name in ("CONFIG", "DATA", "CACHE", "STATE")}
    return folders | {"HOME": str(home), "TMPDIR": str(home / "tmp"), "TERM": "xterm-256color"}


def make(home: Path) -> None:
    """Create the sample files in `home`. The variables of `environment(home)` must be set in this process."""
    from metatui.config import presets
    from metatui.learning.data.image_folder import cache, scan
    from metatui.learning.data.omniglot import cache as omniglot_cache
    from metatui.tui.preferences import PaneSizes, Preferences, save
    from tests.omniglot_files import SMALL, make_files, write_archives

    for name in ("config", "data", "cache", "state", "tmp", "suites"):
        (home / name).mkdir(parents=True)
    presets.save("own", _settings("sinusoid", 0), title="Mine", source="here", protocol="as it comes", notes="none")
    save(Preferences(theme="textual-light", fold_form=False, panes=PaneSizes(left=44, journal=9, curves=50)))
    (home / "suites/own.toml").write_text(SUITE)
    for name, source, seed in ((REGRESSION, "sinusoid", 0), (OTHER, "sinusoid", 1), (IMAGES, "glyphs", 0)):
        _train(home / RUNS / name, _settings(source, seed))
    ledger = home / RUNS / ".suites" / "own" / "runs.json"
    ledger.parent.mkdir(parents=True)
    ledger.write_text(json.dumps({"suite": "own", "runs": [REGRESSION, OTHER]}))
    write_archives(make_files(), home / "omniglot")
    omniglot_cache.pack(home / "omniglot", to=home / DATA / "data/omniglot.safetensors", layout=SMALL)
    write_classes(home / "pictures", names(6), 3)
    (home / "tables").mkdir()
    regressions(home / "tables/plants.csv", tasks=9, inputs=2)
    cache.load(scan.list_folder(str(home / "pictures")), size=16, rgb=True)
    _write_lists(write_classes(home / "listed/data", names(6), 2).parent)
    write_folder(home / "cifar", CIFAR)
    measured = {f"{number:024x}": {"batched": 1.5, "loop": 2.5} for number in range(3)}
    (home / CACHE / "engines.json").write_text(json.dumps(measured))
    compiled = home / CACHE / "compiled"
    compiled.mkdir(mode=0o700)
    with zipfile.ZipFile(compiled / f"{0:032x}.pt2", "w") as package:
        package.writestr("package/archive_format", "pt2")
        package.writestr("package/data/aotinductor/model/model.so", b"\x7fELF" + bytes(500))
    os.chmod(compiled / f"{0:032x}.pt2", 0o600)


def _write_lists(root: Path) -> None:
    """Write a list of images to `root`, and a list of classes to its subfolder `lists`, for each split."""
    (root / "lists").mkdir()
    for number, split in enumerate(("train", "val", "test")):
        labels = names(6)[2 * number : 2 * number + 2]
        rows = [
            f"{label}/{path.name},{label}\n" for label in labels for path in sorted((root / "data" / label).iterdir())
        ]
        (root / f"{split}.csv").write_text("".join(("filename,label\n", *rows)))
        (root / "lists" / f"{split}.txt").write_text("".join(f"{label}\n" for label in labels))


def _settings(source: str, seed: int) -> Settings:
    return parse(
        {
            "task": {"source": source, "ways": 3, "shots": 1, "queries": 2},
            "model": {"filters": 4, "hidden": (8, 8)},
            "algorithm": {"meta_batch": 2},
            "training": {"iterations": 4, "seed": seed},
            "evaluation": {"every": 2, "tasks": 3, "test_tasks": 3, "inner_steps": 2},
            "compute": {"device": "cpu", "engine": "batched", "threads": 1},
        }
    )


def _train(folder: Path, settings: Settings) -> None:
    """Train a run in `folder` to completion, changing a live setting during training."""
    from metatui.events import Change, Progress
    from metatui.runs.execution.session import Session

    session = Session.start(settings, runs_dir=folder.parent, preset="own")
    for event in session:
        if isinstance(event, Progress) and event.iteration == 1:
            session.submit(Change("algorithm.outer_lr", 0.002))
    session.run.path.rename(folder)
