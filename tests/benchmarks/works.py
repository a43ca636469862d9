"""What is timed: the rows of the table, each one meta-step of an algorithm on given tasks."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from metatui.config.fields import change
from metatui.config.settings import AlgorithmSettings, Scalar, Settings
from metatui.learning.data.episodes import Episodes
from metatui.learning.data.registry import make_source
from metatui.learning.models import make_model
from metatui.learning.optim.losses import LossFn
from metatui.utils import paths

TITLES = {"maml": "MAML", "fomaml": "FOMAML", "reptile": "Reptile"}

ITERATIONS = 60_000
"""Meta-steps of the runs whose meta-steps these are, as in Finn et al. 2017: what is worth compiling depends on it."""

IMAGES = {"omniglot": "Omniglot", "glyphs": "glyphs"}


@dataclass(frozen=True)
class Work:
    """One row. All sides start from the weights of `model` and see the same `episodes`."""

    name: str
    settings: Settings
    """The experiment whose meta-step this is, as `metatui run` would be told."""
    episodes: Episodes
    """Plain contiguous tensors."""
    model: nn.Module
    """The network as a PyTorch user writes it, with metatui's initial weights under metatui's names."""

    @property
    def algorithm(self) -> AlgorithmSettings:
        return self.settings.algorithm

    @property
    def first_order(self) -> bool:
        return self.algorithm.name == "fomaml"

    @property
    def is_reptile(self) -> bool:
        return self.algorithm.name == "reptile"

    @property
    def loss(self) -> LossFn:
        """Of one task, a mean over examples."""
        return F.cross_entropy if self.settings.is_classification else F.mse_loss

    @property
    def tasks(self) -> list[tuple[Tensor, Tensor, Tensor, Tensor]]:
        """Support x and y, query x and y of each task."""
        e = self.episodes
        return list(zip(e.support_x, e.support_y, e.query_x, e.query_y, strict=True))

    @property
    def device(self) -> torch.device:
        return self.episodes.support_x.device

    def exact(self) -> Work:
        """The same in float64."""
        return replace(
            self,
            settings=change(self.settings, {"compute.precision": "float64"}),
            episodes=self.episodes.to(self.device, torch.float64),
            model=deepcopy(self.model).double(),
        )


def works(device: str = "cpu") -> list[Work]:
    """The seven rows for a CPU, or the row for a GPU."""
    if device != "cpu":
        return [images("maml", device=device, tasks=32)]
    return [
        _waves("maml", tasks=25, shots=10, steps=5),
        _waves("maml", tasks=25, shots=10, steps=1),
        _waves("maml", tasks=4, shots=5, steps=1),
        _waves("fomaml", tasks=25, shots=10, steps=5),
        images("maml"),
        images("fomaml"),
        images("reptile"),
    ]


def _waves(algorithm: str, *, tasks: int, shots: int, steps: int) -> Work:
    points = f"K={shots}, Q=10" if shots != 10 else "K=Q=10"
    name = f"sinusoid {TITLES[algorithm]}, {tasks} tasks, {points}, {steps} step{'s' * (steps > 1)}"
    return made(
        name,
        {
            "task.source": "sinusoid", "task.shots": shots, "task.queries": 10, "model.hidden": (40, 40),
            "algorithm.name": algorithm, "algorithm.inner_lr": 0.01, "algorithm.inner_steps": steps,
            "algorithm.outer_lr": 0.001, "algorithm.meta_batch": tasks, "training.iterations": ITERATIONS,
        },
    )  # fmt: skip


def images(algorithm: str, *, device: str = "cpu", tasks: int = 4, steps: int = 5) -> Work:
    """The row of conv4-64 on Omniglot, or on glyphs in its place."""
    source = images_at_hand()
    network = f"{IMAGES[source]} conv4-64 max-pool"
    return made(
        f"{network}, {TITLES[algorithm]}, {tasks} tasks, 5-way 1-shot, 15 queries, {steps} steps",
        {
            "task.source": source, "task.ways": 5, "task.shots": 1, "task.queries": 15, "model.filters": 64,
            "model.downsample": "max_pool", "model.features": "flatten", "algorithm.name": algorithm,
            "algorithm.inner_lr": 0.01, "algorithm.inner_steps": steps, "algorithm.inner_batch": 0,
            "algorithm.outer_lr": 0.1 if algorithm == "reptile" else 0.001, "algorithm.meta_batch": tasks,
            "training.iterations": ITERATIONS,
        },
        device=device,
    )  # fmt: skip


def made(name: str, values: dict[str, Scalar], *, device: str = "cpu") -> Work:
    """The row of the experiment that `values` describe."""
    settings = change(Settings(), {**values, "compute.device": device})
    source = make_source(settings, torch.device(device))
    task = settings.task
    drawn = source.episodes(
        "train", range(settings.algorithm.meta_batch), seed=0, ways=task.ways, shots=task.shots, queries=task.queries
    )
    episodes = Episodes(*(t.contiguous() for t in drawn.tensors()))
    model = make_model(settings, source.input_shape)
    if settings.is_classification:
        usual = conv4(task.ways, settings.model.filters)
        usual.load_state_dict(model.state_dict())
        model = usual
    return Work(name, settings, episodes, model.to(device))


def conv4(ways: int, filters: int) -> nn.Sequential:
    """The network of Vinyals et al. 2016 for 28x28 images in the order in which their paper has it."""
    layers: list[nn.Module] = []
    for channels in (1, filters, filters, filters):
        layers += [
            nn.Conv2d(channels, filters, 3, padding=1, bias=False),
            nn.BatchNorm2d(filters, track_running_stats=False),
            nn.ReLU(),
            nn.MaxPool2d(2),
        ]
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(filters, ways))


def images_at_hand() -> str:
    """`omniglot` where `metatui data omniglot` has packed it, else `glyphs`: the same shapes, so the same work."""
    return "omniglot" if paths.omniglot_cache().exists() else "glyphs"
