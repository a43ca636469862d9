"""The model of a run: the meta-learned network, its adaptation to the examples of a new task, and its export."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import asdict, fields, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

import metatui
from metatui.config.fields import change
from metatui.config.settings import Settings
from metatui.learning.data.episodes import Episodes, SchemaSource
from metatui.learning.data.schema import DataSchema, Standardisation
from metatui.learning.engines.registry import make_engine
from metatui.learning.evaluation.evaluate import adapted_predictions
from metatui.learning.experiment import Experiment
from metatui.learning.hardware.devices import to_device
from metatui.learning.hardware.torch_state import TorchState
from metatui.learning.optim.inner import Params
from metatui.learning.training.trainer_state import TrainerState, check_data, parameters_of, part, set_up_again
from metatui.runs.analysis.evaluate import with_protocol
from metatui.runs.execution.run_log import pin_compute
from metatui.runs.execution.session import saved_state
from metatui.runs.storage.run_folder import RunFolder
from metatui.utils.errors import BadInput, quote
from metatui.utils.files import read_bounded, write_atomically
from metatui.utils.text import format_count

Array = Tensor | NDArray[Any] | Sequence[Any]
"""Numbers that can be converted to a tensor."""

WITH_IMAGE_FILES = ("folder", "mixed")
"""Data sets whose images `LoadedModel.read_images` can read from files."""

MAX_IMAGE_BYTES = 256 * 1024 * 1024
"""Maximum size of an image file in bytes."""

PIXEL_TOLERANCE = 0.01
"""Maximum amount by which a pixel value may be outside the range 0 to 1, because resizing an image may cause rounding
errors."""

EXTRA = ".meta-parameters.safetensors"
"""Suffix of the name of the second exported file, which contains the meta-parameters that are not parameters of the
network."""


class LoadedModel:
    """The meta-learned model of a run. `adapt` adapts a copy of it to a task; the model itself never changes.

    Use `metatui.load_model` to create one.
    """

    def __init__(
        self,
        experiment: Experiment,
        theta: Params,
        torch_state: TorchState,
        *,
        settings: Settings,
        run: str,
        checkpoint: str,
        iteration: int,
    ) -> None:
        self.settings = settings
        """Settings of the run at the checkpoint, including live changes made before the checkpoint."""
        self.run = run
        """Name of the run."""
        self.checkpoint = checkpoint
        """Checkpoint from which the model was loaded: `best` or `last`."""
        self.iteration = iteration
        """Meta-step that produced the parameters."""
        self.data: DataSchema = experiment.source.schema
        """Shape of the inputs, and the columns of a table or the names of the classes."""
        self.module: nn.Module = deepcopy(experiment.model).cpu()
        """The network with the meta-learned parameters, before adaptation. If the data set is a table, the inputs and
        outputs of the network are standardised. Images must be float32 with values from 0 to 1. ProtoNet and ProtoMAML
        do not learn the last layer: they compute it from the support set."""
        self.meta_parameters: Params = {name: p.detach().cpu().clone() for name, p in theta.items()}
        """All meta-learned tensors, keyed by name. Tensors with a slash in their name, such as
        `inner_lr/0.weight`, are not parameters of `module`."""
        self._experiment, self._theta, self._torch_state = experiment, theta, torch_state

    def adapt(
        self,
        x: Array,
        y: Array,
        *,
        steps: int | None = None,
        inner_lr: float | None = None,
        batch_norm: str | None = None,
    ) -> AdaptedModel:
        """Adapt a copy of the model to the support set of a task, as an evaluation of the run does.

        Args:
            x: inputs [B, inputs] in the units of the data set, or images [B, C, H, W]: from 0 to 1, or uint8 from 0 to
                255.
            y: targets [B, targets] in the units of the data set, or labels [B], integers from 0 to N - 1. Each of the N
                classes needs at least one example.
            steps: number of inner steps; defaults to `evaluation.inner_steps` of the run.
            inner_lr: inner learning rate; defaults to the run's inner learning rate at the checkpoint.
            batch_norm: `transductive` or `per_example`; defaults to `evaluation.batch_norm` of the run. With
                transductive batch norm, a prediction depends on all inputs of the same call, so an image can get a
                different label on its own than in a batch; `per_example` predicts each input on its own.

        Raises:
            BadInput: if a shape or a value is not allowed, or the algorithm does not use one of the given
                arguments.
        """
        settings = with_protocol(
            self._experiment.settings,
            tasks=None, steps=steps, shots=None, inner_lr=inner_lr, batch_norm=batch_norm, device=None,
        )  # fmt: skip
        experiment = replace(self._experiment, settings=settings)
        with self._torch_state:
            support_x = _inputs(experiment, x)
            support_y = _targets(experiment, y, len(support_x))
            episodes = Episodes(*(t.unsqueeze(0) for t in (support_x, support_y, support_x, support_y)))
            steps = experiment.algorithm.evaluation_steps
            with _enough_for_batch_norm():
                *_, last = experiment.engine.adaptation(experiment.algorithm, self._theta, episodes, steps)
        return AdaptedModel(experiment, last.params, episodes, self._torch_state, steps)

    def read_images(self, paths: Sequence[str | Path]) -> Tensor:
        """Read PNG or JPEG files in the same way as the data set of the run.

        Returns:
            A uint8 tensor of shape [B, C, H, W], which can be passed to `adapt` and to adapted models. `module` takes
            only `images.float() / 255`.

        Raises:
            BadInput: if the run was not trained on image files, or a file is not an intact image.
        """
        from metatui.learning.data.image_folder.images import UnusableImageError, decode_image

        if self.settings.task.source not in WITH_IMAGE_FILES:
            source = quote(self.settings.task.source)
            raise BadInput(f"the run has task.source = {source}, but read_images needs a run with images from a folder")
        channels, size, _ = self.data.input_shape
        images = []
        for path in map(Path, paths):
            try:
                images.append(decode_image(read_bounded(path, MAX_IMAGE_BYTES), size, rgb=channels == 3))
            except UnusableImageError as problem:
                raise BadInput(f"{quote(str(path), 200)} {problem}") from None
        if not images:
            raise BadInput("paths is empty, but must name at least one file")
        return torch.from_numpy(np.stack(images))

    def save(self, path: str | Path) -> tuple[Path, ...]:
        """Write the parameters of `module` to a safetensors file, with metadata that describe how to use them.

        `module.load_state_dict(safetensors.torch.load_file(path))` reads them. Meta-parameters that are not parameters
        of `module` are written to a second file with the same name but the extension `.meta-parameters.safetensors`.

        Returns:
            The files that were written.

        Raises:
            BadInput: if `path` is not a valid file name.
            WriteRefusedError: if a file cannot be written.
        """
        from safetensors.torch import save

        target = Path(path)
        if "\0" in str(path) or not target.name:
            raise BadInput(f"path is {quote(str(path), 200)}, which is not a valid file name")
        state = {name: t.contiguous().clone() for name, t in self.module.state_dict().items()}
        files = {target: save(state, metadata=self._metadata())}
        if self.extra:
            files[extra_file(target)] = save(self.extra, metadata=self._metadata())
        for file, data in files.items():
            write_atomically(file, data)
        return tuple(files)

    @property
    def extra(self) -> Params:
        """Meta-parameters that are not parameters of `module`, such as learned inner learning rates."""
        own = self.module.state_dict()
        return {name: p for name, p in self.meta_parameters.items() if name not in own}

    def _metadata(self) -> dict[str, str]:
        """Return the metadata of an exported file. Each value is text or JSON."""
        learned = {name for name, p in self.module.named_parameters() if p.requires_grad}
        return {
            "format": "pt",
            "metatui": metatui.__version__,
            "run": self.run,
            "checkpoint": self.checkpoint,
            "iteration": str(self.iteration),
            "settings": self.settings.model_dump_json(),
            "data": json.dumps(asdict(self.data)),
            "module": repr(self.module),
            "computed_in_adaptation": json.dumps(sorted(learned - self.meta_parameters.keys())),
        }

    def __repr__(self) -> str:
        name, source = self.settings.algorithm.name, self.settings.task.source
        return f"LoadedModel({name} on {source}, run {self.run!r}, {self.checkpoint} at meta-step {self.iteration:,})"


class AdaptedModel:
    """A model that is adapted to one task. Call it to compute the outputs of the network, or use `predict`."""

    def __init__(
        self, experiment: Experiment, stack: Params, episodes: Episodes, torch_state: TorchState, steps: int
    ) -> None:
        self.steps = steps
        """Number of inner steps with which the model was adapted."""
        self._experiment, self._stack, self._episodes, self._torch_state = experiment, stack, episodes, torch_state

    def __call__(self, x: Array) -> Tensor:
        """Return the outputs for new inputs.

        Args:
            x: inputs as in `LoadedModel.adapt`. If batch norm is transductive, outputs depend on all of these inputs.

        Returns:
            Logits [B, N], or target values [B, targets] in the units of the data set, on the CPU.

        Raises:
            BadInput: if the shape or a value is not allowed, or batch norm needs more inputs than `x` contains.
        """
        with self._torch_state:
            query_x = _inputs(self._experiment, x).unsqueeze(0)
            episodes = replace(self._episodes, query_x=query_x)
            with _enough_for_batch_norm():
                outputs = adapted_predictions(self._experiment, self._stack, episodes)[0].cpu()
            columns = self._experiment.source.schema.outputs
            return outputs if columns is None else _in_units(outputs, columns)

    def predict(self, x: Array) -> Tensor:
        """Return the predictions for new inputs: labels [B], or target values [B, targets]. See `__call__`."""
        outputs = self(x)
        return outputs.argmax(-1) if self._experiment.settings.is_classification else outputs

    @cached_property
    def module(self) -> nn.Module:
        """The network with the adapted parameters, on the CPU.

        If the data set is a table, the inputs and outputs of the network are standardised. Images must be float32 with
        values from 0 to 1, such as `read_images(paths).float() / 255`. Batch norm is transductive.
        """
        module = deepcopy(self._experiment.model).cpu()
        with torch.no_grad():
            for name, p in module.named_parameters():
                if name in self._stack:
                    p.copy_(self._stack[name][0])
        return module

    def __getstate__(self) -> dict[str, Any]:
        experiment = self._experiment
        kept = {each.name: getattr(experiment, each.name) for each in fields(experiment)}
        # An engine has threads and functions, which cannot be pickled. `__setstate__` creates it again.
        del kept["engine"]
        kept |= {"source": SchemaSource(experiment.source.schema), "_prefetched": None, "_algorithm": None}
        return {name: value for name, value in vars(self).items() if name != "module"} | {"_experiment": kept}

    def __setstate__(self, state: dict[str, Any]) -> None:
        kept = state["_experiment"]
        compute = kept["settings"].compute
        engine = make_engine(compute.engine, kept["model"], kept["loss"], second_order=compute.second_order)
        vars(self).update(state, _experiment=Experiment(**kept, engine=engine))

    def __repr__(self) -> str:
        settings, examples = self._experiment.settings, self._episodes.support_x.shape[1]
        what = f"{settings.algorithm.name} on {settings.task.source}"
        return f"AdaptedModel({what}, {format_count(self.steps, 'inner step')} on {format_count(examples, 'example')})"


def load_model(
    run: RunFolder, *, checkpoint: Literal["best", "last"] = "best", device: str | None = None
) -> LoadedModel:
    """Load the model of a run.

    The data set is needed only if the run comes from an old version of metatui that did not record the data schema.

    Raises:
        BadInput: if the run has no intact checkpoint, or the device is not available.
    """
    if checkpoint not in ("best", "last"):
        raise BadInput(f"checkpoint is {quote(checkpoint)}, but must be best or last")
    settings, state = saved_state(run, checkpoint=checkpoint)
    if device is not None:
        settings = change(settings, {"compute.device": device})
    settings = pin_compute(settings, run.journal(), but={"compute.device": device} if device else {})
    schema, torch_state = run.schema(), TorchState()
    with torch_state:
        if schema is None:
            experiment = set_up_again(settings, state)
            check_data(experiment, state)
        else:
            experiment = set_up_again(_without_files(settings, state), state, source=SchemaSource(schema))
        theta, iteration, name = parameters_of(experiment, state, checkpoint)
    return LoadedModel(
        experiment, theta, torch_state, settings=settings, run=run.id, checkpoint=name, iteration=iteration
    )


def extra_file(path: Path) -> Path:
    """Return the path of the second file that `LoadedModel.save` writes."""
    return path.with_name(path.name.removesuffix(".safetensors") + EXTRA)


def _without_files(settings: Settings, state: TrainerState) -> Settings:
    """Return a copy of `settings` with which the model can be built from `state` alone.

    Neither training tasks nor the file with pretrained weights are then needed.
    """
    changes: dict[str, str] = {}
    if settings.compute.engine == "auto":  # choosing an engine requires measurements on training tasks
        changes["compute.engine"] = "loop" if settings.is_classification else "batched"
    if not settings.algorithm.freeze or part(state.tensors, "frozen"):
        changes["model.weights"] = ""
    return change(settings, changes)


def _inputs(experiment: Experiment, x: Array) -> Tensor:
    """Convert `x` to inputs like those of the data set's episodes, on the device of the experiment."""
    schema, values = experiment.source.schema, _tensor(x, "x")
    wanted = ", ".join(map(str, schema.input_shape))
    if list(values.shape[1:]) != list(schema.input_shape) or not values.numel():
        allowed = f"must have the shape [B, {wanted}] with at least one example"
        raise BadInput(f"x has the shape {list(values.shape)}, but {allowed}")
    if values.dtype == torch.uint8 and schema.kind == "classification":
        values = values.to(torch.float32).mul_(1 / 255)  # the same rounding as in the data sets
    _check_finite(values, "x")
    if schema.kind == "classification" and not (
        values.min() >= -PIXEL_TOLERANCE and values.max() <= 1 + PIXEL_TOLERANCE
    ):
        low, high = float(values.min()), float(values.max())
        raise BadInput(
            f"x has pixel values from {low:g} to {high:g}, but must have values from 0 to 1, or uint8 values from 0 "
            "to 255"
        )
    return _on_device(experiment, values if schema.inputs is None else _standardised(values, schema.inputs))


