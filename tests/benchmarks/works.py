"""Rows of the benchmark table. Each row is a meta-step of an algorithm on fixed tasks."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from metatui.config.declarations import Scalar
from metatui.config.fields import change
from metatui.config.registry import DATA
from metatui.config.settings import AlgorithmSettings, Settings
from metatui.learning.data.episodes import Episodes
from metatui.learning.model import make_model
from metatui.learning.optim.losses import LossFn
from metatui.utils import paths

TITLES = {"maml": "MAML", "fomaml": "FOMAML", "reptile": "Reptile"}

ITERATIONS = 60_000
"""Number of meta-steps in the settings, as in Finn et al. 2017. metatui uses it to decide whether compiling is
worthwhile."""

IMAGES = {"omniglot": "Omniglot", "glyphs": "glyphs"}


@dataclass(frozen=True)
class Work:
    """One row of the benchmark table. All libraries start from the weights of `model` and use the same `episodes`."""

    name: str
    settings: Settings
    """Settings of the experiment whose meta-step is timed."""
    episodes: Episodes
    """The fixed tasks, as contiguous tensors."""
    model: nn.Module
    """PyTorch network for the other libraries, with metatui's initial weights and parameter names."""

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
        """Function that computes the mean loss over the examples of one task."""
        return F.cross_entropy if self.settings.is_classification else F.mse_loss

    @property
    def tasks(self) -> list[tuple[Tensor, Tensor, Tensor, Tensor]]:
        """Support inputs, support targets, query inputs and query targets of each task."""
        e = self.episodes
        return list(zip(e.support_x, e.support_y, e.query_x, e.query_y, strict=True))

    @property
    def device(self) -> torch.device:
        return self.episodes.support_x.device

    def exact(self) -> Work:
        """Return a copy whose settings, episodes and model use float64."""
        return replace(
            self,
            settings=change(self.settings, {"compute.precision": "float64"}),
            episodes=self.episodes.to(self.device, torch.float64),
            model=deepcopy(self.model).double(),
        )


def works(device: str = "cpu") -> list[Work]:
    """Return the rows of the benchmark table: eight rows for a CPU, or one row for a GPU."""
    if device != "cpu":
        return [images("maml", device=device, tasks=32)]
    return [
        _waves("maml", tasks=25, shots=10, steps=5),
        _waves("maml", tasks=25, shots=10, steps=1),
        _waves("maml", tasks=4, shots=5, steps=1),
        _waves("fomaml", tasks=25, shots=10, steps=5),
        images("maml"),
        images("maml", shots=5),
        images("fomaml"),
        images("reptile"),
    ]


def _waves(algorithm: str, *, tasks: int, shots: int, steps: int) -> Work:
    points = f"K={shots}, Q=10" if shots != 10 else "K=Q=10"
    name = f"sinusoid {TITLES[algorithm]}, {tasks} tasks, {points}, {steps} step{'s' * (steps > 1)}"
    return make_work(
        name,
        {
            "task.source": "sinusoid", "task.shots": shots, "task.queries": 10, "model.hidden": (40, 40),
            "algorithm.name": algorithm, "algorithm.inner_lr": 0.01, "algorithm.inner_steps": steps,
            "algorithm.outer_lr": 0.001, "algorithm.meta_batch": tasks, "training.iterations": ITERATIONS,
        },
    )  # fmt: skip


def images(algorithm: str, *, device: str = "cpu", tasks: int = 4, shots: int = 1, steps: int = 5) -> Work:
    """Create a row of the benchmark table with conv4-64 on Omniglot, or on glyphs if Omniglot is not packed."""
    source = images_at_hand()
    network = f"{IMAGES[source]} conv4-64 max-pool"
    return make_work(
        f"{network}, {TITLES[algorithm]}, {tasks} tasks, 5-way {shots}-shot, 15 queries, {steps} steps",
        {
            "task.source": source, "task.ways": 5, "task.shots": shots, "task.queries": 15, "model.filters": 64,
            "model.downsample": "max_pool", "model.features": "flatten", "algorithm.name": algorithm,
            "algorithm.inner_lr": 0.01, "algorithm.inner_steps": steps, "algorithm.inner_batch": 0,
            "algorithm.outer_lr": 0.1 if algorithm == "reptile" else 0.001, "algorithm.meta_batch": tasks,
            "training.iterations": ITERATIONS,
        },
        device=device,
    )  # fmt: skip


def make_work(name: str, values: dict[str, Scalar], *, device: str = "cpu") -> Work:
    """Create a row of the benchmark table. `values` are the settings that differ from the defaults."""
    settings = change(Settings(), {**values, "compute.device": device})
    source = DATA[settings.task.source].load(settings, torch.device(device))
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
    """Create the network of Vinyals et al. 2016 for 28x28 images. Each block orders its layers as in the paper."""
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
    """Return `omniglot` if this data set is packed, otherwise `glyphs`, whose images have the same shape."""
    return "omniglot" if paths.omniglot_cache().exists() else "glyphs"
