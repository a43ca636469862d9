"""Test that an algorithm's settings change the results of a run if and only if they are declared to have an effect."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from metatui.config.declarations import Scalar
from metatui.config.fields import FIELDS, change
from metatui.config.registry import ALGORITHMS
from metatui.config.settings import Settings
from metatui.events import Finished, Progress
from metatui.learning.training.trainer import Trainer
from metatui.utils.errors import SettingsError
from tests.learning.algorithms.learned import GLYPHS, SINUSOID

SHORT: dict[str, Scalar] = {
    "model.name": "mlp", "model.hidden": (6, 6), "algorithm.inner_steps": 2, "training.iterations": 2,
    "evaluation.every": 0, "evaluation.tasks": 2, "evaluation.test_tasks": 2, "evaluation.inner_steps": 3,
}  # fmt: skip
OTHER: dict[str, dict[str, Scalar]] = {
    "algorithm.adapt": {"algorithm.adapt": "[01].*"},
    "algorithm.freeze": {"algorithm.freeze": "[01].*"},
    "algorithm.inner_lr": {"algorithm.inner_lr": 0.1},
    "algorithm.inner_steps": {"algorithm.inner_steps": 3},
    "algorithm.inner_optimizer": {"algorithm.inner_optimizer": "adam"},
    "algorithm.inner_momentum": {"algorithm.inner_optimizer": "momentum", "algorithm.inner_momentum": 0.5},
    "algorithm.inner_weight_decay": {"algorithm.inner_weight_decay": 0.5},
    "algorithm.inner_clip": {"algorithm.inner_clip": 0.001},
    "algorithm.inner_batch": {"algorithm.inner_batch": 1},
    "algorithm.train_shots": {"algorithm.train_shots": 3},
    "algorithm.outer_lr": {"algorithm.outer_lr": 0.05},
    "algorithm.outer_schedule": {"algorithm.outer_schedule": "linear"},
    "algorithm.outer_lr_final": {"algorithm.outer_schedule": "linear", "algorithm.outer_lr_final": 0.0005},
    "algorithm.grad_clip": {"algorithm.grad_clip": 0.001},
    "algorithm.meta_batch": {"algorithm.meta_batch": 3},
    "evaluation.inner_steps": {"evaluation.inner_steps": 2},
    "cavia.context": {"cavia.context": 7},
    "imaml.regularization": {"imaml.regularization": 0.5},
    "imaml.cg_steps": {"imaml.cg_steps": 1},
    "maml_plus_plus.multi_step": {"maml_plus_plus.multi_step": 0.9},
    "maml_plus_plus.first_order": {"maml_plus_plus.first_order": 1.0},
    "maml_plus_plus.learned_rates": {"maml_plus_plus.learned_rates": False},
    "maml_plus_plus.per_step_norm": {"maml_plus_plus.per_step_norm": False},
    "proto_maml.first_order": {"proto_maml.first_order": True},
}
"""Changes that give a setting a value that differs from its value in `SHORT`, keyed by the path of the setting.

If the setting has an effect only together with another one, they also change the other one.
"""


def losses_of_training(settings: Settings) -> list[object]:
    """Train with `settings`, and return the meta-losses and the losses of the final test."""
    events = list(Trainer(settings).events())
    losses = [event.meta_loss for event in events if isinstance(event, Progress)]
    results = [event.test for event in events if isinstance(event, Finished)]
    return [losses, *(result and result.loss for result in results)]


def own_settings(name: str) -> list[str]:
    """Return the paths of the settings to test for the algorithm `name`.

    These are the settings in the group `algorithm`, the algorithm's own options, and `evaluation.inner_steps`.
    """
    groups = ("algorithm", name)
    own = [path for path, field in FIELDS.items() if field.group in groups and path != "algorithm.name"]
    return [*own, "evaluation.inner_steps"]


def cases() -> Iterator[tuple[str, Settings]]:
    """Yield the name of each algorithm, and settings for a short run.

    The runs use regression tasks, or classification tasks if the algorithm does not support regression.
    """
    for name in ALGORITHMS.names():
        try:
            yield name, change(SINUSOID, {**SHORT, "algorithm.name": name})
        except SettingsError:
            yield name, change(GLYPHS, {**SHORT, "algorithm.name": name})


@pytest.mark.parametrize(("name", "settings"), cases(), ids=ALGORITHMS.names())
def test_settings_have_an_effect_if_they_are_relevant(name: str, settings: Settings) -> None:
    plain, wrong = losses_of_training(settings), []
    for path in own_settings(name):
        needed = {key: value for key, value in OTHER[path].items() if key != path}
        before = losses_of_training(change(settings, needed)) if needed else plain
        other = change(settings, OTHER[path])
        if FIELDS[path].is_relevant(other) != (losses_of_training(other) != before):
            wrong.append(path)
    assert wrong == []
