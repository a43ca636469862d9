"""Tests of held-out evaluation: results, independence of tasks, batch-norm modes, intervals and diverged tasks."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import t as student
from torch.func import functional_call

from metatui.config.fields import parse
from metatui.config.settings import Settings
from metatui.events import RegressionView
from metatui.learning.algorithms.maml import MAML
from metatui.learning.evaluation.evaluate import TaskResults, predictions, summary
from metatui.learning.evaluation.statistics import DIVERGED, diverged_tasks, mean_ci95
from metatui.learning.experiment import set_up
from metatui.learning.training.trainer import Trainer
from metatui.learning.training.trainer_state import evaluate_state, views_of_state
from metatui.utils.errors import BadInput

Make = Callable[..., Settings]


def test_curve_matches_single_task_adaptation(tiny: Make) -> None:
    settings = tiny(compute__precision="float64", evaluation__test_tasks=5)
    state = Trainer(settings).state()
    evaluation = evaluate_state(settings, state)
    views = views_of_state(settings, state, split="test", tasks=range(5), steps=3, shots=10)
    experiment = set_up(settings)
    losses = []
    for task in range(5):
        episode = experiment.episodes("test", [task], seed=settings.evaluation.seed, shots=10)
        fast = {name: p.clone().requires_grad_() for name, p in experiment.theta().items()}
        row = []
        for step in range(4):
            predicted = functional_call(experiment.model, fast, (episode.query_x[0],))
            row.append(F.mse_loss(predicted, episode.query_y[0]))
            if step < 3:
                predicted = functional_call(experiment.model, fast, (episode.support_x[0],))
                gradients = torch.autograd.grad(F.mse_loss(predicted, episode.support_y[0]), list(fast.values()))
                moved = zip(fast.items(), gradients, strict=True)
                fast = {n: (p - 0.01 * g).detach().requires_grad_() for (n, p), g in moved}
        losses.append(torch.stack(row).detach())
    expected, half = mean_ci95(torch.stack(losses))
    assert evaluation.loss.mean == pytest.approx(expected, rel=1e-12)
    assert evaluation.loss.ci95 == pytest.approx(half, rel=1e-12)
    for view, own in zip(views, losses, strict=True):
        assert view.loss == pytest.approx(own.tolist(), rel=1e-12)


def test_task_does_not_depend_on_other_tasks(tiny: Make) -> None:
    settings = tiny(compute__precision="float64")
    state = Trainer(settings).state()
    (alone,) = views_of_state(settings, state, split="test", tasks=[4], steps=3, shots=10)
    among = views_of_state(settings, state, split="test", tasks=[1, 4, 2], steps=3, shots=10)[1]
    assert isinstance(alone, RegressionView)
    assert isinstance(among, RegressionView)
    assert (alone.title, alone.support_x, alone.truth) == (among.title, among.support_x, among.truth)
    assert alone.loss == pytest.approx(among.loss, rel=1e-12)


def test_evaluation_changes_no_parameter(tiny: Make) -> None:
    trainer = Trainer(tiny())
    before = trainer.state()
    evaluate_state(trainer.settings, before)
    views_of_state(trainer.settings, before, split="test", tasks=[0], steps=3, shots=10)
    after = trainer.state()
    assert all(torch.equal(t, after.tensors[name]) for name, t in before.tensors.items())


def test_evaluation_with_other_shots(tiny: Make) -> None:
    settings = tiny(evaluation__shots=4)
    state = Trainer(settings).state()
    assert evaluate_state(settings, state).shots == 4
    (view,) = views_of_state(settings, state, split="test", tasks=[0], steps=3, shots=4)
    assert isinstance(view, RegressionView)
    assert len(view.support_x) == 4


def test_train_split_is_refused(tiny: Make) -> None:
    with pytest.raises(BadInput, match="split is 'train', but must be val or test"):
        evaluate_state(tiny(), Trainer(tiny()).state(), split="train")


GLYPHS = {
    "task": {"source": "glyphs", "ways": 3, "shots": 2, "queries": 2},
    "model": {"filters": 4},
    "compute": {"device": "cpu", "precision": "float64"},
}


def test_per_example_batch_norm_sees_one_query() -> None:
    experiment = set_up(parse({**GLYPHS, "evaluation": {"batch_norm": "per_example"}}))
    episodes = experiment.episodes("test", range(2), seed=0, shots=2)
    for stack, got in predictions(experiment, experiment.theta(), episodes, 2):
        for t in range(2):
            params = {name: p[t] for name, p in stack.items()}
            for j, example in enumerate(episodes.query_x[t]):
                batch = torch.cat([episodes.support_x[t], example.unsqueeze(0)])
                expected = functional_call(experiment.model, params, (batch,))[-1]
                torch.testing.assert_close(got[t, j], expected.detach(), rtol=1e-9, atol=1e-12)


def test_per_example_batch_norm_with_an_algorithm_that_predicts_otherwise(monkeypatch: pytest.MonkeyPatch) -> None:
    experiment = set_up(parse({**GLYPHS, "evaluation": {"batch_norm": "per_example"}}))
    episodes = experiment.episodes("test", range(2), seed=0, shots=2)
    plain = [outputs for _, outputs in predictions(experiment, experiment.theta(), episodes, 1)]
    monkeypatch.setattr(MAML, "predict", lambda self, task, params, x: 2 * task.outputs(params, x))
    doubled = [outputs for _, outputs in predictions(experiment, experiment.theta(), episodes, 1)]
    for got, expected in zip(doubled, plain, strict=True):
        torch.testing.assert_close(got, 2 * expected, rtol=1e-9, atol=1e-12)


def test_batch_norm_modes_differ() -> None:
    results = {}
    for mode in ("transductive", "per_example"):
        settings = parse({**GLYPHS, "evaluation": {"batch_norm": mode, "test_tasks": 3, "inner_steps": 1}})
        results[mode] = evaluate_state(settings, Trainer(settings).state())
        assert results[mode].batch_norm == mode
        assert results[mode].ways == 3
    assert results["transductive"].loss != results["per_example"].loss


def test_interval_uses_students_t() -> None:
    values = torch.tensor([[1.0, 5.0], [2.0, 5.0], [4.0, 5.0], [9.0, 5.0]])
    mean, half = mean_ci95(values)
    assert mean == (4.0, 5.0)
    # The standard deviation of 1, 2, 4, 9 is sqrt(38/3).
    assert half[0] == pytest.approx(student.ppf(0.975, 3) * (38 / 3) ** 0.5 / 2, rel=1e-12)
    assert half[1] == 0.0


def test_interval_coverage() -> None:
    generator = torch.Generator().manual_seed(0)
    trials = torch.randn(12, 2000, generator=generator, dtype=torch.float64)
    mean, half = (torch.tensor(v) for v in mean_ci95(trials))
    covered = (mean.abs() <= half).double().mean().item()
    # Four standard errors of a proportion of 2,000.
    assert covered == pytest.approx(0.95, abs=4 * (0.95 * 0.05 / 2000) ** 0.5)


def losses(before: Sequence[float], after: Sequence[float]) -> torch.Tensor:
    return torch.tensor([before, after], dtype=torch.float64).T


def test_regression_task_diverges_far_above_initial_loss() -> None:
    far, near = 2.0 * DIVERGED * 1.01, 2.0 * DIVERGED * 0.99
    after = [0.1, near, far, math.inf, math.nan, -math.inf]
    assert diverged_tasks(losses([2.0] * 6, after), regression=True).tolist() == [False, False, True, True, True, True]
    assert diverged_tasks(losses([2.0] * 6, after), regression=False).tolist() == [
        False,
        False,
        False,
        True,
        True,
        True,
    ]


def test_small_initial_loss_is_compared_with_median() -> None:
    assert diverged_tasks(losses([1e-9, 2.0, 2.0], [0.5, 0.5, 0.5]), regression=True).tolist() == [False] * 3
    assert diverged_tasks(losses([1e9, 2.0, 2.0], [1e10, 1e10, 0.5]), regression=True).tolist() == [False, True, False]
    assert diverged_tasks(losses([math.nan] * 2, [math.nan, 1.0]), regression=True).tolist() == [True, False]


positive = st.floats(1e-6, 1e6)


@given(st.lists(st.tuples(positive, positive), min_size=2, max_size=20), positive)
def test_divergence_does_not_depend_on_scale(tasks: list[tuple[float, float]], unit: float) -> None:
    loss = torch.tensor(tasks, dtype=torch.float64)
    scale = 2.0 ** round(math.log2(unit))  # exact
    assert diverged_tasks(loss, regression=True).equal(diverged_tasks(scale * loss, regression=True))


def measured(loss: torch.Tensor, accuracy: torch.Tensor | None = None) -> TaskResults:
    return TaskResults("test", 10, loss, accuracy, 1.0)


def test_means_leave_out_diverged_tasks(tiny: Make) -> None:
    kept = losses([2.0, 3.0, 4.0], [0.1, 0.2, 0.3])
    whole = summary(measured(kept), tiny(), iteration=5)
    assert (whole.diverged, whole.inner_lr) == (0, 0.01)
    with_one = summary(measured(torch.cat([kept, losses([2.0], [1e30])])), tiny(), iteration=5)
    assert (with_one.tasks, with_one.diverged, with_one.is_finite) == (4, 1, True)
    assert (with_one.loss, with_one.steps) == (whole.loss, whole.steps)


def test_no_mean_if_most_tasks_diverged(tiny: Make) -> None:
    lost = summary(measured(losses([2.0] * 4, [0.1, 0.2, 1e30, math.nan])), tiny(), iteration=5)
    assert (lost.diverged, lost.is_finite) == (2, False)
    assert all(math.isnan(value) for value in (*lost.loss.mean, *lost.loss.ci95))
    hits = torch.tensor([[0.2, 1.0], [0.2, 1.0], [0.2, 0.2], [0.2, 0.2]], dtype=torch.float64)
    glyphs = tiny(task__source="glyphs", model__filters=2)
    images = summary(measured(losses([1.0] * 4, [1e30, 0.2, 0.3, math.nan]), hits), glyphs, iteration=5)
    assert images.diverged == 1, "a large finite cross-entropy is only a confident mistake"
    assert images.accuracy
    assert images.accuracy.mean[-1] == pytest.approx((1 + 1 + 0.2) / 3)
