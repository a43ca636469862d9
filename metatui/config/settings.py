"""Every knob of an experiment, once: its type, range, default, unit, one-line help and when it matters.

The form in the app, `--set` on the command line, preset files and the reference in the README all derive from
this file (through `metatui.config.fields`). Settings are frozen values; groups and names are the field's own words.
Inner losses are means over examples, so learning rates of papers that sum are converted and the preset says so.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

Scalar = bool | int | float | str | tuple[int, ...]
"""A setting's value."""

IMAGES = frozenset({"glyphs", "omniglot", "folder"})
"""Sources whose tasks are N-way K-shot image classification."""

REGRESSION = frozenset({"sinusoid"})
"""Sources whose tasks are regression."""

LEARNED = frozenset({"maml", "fomaml", "reptile", "pretrained"})
"""Algorithms that have an outer loop (`scratch` has none)."""

FOLDER = frozenset({"folder"})
"""The source that reads images of the user's own."""

When = Mapping[str, frozenset[str]]


def knob(
    default: Any,
    *,
    label: str,
    help: str,  # noqa: A002 - the word the form and the command line use
    unit: str = "",
    when: When | None = None,
    live: bool = False,
    main: bool = False,
    allowed: str = "",
    path: bool = False,
    **limits: Any,
) -> Any:
    """One setting. `when` names the choices under which it matters, `live` that it may change during a run,
    `main` that the form shows it outside the collapsed groups, `allowed` what text it may be, `path` that it is a place
    on disk."""
    extra: dict[str, Any] = {
        "label": label, "unit": unit, "when": when or {}, "live": live, "main": main, "allowed": allowed, "path": path,
    }  # fmt: skip
    return Field(default, description=help, json_schema_extra=extra, **limits)


