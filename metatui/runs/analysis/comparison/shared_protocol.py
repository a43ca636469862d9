"""One protocol for runs that may each have had their own: what they share from here on, and what sets them apart."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from metatui.config.fields import FIELDS, change, text_of
from metatui.config.settings import Scalar, Settings
from metatui.runs.analysis.comparison.values import Protocol
from metatui.utils.errors import BadInput
from metatui.utils.text import sanitize

DATA = ("task.source", "task.folder")
"""Where these differ, accuracies and losses are of different things."""

TIED = ("task.ways", "task.split", "task.split_seed")
"""What a trained model cannot have otherwise: outputs for so many classes, and classes that it was not trained on. Runs
that differ in them have no held-out tasks in common."""

SHARED = (
    "evaluation.shots",
    "task.queries",
    "task.rotations",
    "evaluation.inner_steps",
    "evaluation.batch_norm",
)
"""What all runs have as the first does, however they were trained."""

INPUTS = ("task.image_size", "task.image_mode")
"""What a trained model cannot have otherwise either, of the same tasks."""


@dataclass(frozen=True)
class SharedProtocol:
    """How runs are measured together."""

    protocol: Protocol
    settings: tuple[Settings, ...]
    """For the evaluation of each run: its own model and inner loop, and the protocol of all."""
    same_tasks: tuple[tuple[Scalar, ...], ...]
    """Equal for runs that have the same held-out tasks."""
    warnings: tuple[str, ...]


def agree(
    settings: Sequence[Settings],
    labels: Sequence[str],
    *,
    split: str,
    tasks: int | None,
    steps: int | None,
    shots: int | None,
    device: str | None,
) -> SharedProtocol:
    """The protocol of the first run, but for what is given, for all.

    Raises:
        BadInput: the runs are on different data, or a value cannot be.
    """
    for path, which in _all_apart(settings, labels, DATA):
        raise BadInput(f"runs on different data cannot be compared: {path} is {which}")
    first = settings[0]
    shared: dict[str, Scalar] = {
        "evaluation.test_tasks": first.evaluation.test_tasks if tasks is None else tasks,
        "evaluation.inner_steps": first.evaluation.inner_steps if steps is None else steps,
        "evaluation.shots": 0,
        "task.shots": first.evaluation_shots if shots is None else shots,
        "evaluation.seed": first.evaluation.seed,
        "evaluation.batch_norm": first.evaluation.batch_norm,
        "task.queries": first.task.queries,
        "task.rotations": first.task.rotations,
        # No training episode is drawn, so none may be the reason to refuse the evaluation's.
        "algorithm.train_shots": 0,
        "algorithm.inner_batch": 0,
    }
    if device is not None:
        shared["compute.device"] = device
    measured = tuple(change(each, shared) for each in settings)
    agreed = measured[0]
    protocol = Protocol(
        source=first.task.source,
        split=split,
        tasks=agreed.evaluation.test_tasks,
        shots=agreed.evaluation_shots,
        queries=agreed.task.queries,
        steps=agreed.evaluation.inner_steps,
        seed=agreed.evaluation.seed,
        batch_norm=agreed.evaluation.batch_norm if agreed.is_classification else None,
        rotations=agreed.task.rotations if FIELDS["task.rotations"].is_relevant(agreed) else None,
    )
    return SharedProtocol(
        protocol=protocol,
        settings=measured,
        same_tasks=tuple(
            tuple(each.value(path) for path in TIED if FIELDS[path].is_relevant(each)) for each in settings
        ),
        warnings=tuple(_warnings(settings, labels, agreed, split)),
    )


def _warnings(settings: Sequence[Settings], labels: Sequence[str], agreed: Settings, split: str) -> list[str]:
    of_their_own = "each run has tasks of its own, and different ones make no pair"
    found = [f"{path} is {which}: {of_their_own}" for path, which in _all_apart(settings, labels, TIED)]
    found += [
        f"{path} is {which}: they see the same tasks otherwise" for path, which in _all_apart(settings, labels, INPUTS)
    ]
    found += [
        f"the runs' own protocols differ: {path} is {which}; here it is {text_of(_own(agreed, path))} for all"
        for path, which in _all_apart(settings, labels, SHARED)
    ]
    if split == "val":
        found.append(
            "the val split has chosen the checkpoints too, so its numbers flatter: results are of the test split"
        )
    return found


def _all_apart(settings: Sequence[Settings], labels: Sequence[str], paths: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Those of `paths` that are not the same for all runs for which they matter, and which run has which value."""
    for path in paths:
        having = [(name, each) for name, each in zip(labels, settings, strict=True) if FIELDS[path].is_relevant(each)]
        if len({_own(each, path) for _, each in having}) > 1:
            yield path, told([name for name, _ in having], [text_of(_own(each, path)) for _, each in having])


def _own(settings: Settings, path: str) -> Scalar:
    return settings.evaluation_shots if path == "evaluation.shots" else settings.value(path)


def told(labels: Sequence[str], values: Sequence[str]) -> str:
    """Which run has which value: `1 for MAML and FOMAML, 5 for Reptile`."""
    having: dict[str, list[str]] = {}
    for label, value in zip(labels, values, strict=True):
        having.setdefault(value, []).append(label)
    return ", ".join(f"{sanitize(value)} for {listed(names)}" for value, names in having.items())


def listed(names: Sequence[str]) -> str:
    """`A`, `A and B`, `A, B and C`."""
    return " and ".join(filter(None, (", ".join(names[:-1]), names[-1])))
