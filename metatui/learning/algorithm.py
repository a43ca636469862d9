"""The base classes of algorithms.

An algorithm is a set of pure functions of one task, written like the pseudo-code of its paper. They define the
meta-parameters, their adaptation to a support set, and their update by a meta-step. Engines run these functions for
many tasks, one after another or as a stack. In a stack, every tensor of a task and every meta-parameter has a leading
task axis, so the functions index axes from the end (`x.mean(-2)`), and both cases are computed by the same code.

This module and those of the algorithms import torch only inside functions, because the app reads titles, options and
explanations at start-up.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from copy import copy
from fnmatch import fnmatchcase
from functools import cached_property
from typing import TYPE_CHECKING, ClassVar, Literal, Self

from metatui.config.declarations import Group
from metatui.config.registry import ALGORITHMS, Component
from metatui.utils.errors import Problem, SettingsError, quote

if TYPE_CHECKING:
    from torch import Tensor, nn

    from metatui.config.settings import Settings
    from metatui.learning.data.episodes import TaskSource
    from metatui.learning.engines.second_order import GradientResult
    from metatui.learning.engines.task import Task
    from metatui.learning.explanations import Explanation
    from metatui.learning.optim.inner import InnerLoop, Params
    from metatui.learning.training.learner import Learner, MetaStep, PendingStep

OUTER_LOOP = frozenset(
    {
        "algorithm.outer_lr", "algorithm.outer_schedule", "algorithm.outer_lr_final", "algorithm.meta_batch",
        "training.iterations", "training.early_stop", "evaluation.every",
    }
)  # fmt: skip
"""Settings that every algorithm with an outer loop uses."""

META_GRADIENT = OUTER_LOOP | {"algorithm.grad_clip", "algorithm.freeze"}
"""Settings that every algorithm with a meta-gradient uses."""

INNER_STEPS = frozenset(
    {
        "algorithm.inner_lr", "algorithm.inner_optimizer", "algorithm.inner_momentum",
        "algorithm.inner_weight_decay", "algorithm.inner_clip", "evaluation.inner_steps",
    }
)  # fmt: skip
"""Settings that every algorithm with gradient steps in the inner loop uses."""

RATE = "inner_lr/"
"""Prefix of the names of learned inner learning rates. It is followed by the name of the model parameter."""

RATE_IS_LEARNED = {"algorithm.inner_lr": "it is the initial value of the learned rates"}
"""The entry of `Algorithm.fixed` for an algorithm that learns its inner learning rates."""


class Algorithm(Component):
    """A stateless algorithm with the settings of a run, for one model."""

    registry = ALGORITHMS
    trains: ClassVar[bool] = True
    """Whether the algorithm has an outer loop."""
    compiles: ClassVar[bool] = False
    """Whether `engines.compiled.step_functions` contains the whole meta-step as one function."""
    timed: ClassVar[Literal["meta_gradient", "adaptation"] | None] = "meta_gradient"
    """The part of a meta-step that `compute.engine = "auto"` measures. If None, the default engine is used without a
    measurement."""
    captured: ClassVar[bool] = False
    """Whether meta-steps can be captured as CUDA graphs. This requires that a meta-step is a step of Adam along the
    meta-gradient, and that nothing else changes between meta-steps."""
    published_batch_norm: ClassVar[Literal["transductive", "per_example"] | None] = None
    """The value of `evaluation.batch_norm` that is closest to the published results; None if publications use different
    values or the value is unknown."""
    progress: float = 1.0
    """Completed fraction of the training, from 0 to 1."""

    def __init__(self, settings: Settings, model: nn.Module) -> None:
        """Create the algorithm.

        Args:
            model: the model that is adapted, as returned by `prepare_model`.
        """
        from metatui.learning.nn.layers import head_names

        self.settings = settings
        self.options: Group = settings.group(self.name) if self.Options.model_fields else self.Options()
        self.parameters = tuple(name for name, p in model.named_parameters() if p.requires_grad)
        """Names of the model's parameters that are learned."""
        self.head = tuple(head_names(model))
        """Names of the parameters of the last layer."""

    @classmethod
    def prepare_model(cls, model: nn.Module, settings: Settings) -> nn.Module:
        """Return the model to adapt: `model` itself, unless the algorithm adds layers to it."""
        return model

    def meta_parameters(self, params: Params, source: TaskSource) -> Params:
        """Return the initial meta-parameters: by default, `params`, the trainable parameters of the model.

        The names of additional meta-parameters contain a slash (for example, `inner_lr/0.weight`). Names of model
        parameters never contain a slash.
        """
        return params

    def adapt(self, task: Task, meta: Params, steps: int) -> Iterator[Params]:
        """Adapt to the support set of `task`, as a pure and differentiable function.

        Args:
            meta: the meta-parameters.
            steps: number of inner steps; it may exceed the number of steps in training.

        Yields:
            The model's parameters at inner steps 0 to `steps`.
        """
        raise NotImplementedError

    def predict(self, task: Task, params: Params, x: Tensor) -> Tensor:
        """Compute the predictions for the inputs x [..., B, ...] with parameters that `adapt` yielded."""
        return task.outputs(params, x)

    def meta_step(self, learner: Learner, tasks: range, outer_lr: float) -> MetaStep | PendingStep:
        """Update the meta-parameters of `learner` once, on the training tasks numbered `tasks`.

        The default is a step of Adam along the mean of the tasks' meta-gradients.

        Raises:
            DivergedError: if a loss or gradient is not finite. The meta-parameters are unchanged.
            StepsPendingError: if captured meta-steps must be read first (see `Learner.graph_step`). The meta-parameters
                are unchanged.
        """
        episodes = learner.sample(tasks)
        if step := learner.graph_step(episodes, outer_lr):
            return step
        result = learner.meta_gradient(episodes)
        norm = learner.descend(result.gradients, outer_lr)
        return learner.step_metrics(
            episodes, loss=result.loss, outputs=result.outputs, support_loss=result.support_loss, grad_norm=norm
        )

    def meta_gradient(self, task: Task, meta: Params) -> GradientResult:
        """Compute the gradient, with respect to `meta`, of the query loss after adaptation."""
        return task.differentiate(self, meta)

    def at(self, progress: float) -> Self:
        """Return a copy for a meta-step at `progress`, the completed fraction of the training."""
        changed = copy(self)
        changed.progress = progress
        return changed

    def with_inner_lr(self, lr: Tensor) -> Self:
        """Return a copy with the scalar tensor `lr` as its inner learning rate.

        CUDA graphs read `lr` at every replay. An algorithm without an inner learning rate returns itself.
        """
        return self

    @classmethod
    def fixed(cls, settings: Settings) -> Mapping[str, str]:
        """Return the live settings that cannot be changed in a run with `settings`, and the reason for each."""
        return {}

    @classmethod
    def explain(cls, settings: Settings) -> Explanation:
        """Explain the algorithm with the values of `settings`. By default, the explanation is only the docstring."""
        from metatui.learning.explanations import Explanation

        return Explanation(title=cls.title, idea=" ".join((cls.__doc__ or "").split()))

    @property
    def annealed(self) -> bool:
        """Whether meta-steps depend on `progress`. Such meta-steps are not captured as CUDA graphs."""
        return False

    @property
    def stage(self) -> str:
        """Sentence for the journal, without a full stop, that describes what meta-steps compute at this `progress`."""
        return ""

    @property
    def inner_steps(self) -> int:
        """Number of inner steps in training; 1 if the algorithm adapts in a single step without gradients."""
        return self.settings.algorithm.inner_steps if "algorithm.inner_steps" in self.uses else 1

    @property
    def evaluation_steps(self) -> int:
        """Number of inner steps on held-out tasks."""
        return self.settings.evaluation_steps

    @property
    def second_order(self) -> bool:
        """Whether the meta-gradient includes the derivatives of inner gradients."""
        return True

    @property
    def query_weights(self) -> Sequence[float] | None:
        """Weights of the query losses after steps 0 to `inner_steps`; None if only the last loss counts."""
        return None

    @property
    def changing(self) -> frozenset[str]:
        """Names of the model's parameters that differ between inner steps.

        Layers before the first layer with such a parameter are computed only once for each task.
        """
        return frozenset(self.parameters)

    @property
    def plain(self) -> InnerLoop | None:
        """The inner loop, if adaptation consists of gradient steps on all parameters; otherwise None.

        Engines have faster code for this case.
        """
        return None


