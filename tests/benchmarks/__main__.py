"""Meta-steps of metatui beside the same in other libraries, on given tasks, with the outer Adam step counted.

Sides are taken in turn in one process; first their meta-gradients are checked to be equal. Prints the README's table:
medians in milliseconds, and how many times what metatui's own (`auto`) engine takes. learn2learn takes part where it
can be imported.
"""

from __future__ import annotations

import argparse
import contextlib
import platform
import statistics
import time
from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from metatui.learning.devices import available, physical_cores
from metatui.learning.engines import choose_engine, make_engine, meta_parameters
from metatui.learning.engines.compiled import CompiledEngine
from metatui.learning.engines.stacked_layers import is_perceptron
from metatui.learning.episodes import Episodes
from metatui.learning.inner import InnerLoop
from metatui.learning.losses import CROSS_ENTROPY, MEAN_SQUARED_ERROR, Loss
from metatui.learning.models import conv4, mlp
from metatui.learning.outer import OuterAdam
from metatui.learning.tasks.glyphs import GlyphSource
from metatui.learning.tasks.sinusoid import SinusoidSource
from metatui.learning.tasks.torchvision_import import torchvision_datasets

OUTER_LR = 1e-3


@dataclass(frozen=True)
class Work:
    """One row of the table."""

    name: str
    model: nn.Module
    loss: Loss
    episodes: Episodes
    inner: InnerLoop
    first_order: bool


def works() -> list[Work]:
    def waves(tasks: int, shots: int) -> Episodes:
        return SinusoidSource().episodes("train", range(tasks), seed=0, shots=shots, queries=10)

    perceptron, small = mlp((40, 40)), waves(4, 5)
    images = GlyphSource("cpu").episodes("train", range(4), seed=0, ways=5, shots=1, queries=15)
    network = conv4(5).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    one, five = InnerLoop(0.01, 1), InnerLoop(0.01, 5)
    maml = Work("sinusoid MAML, 25 tasks, K=Q=10, 5 steps", perceptron, MEAN_SQUARED_ERROR, waves(25, 10), five, False)
    conv = Work("conv4-64 max-pool MAML, 4 tasks, 5-way 1-shot, 15 queries, 5 steps", network, CROSS_ENTROPY, images,
                InnerLoop(0.01, 5), False)  # fmt: skip
    return [
        maml,
        replace(maml, name="sinusoid MAML, 25 tasks, K=Q=10, 1 step", inner=one),
        replace(maml, name="sinusoid MAML, 4 tasks, K=5, Q=10, 1 step", inner=one, episodes=small),
        replace(maml, name="sinusoid FOMAML, 25 tasks, K=Q=10, 5 steps", first_order=True),
        conv,
        replace(conv, name=conv.name.replace("MAML", "FOMAML"), first_order=True),
    ]


Step = Callable[[], dict[str, Tensor]]
"""One meta-step; returns the meta-gradient it used."""


def engine_side(work: Work, name: str, workers: int = 1) -> Step:
    engine = make_engine(name, work.model, work.loss, workers=workers)  # type: ignore[arg-type]
    theta = {n: p.detach().clone() for n, p in meta_parameters(work.model).items()}
    outer = OuterAdam(theta)

    def step() -> dict[str, Tensor]:
        torch.set_num_threads(1 if workers > 1 else physical_cores())
        found = engine.meta_gradient(theta, work.episodes, work.inner, first_order=work.first_order)
        outer.step(found.gradients, lr=OUTER_LR, clip=0.0)
        return found.gradients

    return step


