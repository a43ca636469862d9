"""Random test cases, each with the arguments of one call of `meta_gradient` and the caller's grad mode."""

from __future__ import annotations

import random
import warnings
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from copy import deepcopy
from dataclasses import dataclass
from random import Random

import torch
from torch import Tensor, nn

from metatui.learning.data.episodes import Episodes
from metatui.learning.optim.losses import LossFn
from tests.random_modules.layers import Checkpointed
from tests.random_modules.losses import classification, regression
from tests.random_modules.modules import GeneratedModule, make_module


@dataclass(frozen=True)
class Case:
    """The arguments of one call of `meta_gradient`, and the grad mode of the caller."""

    seed: int
    words: str
    """A description of the case for reports."""
    module: nn.Module
    loss: LossFn
    episodes: Episodes
    lr: float
    steps: int
    caller: Callable[[], AbstractContextManager[object]]
    """Creates the context manager that sets the caller's grad mode, such as `torch.no_grad`."""


def make_case(seed: int) -> Case:
    """Return the random case for `seed`. The state of torch's random generator does not change."""
    r = Random(seed)
    with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.manual_seed(seed)
        made = make_module(r)
        while not _well_defined(made):
            made = make_module(r)
        outputs = _outputs(made)
        scores = len(outputs) > 1 or (r.random() < 0.5 and made.outputs > 1)
        words, loss, targets = classification(r, outputs[0], outputs[1:]) if scores else regression(r, outputs)
        tasks, examples = r.randint(1, 3), r.randint(2, 5)
        queries = r.choice([examples, 2, 3, 4])
        episodes = Episodes(
            _inputs(r, made, tasks, examples), torch.stack([targets(examples) for _ in range(tasks)]),
            _inputs(r, made, tasks, queries), torch.stack([targets(queries) for _ in range(tasks)]),
        )  # fmt: skip
    lr, steps = r.choice([0.01, 0.05, 0.1]), r.randint(1, 3)
    caller, mode = r.choice(
        [(nullcontext, "")] * 8 + [(torch.no_grad, "no_grad"), (torch.inference_mode, "inference_mode")]
    )
    kinds = sorted({type(part).__name__ for part in made.module.modules()})
    words = f"{', '.join(kinds)}; {', '.join(made.changes)}; {words}; T{tasks} B{examples} Q{queries} K{steps} {mode}"
    return Case(seed, words.strip(), made.module, loss, episodes, lr, steps, caller)


def _well_defined(made: GeneratedModule) -> bool:
    """Return whether the module runs, and whether recomputing its checkpointed layers gives the same results.

    If recomputation gives different results, even the gradient of plain autograd is wrong.
    """
    try:
        _outputs(made)
    except RuntimeError:  # for example, a hook and an in-place activation are incompatible
        return False
    if not any(isinstance(part, Checkpointed) for part in made.module.modules()):
        return True
    module, x, state = deepcopy(made.module), _inputs(Random(0), made, 1, 3)[0], random.getstate()
    found = []
    for _ in range(3):
        torch.manual_seed(0)
        found.append(module(x.clone()))
    return random.getstate() == state and all(torch.equal(y, found[0]) for y in found)


def _outputs(made: GeneratedModule) -> tuple[int, ...]:
    """Return the shape of the module's output for one example."""
    x = _inputs(Random(0), made, 1, 3)[0]
    return tuple(deepcopy(made.module)(x).shape[1:])


def _inputs(r: Random, made: GeneratedModule, tasks: int, examples: int) -> Tensor:
    shape = (tasks, examples, *made.inputs)
    if made.tokens:
        return torch.randint(0, made.tokens, shape)
    x = torch.randn(shape, dtype=torch.float64)
    kind = r.random()
    if kind < 0.15 and len(made.inputs) == 3:
        return x.flatten(0, 1).contiguous(memory_format=torch.channels_last).view(shape)
    if kind < 0.3:  # examples next to each other in memory
        return x.transpose(0, 1).contiguous().transpose(0, 1)
    return x