class GradientBased(Algorithm):
    """An algorithm that adapts parameters with gradient steps on the support loss."""

    adapts: ClassVar[str | None] = None
    """Fixed value that replaces the setting `algorithm.adapt`; None to use the setting."""

    def adapt(self, task: Task, meta: Params, steps: int) -> Iterator[Params]:
        # θ'_0 = θ; θ'_k+1 = θ'_k - α ∇L(θ'_k), for the adapted parameters.
        update = self.inner.start(stacked=task.is_stack, constant=not self.second_order)
        params = self.start(task, meta)
        yield params
        for _ in range(steps):
            gradient = task.gradient(params, self.adapted)
            params = params | update({name: params[name] for name in self.adapted}, gradient)
            yield params

    def start(self, task: Task, meta: Params) -> Params:
        """Return the model's parameters before the first inner step."""
        return {name: meta[name] for name in self.parameters}

    @cached_property
    def adapted(self) -> tuple[str, ...]:
        """Names of the parameters that inner steps change."""
        selection = self.adapts or self.settings.algorithm.adapt
        if selection == "all":
            return self.parameters
        if selection == "head":
            return tuple(name for name in self.parameters if name in self.head)
        if selection == "body":
            return tuple(name for name in self.parameters if name not in self.head)
        patterns = [pattern.strip() for pattern in selection.split(",")]
        return tuple(name for name in self.parameters if any(fnmatchcase(name, pattern) for pattern in patterns))

    def check_adapted(self) -> None:
        """Raise SettingsError if inner steps would change no parameters."""
        if self.adapted:
            return
        algorithm = self.settings.algorithm
        path, value, requirement = (
            "algorithm.freeze",
            algorithm.freeze,
            f"leave a parameter of the {self.adapts} trainable, because {self.title} adapts no other parameters",
        )
        if not self.adapts:
            path, value = "algorithm.adapt", algorithm.adapt
            requirement = f"select a trainable parameter that {self.title} adapts, such as {self.parameters[0]}"
        raise SettingsError([Problem(path, f"{path} is {quote(value)}, but must {requirement}")])

    @cached_property
    def inner(self) -> InnerLoop:
        """The update rule of the inner loop."""
        from metatui.learning.optim.inner import inner_loop

        return inner_loop(self.settings.algorithm)

    def with_inner_lr(self, lr: Tensor) -> Self:
        from dataclasses import replace

        changed = copy(self)
        changed.inner = replace(self.inner, lr=lr)
        return changed

    @property
    def changing(self) -> frozenset[str]:
        return frozenset(self.adapted)

    @property
    def plain(self) -> InnerLoop | None:
        overridden = type(self).adapt is not GradientBased.adapt or type(self).start is not GradientBased.start
        special = overridden or type(self).predict is not Algorithm.predict or self.query_weights is not None
        return None if special or self.adapted != self.parameters else self.inner


def algorithm_class(name: str) -> type[Algorithm]:
    """Return the algorithm called `name`. Raises BadInput if no algorithm has this name."""
    return ALGORITHMS[name]