class Group(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


class TaskSettings(Group):
    """Where episodes come from."""

    source: Literal["sinusoid", "glyphs", "omniglot", "folder"] = knob(
        "sinusoid",
        label="Task",
        help="Where tasks come from: sine waves, drawn-on-the-fly glyphs, Omniglot's characters, or your own images.",
        main=True,
    )
    folder: str = knob(
        "", pattern=r"^([/~][^\x00]*)?$", max_length=4096, label="Folder", main=True, path=True,
        allowed="the whole path of a folder, from / or ~ on",
        help="Holds a folder of images (PNG, JPEG) for each class, or such folders in its train, val and test.",
        when={"task.source": FOLDER},
    )  # fmt: skip
    ways: int = knob(
        5, ge=2, le=100, label="Ways (N)", unit="classes", main=True,
        help="Classes in an episode.", when={"task.source": IMAGES},
    )  # fmt: skip
    shots: int = knob(
        10, ge=1, le=1000, label="Shots (K)", main=True,
        help="Support examples: points of a sinusoid, images of each class.",
    )  # fmt: skip
    queries: int = knob(
        10, ge=1, le=1000, label="Queries (Q)", main=True,
        help="Query examples: points of a sinusoid, images of each class.",
    )  # fmt: skip
    split: Literal["chapter", "finn", "lake"] = knob(
        "chapter",
        label="Class split",
        help="How Omniglot's characters are divided into training, validation and test.",
        when={"task.source": frozenset({"omniglot"})},
    )
    rotations: bool = knob(
        True,
        label="Rotations",
        help="Count each character turned by 90, 180 and 270 degrees as a class of its own.",
        when={"task.source": frozenset({"omniglot"})},
    )
    image_size: int = knob(
        32, ge=8, le=512, label="Image size", unit="pixels",
        help="Height and width that images of a folder are made to have.", when={"task.source": FOLDER},
    )  # fmt: skip
    image_mode: Literal["rgb", "grey"] = knob(
        "rgb", label="Image mode", help="Whether images of a folder keep their colours.", when={"task.source": FOLDER}
    )
    split_seed: int = knob(
        0, ge=0, le=2**31 - 1, label="Split seed",
        help="Decides which classes of a folder are for training, validation and test, where its folders do not.",
        when={"task.source": FOLDER},
    )  # fmt: skip


class ModelSettings(Group):
    """What is adapted."""

    hidden: Annotated[tuple[Annotated[int, Field(ge=1, le=4096)], ...], Field(strict=False)] = knob(
        (40, 40), min_length=1, max_length=8, label="Hidden layers", unit="units",
        help="Widths of the hidden layers of the MLP, comma-separated.", when={"task.source": REGRESSION},
    )  # fmt: skip
    filters: int = knob(
        64, ge=1, le=1024, label="Filters", unit="channels",
        help="Channels of each of the four convolution blocks.", when={"task.source": IMAGES},
    )  # fmt: skip
    downsample: Literal["max_pool", "stride"] = knob(
        "max_pool",
        label="Downsampling",
        help="How each block halves the image: 2x2 max-pooling, or convolution with stride 2 (Finn).",
        when={"task.source": IMAGES},
    )
    features: Literal["flatten", "mean"] = knob(
        "flatten",
        label="Features",
        help="What the linear head sees of the last block: everything, or its spatial mean (Finn).",
        when={"task.source": IMAGES},
    )


class AlgorithmSettings(Group):
    """How the meta-parameters move."""

    name: Literal["maml", "fomaml", "reptile", "scratch", "pretrained"] = knob(
        "maml",
        label="Algorithm",
        help="MAML (second order), FOMAML, Reptile, or a reference: scratch (no training), pretrained.",
        main=True,
    )
    inner_lr: float = knob(
        0.01, gt=0, le=100, label="Inner learning rate", main=True, live=True,
        help="Step size of adaptation (α), on the mean loss over the support set.",
    )  # fmt: skip
    inner_steps: int = knob(
        1, ge=1, le=1000, label="Inner steps", unit="steps", main=True, live=True,
        help="Gradient steps of adaptation in training.",
        when={"algorithm.name": frozenset({"maml", "fomaml", "reptile"})},
    )  # fmt: skip
    inner_optimizer: Literal["sgd", "adam"] = knob(
        "sgd",
        label="Inner optimiser",
        help="SGD, or Adam with beta1 = 0 as Reptile's paper uses (not with MAML).",
        when={"algorithm.name": frozenset({"fomaml", "reptile", "scratch", "pretrained"})},
    )
    inner_batch: int = knob(
        0, ge=0, le=20000, label="Inner batch", unit="examples",
        help="Examples in one inner step of Reptile; 0 takes the whole support set.",
        when={"algorithm.name": frozenset({"reptile"})},
    )  # fmt: skip
    train_shots: int = knob(
        0, ge=0, le=1000, label="Training shots",
        help="Support examples in Reptile's training episodes; 0 takes the same as shots.",
        when={"algorithm.name": frozenset({"reptile"})},
    )  # fmt: skip
    outer_lr: float = knob(
        0.001, gt=0, le=100, label="Outer learning rate", main=True, live=True,
        help="Step size of the outer loop: Adam's (β), or Reptile's meta-step size (ε).",
        when={"algorithm.name": LEARNED},
    )  # fmt: skip
    outer_schedule: Literal["constant", "cosine", "linear"] = knob(
        "constant",
        label="Outer schedule",
        help="How the outer learning rate goes from its value to the final one over the iterations.",
        when={"algorithm.name": LEARNED},
    )
    outer_lr_final: float = knob(
        0.0, ge=0, le=100, label="Final outer rate",
        help="Where a cosine or linear schedule ends.",
        when={"algorithm.name": LEARNED, "algorithm.outer_schedule": frozenset({"cosine", "linear"})},
    )  # fmt: skip
    grad_clip: float = knob(
        0.0, ge=0, le=1e6, label="Gradient clipping",
        help="Largest norm of the meta-gradient; 0 does not clip.",
        when={"algorithm.name": frozenset({"maml", "fomaml", "pretrained"})},
    )  # fmt: skip
    meta_batch: int = knob(
        4, ge=1, le=10000, label="Meta-batch", unit="tasks", main=True, live=True,
        help="Tasks in one meta-step.", when={"algorithm.name": LEARNED},
    )  # fmt: skip


class TrainingSettings(Group):
    """How long, and from which seed."""

    iterations: int = knob(
        5000, ge=1, le=100_000_000, label="Iterations", unit="meta-steps", main=True, live=True,
        help="Meta-steps to train for.", when={"algorithm.name": LEARNED},
    )  # fmt: skip
    seed: int = knob(
        0, ge=0, le=2**31 - 1, label="Seed", main=True,
        help="Decides the initialisation and the training tasks.",
    )  # fmt: skip
    early_stop: int = knob(
        0, ge=0, le=100_000, label="Early stop", unit="validations",
        help="Stop after so many validations without a new best; 0 never does.",
        when={"algorithm.name": LEARNED},
    )  # fmt: skip


class EvaluationSettings(Group):
    """How what was learned is measured on tasks held out from training."""

    every: int = knob(
        500, ge=0, le=100_000_000, label="Validate every", unit="meta-steps",
        help="Meta-steps between validations; 0 validates only at the end.",
        when={"algorithm.name": LEARNED},
    )  # fmt: skip
    tasks: int = knob(
        100, ge=2, le=100_000, label="Validation tasks", unit="tasks",
        help="Held-out tasks in each validation.",
    )  # fmt: skip
    test_tasks: int = knob(
        600, ge=2, le=100_000, label="Test tasks", unit="tasks",
        help="Held-out tasks in the final test.",
    )  # fmt: skip
    inner_steps: int = knob(
        10, ge=1, le=1000, label="Evaluation steps", unit="steps",
        help="Inner steps of adaptation on held-out tasks; the metric after the last one is the result.",
    )  # fmt: skip
    shots: int = knob(
        0, ge=0, le=1000, label="Evaluation shots",
        help="Support examples on held-out tasks; 0 takes the same as shots.",
    )  # fmt: skip
    batch_norm: Literal["transductive", "per_example"] = knob(
        "transductive",
        label="Batch norm at test",
        help="Statistics over the whole query set, or over the support set and one query example at a time.",
        when={"task.source": IMAGES},
    )
    seed: int = knob(
        0, ge=0, le=2**31 - 1, label="Evaluation seed",
        help="Decides the held-out tasks; the same for runs that are to be compared.",
    )  # fmt: skip


class ComputeSettings(Group):
    """Where and how it is computed. The mathematics is the same for every choice."""

    device: str = knob(
        "auto", pattern=r"^(auto|cpu|mps|cuda(:\d{1,3})?)$", label="Device", main=True,
        allowed="auto, cpu, cuda, cuda:N (N a whole number) or mps",
        help="auto, cpu, cuda, cuda:N or mps.",
    )  # fmt: skip
    engine: Literal["auto", "batched", "unfolded", "loop", "native", "higher", "compiled"] = knob(
        "auto",
        label="Engine",
        help="How gradients are computed: all tasks at once (batched; unfolded: convolutions as matrix products), "
        "one by one (loop; native: with C code of ours for convolutions), by the higher library, or "
        "compiled; auto measures.",
        main=True,
    )
    compile_after: int = knob(
        5000, ge=1, le=100_000_000, label="Compiled after", unit="meta-steps",
        help="Meta-steps by the batched engine before compiled ones begin, with engine compiled: the compiler's time.",
    )  # fmt: skip
    second_order: Literal["auto", "unrolled", "recomputed"] = knob(
        "auto",
        label="Second order",
        help="MAML's gradient through the graph of all inner steps, or by one step's Hessian at a time in less memory.",
        when={"algorithm.name": frozenset({"maml"})},
    )
    cuda_graphs: bool = knob(
        True, label="CUDA graphs", help="On CUDA, run a whole meta-step of MAML or FOMAML as one graph of kernels.",
        when={"algorithm.name": frozenset({"maml", "fomaml"})},
    )  # fmt: skip
    tf32: bool = knob(
        False, label="TF32", help="On CUDA, multiply float32 numbers with 10 bits of mantissa: faster, less exact."
    )
    tasks_at_once: int = knob(
        0, ge=0, le=10_000, label="Tasks at once", unit="tasks", live=True,
        help="Tasks of a meta-batch that are in memory together, exact for any number; 0 takes all while they fit.",
    )  # fmt: skip
    precision: Literal["float32", "float64"] = knob(
        "float32", label="Precision", help="Floating-point type of parameters and data."
    )
    threads: int = knob(
        0, ge=0, le=1024, label="CPU threads",
        help="CPU threads that tasks, or one task's operations, are spread over; 0 chooses by model and machine.",
    )  # fmt: skip


class CheckpointSettings(Group):
    """What survives a crash."""

    every: float = knob(30.0, ge=1, le=86_400, label="Checkpoint every", unit="s", help="Seconds between checkpoints.")


class LoggingSettings(Group):
    """What is written beside a run's own files."""

    tensorboard: bool = knob(
        False,
        label="TensorBoard",
        help="Write event files for TensorBoard into the run's folder; needs pip install 'metatui[tensorboard]'.",
    )


class Settings(Group):
    """One experiment, whole and valid."""

    task: TaskSettings = TaskSettings()
    model: ModelSettings = ModelSettings()
    algorithm: AlgorithmSettings = AlgorithmSettings()
    training: TrainingSettings = TrainingSettings()
    evaluation: EvaluationSettings = EvaluationSettings()
    compute: ComputeSettings = ComputeSettings()
    checkpoint: CheckpointSettings = CheckpointSettings()
    logging: LoggingSettings = LoggingSettings()

    def value(self, path: str) -> Scalar:
        """The value of the setting `path`, such as `algorithm.inner_lr`."""
        group, name = path.split(".")
        value: Scalar = getattr(getattr(self, group), name)
        return value

    @property
    def is_classification(self) -> bool:
        return self.task.source in IMAGES

    @property
    def evaluation_shots(self) -> int:
        """Support examples on held-out tasks."""
        return self.evaluation.shots or self.task.shots

    @property
    def training_shots(self) -> int:
        """Support examples in training episodes."""
        reptile = self.algorithm.name == "reptile"
        return (self.algorithm.train_shots if reptile else 0) or self.task.shots
