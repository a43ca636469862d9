"""Targets of the fuzz tests: the files to damage, their mutations, and the functions that read the damaged files."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from random import Random

from metatui.utils.errors import MetatuiError
from tests.fuzz import archives, checkpoints, readers
from tests.fuzz.mutations import Mutation, of_bytes, of_cells, of_json, of_kind, of_lines, of_safetensors, of_toml
from tests.fuzz.samples import CACHE, CONFIG, DATA, IMAGES, OTHER, REGRESSION, RUNS

ANY: tuple[Mutation, ...] = (of_bytes, of_bytes, of_kind)
"""Mutations for files of any format. `of_bytes` is listed twice so that it is chosen twice as often."""


MAX_FILE_BYTES = 10**7
"""Maximum size of a file to mutate, in bytes. Sample files are smaller, but a mutation may have enlarged them."""


@dataclass(frozen=True)
class Target:
    """Files to damage in the home folder, and the function that reads them."""

    needs: tuple[str, ...]
    """Paths that a case needs, relative to the home folder."""
    files: Mapping[str, tuple[Mutation, ...]]
    """Glob patterns of the files to damage, each with the mutations for the format of these files."""
    read: Callable[[Path, Random], object]
    weight: int
    """Relative frequency with which this target is chosen for a case."""
    most: int = 2
    """Maximum number of mutations in a case."""

    def mutate(self, home: Path, rng: Random) -> str:
        """Damage one or more files, and return a description of the mutations."""
        steps = []
        for _ in range(rng.randint(1, self.most)):
            pattern = rng.choice(sorted(self.files))
            if paths := sorted(path for path in home.glob(pattern) if _can_be_read(path)):
                path, own = rng.choice(paths), self.files[pattern]
                mutation = rng.choice((*ANY, *own * 3))
                try:
                    mutation(path, rng)
                except (ValueError, KeyError, TypeError, IndexError, AttributeError, RecursionError, MetatuiError):
                    mutation = of_bytes  # already damaged, so it no longer has its format
                    mutation(path, rng)
                steps.append(f"{mutation.__name__} {path.relative_to(home)}")
        return ", ".join(steps)


def _can_be_read(path: Path) -> bool:
    """Return whether a file can be read in order to mutate it.

    An earlier mutation may have replaced it with a folder or a link, or extended it to a terabyte.
    """
    return path.is_file() and not path.is_symlink() and path.stat().st_size <= MAX_FILE_BYTES


RUN_FILES: Mapping[str, tuple[Mutation, ...]] = {
    "settings.toml": (of_toml,),
    "journal.jsonl": (of_lines,),
    "metrics.jsonl": (of_lines,),
    "evaluation.json": (of_json,),
    "adaptation.json": (of_json,),
    "data.json": (of_json,),
    "lock": (of_json,),
}
BESIDE_SETTINGS = {name: own for name, own in RUN_FILES.items() if name != "settings.toml"}
"""`RUN_FILES` without the settings, because damaged settings could request any amount of computation."""

SAVED: tuple[Mutation, ...] = (checkpoints.of_checkpoint, of_safetensors)


def _in(runs: tuple[str, ...], files: Mapping[str, tuple[Mutation, ...]]) -> dict[str, tuple[Mutation, ...]]:
    return {f"{RUNS}/{run}/{name}": own for run in runs for name, own in files.items()}


TARGETS: Mapping[str, Target] = {
    "preset": Target(("config",), {f"{CONFIG}/presets/own.toml": (of_toml,)}, readers.preset, 12, most=1),
    "suite": Target(
        ("suites", "config", str(RUNS)),
        {"suites/own.toml": (of_toml,), f"{RUNS}/.suites/own/runs.json": (of_json,)},
        readers.suite, 8,
    ),
    "run": Target((str(RUNS),), _in((REGRESSION, IMAGES), RUN_FILES), readers.run, 30, most=3),
    "checkpoint": Target(
        (f"{RUNS}/{REGRESSION}",),
        _in((REGRESSION,), {"checkpoints/*.safetensors": SAVED, "journal.jsonl": (of_lines,)}),
        readers.checkpoint, 15,
    ),
    "model": Target(
        (f"{RUNS}/{REGRESSION}",),
        _in((REGRESSION,), {"checkpoints/*.safetensors": SAVED, "data.json": (of_json,)}),
        readers.model, 8,
    ),
    "resume": Target(
        (f"{RUNS}/{REGRESSION}",),
        _in((REGRESSION,), {"checkpoints/*.safetensors": SAVED, **BESIDE_SETTINGS}),
        readers.resume, 8, most=3,
    ),
    "report": Target(
        (f"{RUNS}/{REGRESSION}", f"{RUNS}/{OTHER}"),
        _in((REGRESSION,), RUN_FILES), readers.report, 4, most=3,
    ),
    "omniglot": Target(
        ("omniglot", "tmp"), {"omniglot/*.zip": (archives.of_zip,)}, readers.omniglot, 8, most=1
    ),
    "omniglot-cache": Target(
        (str(DATA / "data"),),
        {f"{DATA}/data/omniglot.safetensors": (of_safetensors,)},
        readers.omniglot_cache, 5, most=1,
    ),
    "pictures": Target(
        ("pictures",), {"pictures/*/*": (archives.of_picture,), "pictures/class00/*": ()}, readers.pictures, 10, most=3
    ),
    "pictures-cache": Target(
        ("pictures", str(CACHE / "folders")),
        {f"{CACHE}/folders/*": (checkpoints.of_packed, of_safetensors)}, readers.pictures, 5, most=1,
    ),
    "class-lists": Target(("listed",), {"listed/*.csv": (of_cells,), "listed/lists/*": ()}, readers.class_lists, 5),
    "cifar100": Target(("cifar",), {"cifar/*/*": ()}, readers.cifar100, 4),
    "table": Target(("tables",), {"tables/plants.csv": (of_cells,)}, readers.table, 6),
    "engines": Target((str(CACHE),), {f"{CACHE}/engines.json": (of_json,)}, readers.engines, 4, most=1),
    "preferences": Target(("config",), {f"{CONFIG}/app.toml": (of_toml,)}, readers.preferences, 4, most=1),
    "package": Target((str(CACHE / "compiled"),), {f"{CACHE}/compiled/*": ()}, readers.package, 4, most=1),
    "app": Target(
        ("config", "data", "cache"),
        {**_in((REGRESSION, IMAGES), RUN_FILES), f"{CONFIG}/presets/own.toml": (of_toml,),
         f"{CONFIG}/app.toml": (of_toml,)},
        readers.app, 1, most=5,
    ),
}  # fmt: skip


def target_of(number: int, seed: int, only: str | None = None) -> tuple[str, Random]:
    """Return the name of the target of case `number`, and the random generator for the rest of the case.

    Args:
        only: comma-separated names of targets to use in turn; by default, a target is drawn by weight.
    """
    rng = Random(f"{seed}/{number}")
    drawn = rng.choices(list(TARGETS), [target.weight for target in TARGETS.values()])[0]
    names = only.split(",") if only else [drawn]
    return names[number % len(names)], rng
