"""Short labels for runs that are shown together."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

from metatui.config.fields import FIELDS, text_of
from metatui.config.registry import ALGORITHMS
from metatui.config.settings import Settings
from metatui.runs.execution.run_log import FREE_ON_RESUME
from metatui.runs.storage.run_folder import RunFolder
from metatui.utils.text import format_count, sanitize

MAX_SETTINGS = 3
"""Maximum number of settings in a label, enough for a grid of two settings and the seed."""


def labels(runs: Sequence[RunFolder], settings: Sequence[Settings], titles: Sequence[str] = ()) -> list[str]:
    """Return a unique label for each run.

    The label is the name of the algorithm. If several runs have the same algorithm, their labels also contain the
    settings in which these runs differ. Runs that differ in no setting or in more than `MAX_SETTINGS` are labelled
    with their name, and runs with equal names are labelled with their path.

    Args:
        titles: texts that replace the names of the algorithms; an empty text keeps the name.
    """
    result = [title or algorithm_title(each) for title, each in zip(titles or [""] * len(runs), settings, strict=True)]
    for title, count in Counter(result).items():
        if count > 1:
            alike = [i for i, label in enumerate(result) if label == title]
            differing = _differing([settings[i] for i in alike])
            for i in alike:
                if 0 < len(differing) <= MAX_SETTINGS:
                    result[i] = f"{title} ({', '.join(_values(settings[i], differing))})"
                else:
                    result[i] = runs[i].id
    for unique in (lambda run: run.id, lambda run: sanitize(str(run.path))):
        counts = Counter(result)
        result = [unique(run) if counts[label] > 1 else label for run, label in zip(runs, result, strict=True)]
    return result


def algorithm_title(settings: Settings) -> str:
    """Return the name of the algorithm as written in the literature."""
    return ALGORITHMS[settings.algorithm.name].title


def _differing(settings: Sequence[Settings]) -> list[str]:
    """Return the paths of the settings that are used, differ between runs, and can change results."""
    return [
        path
        for path, field in FIELDS.items()
        if field.group not in FREE_ON_RESUME
        and any(field.is_relevant(each) for each in settings)
        and len({each.value(path) for each in settings}) > 1
    ]


def _values(settings: Settings, paths: Sequence[str]) -> Iterator[str]:
    """Yield the name and value of each setting. Names that several settings share are preceded by the group."""
    names = [path.split(".")[1] for path in paths]
    for path, name in zip(paths, names, strict=True):
        unique = path.replace(".", " ") if names.count(name) > 1 else name
        yield f"{unique.replace('_', ' ')} {sanitize(text_of(settings.value(path))) or 'empty'}"


def measured_in(runs: Sequence[Settings]) -> tuple[list[str], list[str]]:
    """Describe the numbers of shots and inner steps used in training and validation, if they differ between runs.

    Returns:
        A list for training and a list for validation. Each contains one string per run, such as `10-shot`, `5 steps` or
        `10-shot, 5 steps`. The number of shots, or of steps, is left out of all strings if it is the same for all runs,
        in training and in validation.
    """
    shots = [[_range(each.shots_in_training) for each in runs], [str(each.evaluation_shots) for each in runs]]
    steps = [
        [each.algorithm.inner_steps if FIELDS["algorithm.inner_steps"].is_relevant(each) else None for each in runs],
        [each.evaluation_steps if FIELDS["evaluation.inner_steps"].is_relevant(each) else None for each in runs],
    ]
    has_shots = len({*shots[0], *shots[1]}) > 1
    has_steps = len({*steps[0], *steps[1]} - {None}) > 1

    def texts(shots: Sequence[str], steps: Sequence[int | None]) -> list[str]:
        return [
            ", ".join(
                [
                    *([f"{shot}-shot"] if has_shots else []),
                    *([format_count(step, "step")] if has_steps and step is not None else []),
                ]
            )
            for shot, step in zip(shots, steps, strict=True)
        ]

    return texts(shots[0], steps[0]), texts(shots[1], steps[1])


def _range(limits: tuple[int, int]) -> str:
    low, high = limits
    return str(low) if low == high else f"{low}–{high}"


def values_of(labels: Sequence[str], values: Sequence[str]) -> str:
    """Describe which runs have which value: `1 for MAML and FOMAML, 5 for Reptile`."""
    runs_with: dict[str, list[str]] = {}
    for label, value in zip(labels, values, strict=True):
        runs_with.setdefault(value, []).append(label)
    return ", ".join(f"{sanitize(value)} for {join_names(names)}" for value, names in runs_with.items())


def join_names(names: Sequence[str]) -> str:
    """Join names: `A`, `A and B`, `A, B and C`."""
    return " and ".join(filter(None, (", ".join(names[:-1]), names[-1])))