def _targets(experiment: Experiment, y: Array, examples: int) -> Tensor:
    """Convert `y` to targets or labels like those of the data set's episodes, on the device of the experiment."""
    schema, values = experiment.source.schema, _tensor(y, "y")
    shape = [examples] if schema.kind == "classification" else [examples, schema.targets]
    if list(values.shape) != shape:
        raise BadInput(f"y has the shape {list(values.shape)}, but must have the shape {shape} for this x")
    if schema.kind == "regression":
        _check_finite(values, "y")
        return _on_device(experiment, values if schema.outputs is None else _standardised(values, schema.outputs))
    task = experiment.settings.task
    if values.is_floating_point() or values.is_complex():
        raise BadInput(f"y has values of type {str(values.dtype).removeprefix('torch.')}, but must have integer labels")
    labels = sorted(set(values.tolist()))
    most = experiment.settings.most_ways
    ways = len(labels) if task.ways_range and len(labels) <= most else task.ways
    if labels != list(range(ways)):
        listed = quote(", ".join(map(str, labels)), 80)[1:-1]
        or_fewer = f" for a task of N classes, where N is at most {most}" if task.ways_range else ""
        last = "N - 1" if task.ways_range else str(ways - 1)
        raise BadInput(f"y has the labels {listed}, but must have all labels from 0 to {last}{or_fewer}")
    return to_device(values.to(torch.int64), experiment.torch_device)