def compiled_side(work: Work) -> Step:
    """metatui with `compute.engine = "compiled"`, once its graph is there (the engine has checked it)."""
    engine = CompiledEngine(work.model, work.loss)
    theta = {n: p.detach().clone() for n, p in meta_parameters(work.model).items()}
    outer = OuterAdam(theta)
    torch.set_num_threads(1)
    graph = engine.prepare(theta, work.episodes, work.inner, first_order=work.first_order)
    engine.use(graph, work.episodes, work.inner, first_order=work.first_order)

    def step() -> dict[str, Tensor]:
        torch.set_num_threads(1)
        found = engine.meta_gradient(theta, work.episodes, work.inner, first_order=work.first_order)
        outer.step(found.gradients, lr=OUTER_LR, clip=0.0)
        return found.gradients

    return step


def learn2learn_side(work: Work) -> Step:
    torchvision_datasets()  # learn2learn imports torchvision, which a CPU build of torch needs help with
    import learn2learn as l2l  # type: ignore[import-not-found]

    model = deepcopy(work.model)
    maml = l2l.algorithms.MAML(model, lr=work.inner.lr, first_order=work.first_order)
    adam = torch.optim.Adam(model.parameters(), lr=OUTER_LR)
    tasks = work.episodes

    def step() -> dict[str, Tensor]:
        torch.set_num_threads(physical_cores())
        adam.zero_grad()
        for t in range(len(tasks)):
            learner = maml.clone()
            for _ in range(work.inner.steps):
                learner.adapt(work.loss.one(learner(tasks.support_x[t]), tasks.support_y[t]))
            loss = work.loss.one(learner(tasks.query_x[t]), tasks.query_y[t]) / len(tasks)
            loss.backward()  # type: ignore[no-untyped-call]
        gradients = {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}
        adam.step()
        return gradients

    return step


def sides(work: Work) -> dict[str, Step]:
    chosen, _ = choose_engine(work.model, torch.device("cpu"))
    workers = physical_cores() if chosen == "loop" else 1
    found = {
        "metatui": engine_side(work, chosen, workers),
        "metatui, loop": engine_side(work, "loop"),
        "higher": engine_side(work, "higher"),
    }
    with contextlib.suppress(ImportError):
        found["learn2learn"] = learn2learn_side(work)
    return found


def check_equal(work: Work) -> None:
    """Raises where a side's meta-gradient in float64 is not that of the first side."""
    exact = replace(work, model=deepcopy(work.model).double(), episodes=work.episodes.to("cpu", torch.float64))
    gradients = {name: torch.cat([g.flatten() for g in step().values()]) for name, step in sides(exact).items()}
    reference = gradients["metatui"]
    for name, g in gradients.items():
        error = float((g - reference).norm() / reference.norm())
        if error > 1e-8:
            raise SystemExit(f"{name} differs from metatui by {error:.1e}: nothing to compare")


def medians(steps: dict[str, Step], rounds: int) -> dict[str, float]:
    """Median milliseconds of each side, all sides once in every round."""
    took: dict[str, list[float]] = {name: [] for name in steps}
    for _ in range(rounds):
        for name, step in steps.items():
            began = time.perf_counter()
            step()
            took[name].append(1000 * (time.perf_counter() - began))
    return {name: statistics.median(times) for name, times in took.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=20.0, help="spent on each row, about")
    options = parser.parse_args()
    processor = available()[-1].title
    print(f"torch {torch.__version__}, Python {platform.python_version()}, {processor}, {physical_cores()} cores")
    names: list[str] = []
    for work in works():
        check_equal(work)
        steps = sides(work)
        if is_perceptron(work.model):
            steps["metatui, compiled"] = compiled_side(work)
        if not names:
            names = list(steps)
            print("| work (ms a meta-step) | " + " | ".join(names) + " |")
            print("|---|" + "---:|" * len(names))
        began = time.perf_counter()
        medians(steps, 2)
        rounds = max(5, int(options.seconds / ((time.perf_counter() - began) / 2)))
        found = medians(steps, rounds)
        cells = [f"{found[n]:.3g} ({found[n] / found['metatui']:.2g}x)" if n in found else "–" for n in names]
        print(f"| {work.name} | " + " | ".join(cells) + " |", flush=True)


if __name__ == "__main__":
    main()
