"""Short names for runs that are shown beside each other."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from metatui.config.fields import FIELDS, text_of
from metatui.config.settings import Settings
from metatui.runs.execution.replay_log import FREE_ON_RESUME
from metatui.runs.storage.run_folder import RunFolder
from metatui.utils.text import sanitize

TITLES = {"maml": "MAML", "fomaml": "FOMAML", "reptile": "Reptile", "scratch": "scratch", "pretrained": "pretrained"}
"""Algorithms as they are written."""

MOST = 3
"""Settings that a label names, such as a grid of two and the seed: more are no label."""


def labels(runs: Sequence[RunFolder], settings: Sequence[Settings]) -> list[str]:
    """A different label for each run: its algorithm; where that is not enough, with the settings that tell it from the
    others; where those are too many or none, its name, and its folder where even names are the same."""
    found = [TITLES[each.algorithm.name] for each in settings]
    for title, count in Counter(found).items():
        if count > 1:
            alike = [i for i, label in enumerate(found) if label == title]
            differing = _differing([settings[i] for i in alike])
            for i in alike:
                if 0 < len(differing) <= MOST:
                    found[i] = f"{title} ({', '.join(_said(settings[i], path) for path in differing)})"
                else:
                    found[i] = runs[i].id
    for better in (lambda run: run.id, lambda run: sanitize(str(run.path))):
        counts = Counter(found)
        found = [better(run) if counts[label] > 1 else label for run, label in zip(runs, found, strict=True)]
    return found


def _differing(settings: Sequence[Settings]) -> list[str]:
    """Settings that matter and are not the same for all, without those that change nothing of what is computed."""
    return [
        path
        for path, knob in FIELDS.items()
        if knob.group not in FREE_ON_RESUME
        and any(knob.is_relevant(each) for each in settings)
        and len({each.value(path) for each in settings}) > 1
    ]


def _said(settings: Settings, path: str) -> str:
    return f"{path.split('.')[1].replace('_', ' ')} {sanitize(text_of(settings.value(path)))}"