@contextmanager
def _enough_for_batch_norm() -> Iterator[None]:
    """Context manager that raises BadInput if batch norm has a single value per channel.

    This happens if there is one image, and the network reduces it to one pixel.
    """
    try:
        yield
    except ValueError as error:
        if "more than 1 value per channel" not in str(error):
            raise
        raise BadInput(
            "x has 1 image, but must have at least 2, because batch norm uses their statistics; predictions with the "
            "batch norm per_example need only 1"
        ) from None


def _tensor(values: Array, name: str) -> Tensor:
    """Convert `values` to a tensor that shares no memory with them."""
    if isinstance(values, Tensor):
        if values.layout != torch.strided or values.is_quantized or values.is_nested or values.is_meta:
            raise BadInput(f"{name} is a sparse, quantised, nested or meta tensor, but must be a dense tensor")
        return values.detach().cpu().clone()
    try:
        array = np.array(values, order="C")
        return torch.from_numpy(array.astype(array.dtype.newbyteorder("="), copy=False))
    except (TypeError, ValueError, RuntimeError):
        raise BadInput(
            f"{name} is a {type(values).__name__}, but must be a tensor or an array of numbers with rows of equal "
            "length"
        ) from None


def _check_finite(values: Tensor, name: str) -> None:
    if values.is_complex() or not values.to(torch.float32).isfinite().all():
        raise BadInput(f"{name} has complex values, or NaN or infinity in float32, but all must be finite real numbers")


def _on_device(experiment: Experiment, values: Tensor) -> Tensor:
    return to_device(values.to(torch.float32), experiment.torch_device, experiment.dtype)


def _standardised(values: Tensor, columns: Standardisation) -> Tensor:
    mean, scale = (torch.tensor(numbers, dtype=torch.float64) for numbers in (columns.mean, columns.scale))
    return (values.double() - mean) / scale


def _in_units(values: Tensor, columns: Standardisation) -> Tensor:
    mean, scale = (torch.tensor(numbers, dtype=torch.float64) for numbers in (columns.mean, columns.scale))
    return values.double() * scale + mean
