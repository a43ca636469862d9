"""Tests of MAML++: options, annealing of loss weights, evaluation, and agreement with a loop written from the paper."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.func import functional_call

from metatui.config.declarations import Scalar
from metatui.config.fields import FIELDS, change, fixed_reason
from metatui.config.schedule import PlannedChange
from metatui.config.settings import Settings
from metatui.events import Finished, Noted, Progress
from metatui.learning.algorithm import Algorithm
from metatui.learning.algorithms.maml_plus_plus import MAMLPlusPlus
from metatui.learning.data.episodes import Episodes
from metatui.learning.engines.compiled.cuda_graph import captures
from metatui.learning.engines.registry import EngineName, make_engine
from metatui.learning.experiment import Experiment, set_up
from metatui.learning.explanations import explanation
from metatui.learning.optim.inner import Params
from metatui.learning.training.trainer import Trainer
from metatui.learning.training.trainer_state import evaluate_state
from metatui.utils.errors import BadInput
from tests.learning.algorithms.learned import GLYPHS, SINUSOID, changed, difference_quotient, noisy
from tests.learning.algorithms.references import check_training

STEPS = 3
ENGINES: tuple[EngineName, ...] = ("loop", "native", "batched", "unfolded")
OFF: dict[str, Scalar] = {"multi_step": 0.0, "first_order": 0.0, "learned_rates": False, "per_step_norm": False}
SECOND_ORDER_MULTI_STEP: dict[str, Scalar] = {"multi_step": 0.8, "first_order": 0.0}


def experiment_of(base: Settings, options: dict[str, Scalar]) -> Experiment:
    values = {f"maml_plus_plus__{name}": value for name, value in options.items()}
    return set_up(changed(base, algorithm__name="maml_plus_plus", algorithm__inner_steps=STEPS, **values))


def plain_path(
    experiment: Experiment, leaves: Params, x: Tensor, y: Tensor, steps: int, *, first: bool
) -> list[Params]:
    """Adapt the model as described in section 4 of the MAML++ paper.

    Returns the model parameters before adaptation and after each of `steps` inner steps.
    """
    settings, loss_fn = experiment.settings, F.cross_entropy if experiment.settings.is_classification else F.mse_loss
    per_step = bool(settings.value("maml_plus_plus.per_step_norm")) and settings.is_classification
    norms = [f"{layer}.{kind}" for layer in (1, 5, 9, 13) for kind in ("weight", "bias")] if per_step else []
    model = [name for name in leaves if "/" not in name]
    weights = {name: leaves[name] for name in model if name not in norms}
    path = [{name: leaves[name] for name in model}]
    for step in range(steps):
        last = min(step, STEPS - 1)  # more steps than in training repeat the last one
        norm = {name: torch.cat([leaves[name][None], leaves[f"norm/{name}"]])[last] for name in norms}
        loss = loss_fn(functional_call(experiment.model, weights | norm, (x,)), y)
        slopes = torch.autograd.grad(loss, list(weights.values()), create_graph=True)
        weights = {
            name: w
            - leaves.get(f"inner_lr/{name}", torch.full((STEPS,), 0.05, dtype=w.dtype))[last]
            * (g.detach() if first else g)
            for (name, w), g in zip(weights.items(), slopes, strict=True)
        }
        path.append(weights | norm)
    return path


def plain_maml_plus_plus(
    experiment: Experiment, meta: Params, episodes: Episodes, progress: float
) -> tuple[Tensor, Tensor, Params]:
    """Return the query loss after the last inner step, the weighted query loss, and the gradient of the weighted loss.

    The weighted query loss is a weighted sum of the losses after all inner steps. Both losses are means over the
    tasks.
    """
    value = experiment.settings.value
    multi_step, first_order = (float(value(f"maml_plus_plus.{name}")) for name in ("multi_step", "first_order"))  # type: ignore[arg-type]
    weights = [0.0] * (STEPS - 1) + [1.0]
    if progress < multi_step:  # get_per_step_loss_importance_vector in the authors' code, with a share for the epoch
        decay = 1 / STEPS * progress / multi_step
        weights = [max(1 / STEPS - decay, 0.03 / STEPS)] * (STEPS - 1)
        weights.append(min(1 / STEPS + (STEPS - 1) * decay, 1 - (STEPS - 1) * 0.03 / STEPS))
    loss_fn = F.cross_entropy if experiment.settings.is_classification else F.mse_loss
    leaves = {name: p.detach().clone().requires_grad_() for name, p in meta.items()}
    last, total = torch.zeros((), dtype=torch.float64), torch.zeros((), dtype=torch.float64)
    for x, y, query_x, query_y in zip(*episodes.tensors(), strict=True):
        path = plain_path(experiment, leaves, x, y, STEPS, first=progress < first_order)
        losses = [loss_fn(functional_call(experiment.model, params, (query_x,)), query_y) for params in path[1:]]
        total = total + sum(w * loss for w, loss in zip(weights, losses, strict=True)) / len(episodes)
        last = last + losses[-1].detach() / len(episodes)
    slopes = torch.autograd.grad(total, list(leaves.values()), materialize_grads=True)
    return last, total.detach(), dict(zip(leaves, slopes, strict=True))


def assert_same(actual: Params, expected: Params) -> None:
    scale = torch.cat([g.flatten() for g in expected.values()]).norm()
    assert actual.keys() == expected.keys()
    for name, gradient in expected.items():
        assert (actual[name] - gradient).norm() <= 1e-8 * scale, name


@pytest.mark.parametrize(
    ("options", "progress"),
    [
        ({}, 0.0), ({}, 0.06), ({}, 0.099), ({}, 0.1), ({}, 0.3),
        (SECOND_ORDER_MULTI_STEP, 0.2), (SECOND_ORDER_MULTI_STEP, 0.79),
        ({**OFF, "learned_rates": True}, 0.0), ({**OFF, "per_step_norm": True}, 0.0),
    ],
)  # fmt: skip
@pytest.mark.parametrize("base", [SINUSOID, GLYPHS], ids=["sinusoid", "images"])
def test_engines_match_the_paper(base: Settings, options: dict[str, Scalar], progress: float) -> None:
    experiment = experiment_of(base, options)
    algorithm, episodes = experiment.algorithm.at(progress), experiment.training_episodes(range(2))
    meta = noisy(experiment.theta())
    last, _, gradients = plain_maml_plus_plus(experiment, meta, episodes, progress)
    for name in ENGINES:
        result = make_engine(name, experiment.model, experiment.loss).meta_gradient_of(algorithm, meta, episodes)
        torch.testing.assert_close(result.loss.mean(), last, rtol=1e-10, atol=0)
        assert_same(result.gradients, gradients)


@pytest.mark.parametrize("base", [SINUSOID, GLYPHS], ids=["sinusoid", "images"])
def test_central_differences(base: Settings) -> None:
    experiment = experiment_of(base, SECOND_ORDER_MULTI_STEP)
    meta, episodes = noisy(experiment.theta()), experiment.training_episodes(range(2))
    algorithm = experiment.algorithm.at(0.2)
    gradients = experiment.engine.meta_gradient_of(algorithm, meta, episodes).gradients
    assert len(gradients) > len(experiment.algorithm.parameters)
    for names in (list(gradients), [name for name in gradients if "/" in name]):
        some = {name: g if name in names else torch.zeros_like(g) for name, g in gradients.items()}
        slope = difference_quotient(lambda moved: plain_maml_plus_plus(experiment, moved, episodes, 0.2)[1], meta, some)
        assert abs(slope - 1) < 1e-6


@pytest.mark.parametrize("name", ENGINES)
def test_more_steps_repeat_the_last_one(name: EngineName) -> None:
    experiment = experiment_of(GLYPHS, {})
    meta, episodes = noisy(experiment.theta()), experiment.training_episodes(range(2))
    engine = make_engine(name, experiment.model, experiment.loss)
    path = list(engine.adaptation(experiment.algorithm, meta, episodes, STEPS + 2))
    for t in range(2):
        leaves = {key: p.clone().requires_grad_() for key, p in meta.items()}
        x, y = episodes.support_x[t], episodes.support_y[t]
        for step, expected in enumerate(plain_path(experiment, leaves, x, y, STEPS + 2, first=True)):
            for key, p in expected.items():
                torch.testing.assert_close(path[step].params[key][t], p.detach(), rtol=1e-9, atol=1e-11)


def test_without_switches_it_is_maml() -> None:
    plus, maml = experiment_of(GLYPHS, OFF), set_up(changed(GLYPHS, algorithm__inner_steps=STEPS))
    episodes = maml.training_episodes(range(2))
    meta = noisy(maml.theta())
    assert meta.keys() == plus.theta().keys()
    actual = plus.engine.meta_gradient_of(plus.algorithm.at(0.0), meta, episodes).gradients
    expected = maml.engine.meta_gradient_of(maml.algorithm, meta, episodes).gradients
    for name, gradient in expected.items():
        torch.testing.assert_close(actual[name], gradient, rtol=1e-9, atol=1e-12)


def test_weights_are_annealed_to_the_last_step() -> None:
    algorithm = experiment_of(SINUSOID, {}).algorithm
    rows = [algorithm.at(progress / 1000).query_weights for progress in range(100)]
    assert rows[0] == pytest.approx([0, 1 / 3, 1 / 3, 1 / 3])
    assert all(row is not None and sum(row) == pytest.approx(1) for row in rows)
    assert all(after[3] >= before[3] for before, after in pairwise(rows) if before and after)
    assert rows[-1] == pytest.approx([0, 0.01, 0.01, 0.98])
    assert algorithm.at(0.1).query_weights is None
    assert not algorithm.at(0.299).second_order
    assert algorithm.at(0.3).second_order


def test_only_constant_meta_steps_are_captured() -> None:
    cuda = torch.device("cuda")
    annealed: list[dict[str, Scalar]] = [{}, {"multi_step": 0.0}, {"first_order": 0.0}]
    for options, expected in (*((options, False) for options in annealed), (OFF, True)):
        experiment = experiment_of(SINUSOID, options)
        assert captures(experiment.algorithm, experiment.engine, cuda) is expected


def test_run_follows_the_progress_and_resumes_exactly(
    tiny: Callable[..., Settings], monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[float] = []
    real = MAMLPlusPlus.meta_step

    def meta_step(self: Algorithm, *arguments: Any) -> Any:
        seen.append(self.progress)
        return real(self, *arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(MAMLPlusPlus, "meta_step", meta_step)
    settings = tiny(
        algorithm__name="maml_plus_plus", algorithm__inner_steps=2, algorithm__outer_schedule="cosine",
        algorithm__outer_lr=0.01, training__iterations=60, evaluation__every=20, maml_plus_plus__multi_step=0.5,
    )  # fmt: skip
    check_training(settings, at=21)
    assert seen == 2 * [i / 60 for i in range(60)]
    trainer = Trainer(settings)
    *_, finished = trainer.events()
    rates = trainer.learner.theta["inner_lr/0.weight"]
    assert rates.shape == (2,)
    assert rates[0] != rates[1]
    assert isinstance(finished, Finished)
    assert finished.test is not None
    assert finished.test.inner_lr is None


def test_journal_states_the_stages_of_the_training() -> None:
    settings = changed(
        SINUSOID, algorithm__name="maml_plus_plus", algorithm__inner_steps=2, training__iterations=10,
        evaluation__every=0, evaluation__tasks=2, evaluation__test_tasks=2, evaluation__inner_steps=2,
    )  # fmt: skip
    first, second = (
        f"From here on, meta-steps use {order}-order meta-gradients of the query loss after the last inner step"
        for order in ("first", "second")
    )
    assert noted(Trainer(settings)) == [(1, first), (3, second)]
    longer = Trainer(settings, changes=(PlannedChange(4, "training.iterations", 20),))
    assert noted(longer) == [(1, first), (3, second), (4, first), (6, second)]
    trainer = Trainer(settings)
    states = {}
    for event in trainer.events():
        if isinstance(event, Progress):
            states[event.iteration] = trainer.state()
    assert noted(Trainer(settings, state=states[3])) == [(3, second)]  # was not made before the run was interrupted
    assert noted(Trainer(settings, state=states[4])) == []


def noted(trainer: Trainer) -> list[tuple[int, str]]:
    return [(event.iteration, event.text) for event in trainer.events() if isinstance(event, Noted)]


@pytest.mark.parametrize(
    ("base", "options", "expected"),
    [
        (SINUSOID, {}, False),
        (GLYPHS, {}, True),
        (GLYPHS, {"maml_plus_plus.per_step_norm": False}, False),
        (GLYPHS, {"model.norm": "layer"}, False),
        (GLYPHS, {"model.name": "mlp"}, False),
    ],
)
def test_explanation_mentions_batch_norm_only_if_the_model_has_it(
    base: Settings, options: dict[str, Scalar], expected: bool
) -> None:
    settings = change(base, {"algorithm.name": "maml_plus_plus", **options})
    assert ("batch norm" in explanation(settings).idea) is expected
    is_shown = FIELDS["maml_plus_plus.per_step_norm"].is_relevant(settings)
    assert is_shown is (expected or "maml_plus_plus.per_step_norm" in options)


def test_pseudo_code_has_the_stages() -> None:
    explained = explanation(change(SINUSOID, {"algorithm.name": "maml_plus_plus", "training.iterations": 1000}))
    assert "in the first 300 meta-steps, inner gradients are constants" in "".join(explained.code)
    assert "after 100 meta-steps, it is 0 for all steps but the last" in explained.symbols


def test_run_with_batch_norm_learns_a_norm_for_each_step() -> None:
    settings = changed(
        GLYPHS, algorithm__name="maml_plus_plus", algorithm__inner_steps=2, training__iterations=3,
        evaluation__tasks=2, evaluation__test_tasks=2, evaluation__inner_steps=4,
    )  # fmt: skip
    trainer = Trainer(settings)
    list(trainer.events())
    theta = {name: p.clone() for name, p in trainer.learner.theta.items()}
    assert theta["norm/1.weight"].shape == (1, 2)
    assert not torch.equal(theta["norm/1.weight"][0], theta["1.weight"])
    state = trainer.state()
    longer = [change(trainer.settings, {"evaluation.inner_steps": steps}) for steps in (2, 4)]
    two, four = (evaluate_state(each, state) for each in longer)
    assert four.loss.mean[:3] == two.loss.mean
    assert all(torch.equal(p, theta[name]) for name, p in trainer.learner.theta.items())


@pytest.mark.parametrize(
    ("base", "options", "fixed"),
    [
        (GLYPHS, {}, {"algorithm.inner_lr", "algorithm.inner_steps"}),
        (GLYPHS, {"learned_rates": False}, {"algorithm.inner_steps"}),
        (GLYPHS, {"per_step_norm": False}, {"algorithm.inner_lr", "algorithm.inner_steps"}),
        (GLYPHS, OFF, set()),
        (SINUSOID, {"learned_rates": False}, set()),  # the model has no batch norm
    ],
)
def test_settings_that_shape_meta_parameters_are_fixed(
    base: Settings, options: dict[str, Scalar], fixed: set[str]
) -> None:
    experiment = experiment_of(base, options)
    paths = ("algorithm.inner_lr", "algorithm.inner_steps", "algorithm.meta_batch", "algorithm.outer_lr")
    assert {path for path in paths if fixed_reason(path, experiment.settings)} == fixed
    for path in sorted(fixed):
        with pytest.raises(BadInput, match=f"{path} cannot be changed during this run: "):
            experiment.change_setting(path, 2)


@pytest.mark.parametrize(
    ("base", "settings"),
    [
        (SINUSOID, {"inner_optimizer": "adam", "inner_weight_decay": 0.1, "inner_clip": 1.0}),
        (SINUSOID, {"inner_optimizer": "momentum"}),
        (GLYPHS, {"adapt": "head"}),
    ],
    ids=["adam", "momentum", "head"],
)
def test_other_inner_loops_with_learned_rates(base: Settings, settings: dict[str, Scalar]) -> None:
    inner_loop = {f"algorithm__{name}": value for name, value in settings.items()}
    experiment = experiment_of(changed(base, **inner_loop), SECOND_ORDER_MULTI_STEP)
    meta, episodes = noisy(experiment.theta()), experiment.training_episodes(range(2))
    algorithm, weights = experiment.algorithm.at(0.2), experiment.algorithm.at(0.2).query_weights
    results = {
        name: make_engine(name, experiment.model, experiment.loss).meta_gradient_of(algorithm, meta, episodes)
        for name in ENGINES
    }
    for result in results.values():
        assert_same(result.gradients, results["loop"].gradients)
    assert weights is not None

    def loss(moved: Params) -> Tensor:
        path = experiment.engine.adaptation(algorithm, moved, episodes, STEPS)
        outputs = [experiment.engine.outputs(step.params, episodes.query_x) for step in path]
        losses = [w * experiment.loss.each(o, episodes.query_y).mean() for w, o in zip(weights, outputs, strict=True)]
        return torch.stack(losses).sum()

    assert abs(difference_quotient(loss, meta, results["loop"].gradients) - 1) < 1e-5
