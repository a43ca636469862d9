"""Every knob of an experiment, once: its type, range, default, unit, one-line help and when it matters.

The form in the app, `--set` on the command line, preset files and the reference in the README all derive from
this file. Settings are frozen values; groups and names are the field's own words. Inner losses are means over
examples, so learning rates of papers that sum are converted and the preset says so.
"""

from __future__ import annotations

import types
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic.fields import FieldInfo

from metatui.errors import BadInput, shown

Scalar = bool | int | float | str | tuple[int, ...]
"""A setting's value."""

IMAGES = frozenset({"glyphs", "omniglot"})
"""Sources whose tasks are N-way K-shot image classification."""

REGRESSION = frozenset({"sinusoid"})
"""Sources whose tasks are regression."""

LEARNED = frozenset({"maml", "fomaml", "reptile", "pretrained"})
"""Algorithms that have an outer loop (`scratch` has none)."""

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
    **limits: Any,
) -> Any:
    """One setting. `when` names the choices under which it matters, `live` that it may change during a run,
    `main` that the form shows it outside the collapsed groups."""
    extra = {"label": label, "unit": unit, "when": when or {}, "live": live, "main": main}
    return Field(default, description=help, json_schema_extra=extra, **limits)


class Group(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


class TaskSettings(Group):
    """Where episodes come from."""

    source: Literal["sinusoid", "glyphs", "omniglot"] = knob(
        "sinusoid",
        label="Task",
        help="Where tasks come from: sine waves, drawn-on-the-fly glyphs, or Omniglot's characters.",
        main=True,
    )
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
        help="auto, cpu, cuda, cuda:N or mps.",
    )  # fmt: skip
    engine: Literal["auto", "batched", "loop", "higher"] = knob(
        "auto",
        label="Engine",
        help="How per-task gradients are computed: all tasks at once, one by one, or by the higher library.",
        main=True,
    )
    precision: Literal["float32", "float64"] = knob(
        "float32", label="Precision", help="Floating-point type of parameters and data."
    )
    threads: int = knob(
        0, ge=0, le=1024, label="CPU threads",
        help="Threads for one operation on the CPU; 0 chooses by model and machine.",
    )  # fmt: skip


class CheckpointSettings(Group):
    """What survives a crash."""

    every: float = knob(
        30.0, ge=1, le=86_400, label="Checkpoint every", unit="s", help="Seconds between checkpoints."
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


@dataclass(frozen=True)
class Problem:
    """What is wrong with one field. `sentence` names the field, the value and what is allowed."""

    field: str
    sentence: str


class SettingsError(BadInput):
    """Settings that cannot be used; `problems` has one entry for each field that is wrong."""

    def __init__(self, problems: Iterable[Problem], origin: str = "") -> None:
        self.problems = tuple(problems)
        said = "; ".join(p.sentence for p in self.problems)
        super().__init__(f"{origin}: {said}" if origin else said)


@dataclass(frozen=True)
class Knob:
    """How one setting is shown and read. `kind` is what its text means."""

    path: str
    kind: Literal["int", "float", "bool", "choice", "text", "ints"]
    default: Scalar
    label: str
    help: str
    unit: str
    choices: tuple[str, ...]
    allowed: str
    when: When
    live: bool
    main: bool

    @property
    def group(self) -> str:
        return self.path.split(".")[0]

    def read(self, text: str) -> Scalar:
        """The value that `text` stands for. Raises SettingsError, which says what is allowed."""
        word = text.strip()
        try:
            match self.kind:
                case "int":
                    return int(word)
                case "float":
                    return float(word)
                case "bool":
                    return {"true": True, "false": False}[word.lower()]
                case "ints":
                    return tuple(int(part) for part in word.strip("[]()").split(","))
                case _:
                    return word
        except (ValueError, KeyError):
            raise SettingsError([self.problem(text)]) from None

    def problem(self, value: object) -> Problem:
        return Problem(self.path, f"{self.path} is {shown(value)}, but must be {self.allowed}")

    def matters(self, settings: Settings) -> bool:
        """Whether this setting has any effect in `settings`."""
        return all(settings.value(path) in choices for path, choices in self.when.items())


def _limits(info: FieldInfo) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for item in info.metadata:
        for key in ("ge", "gt", "le", "lt"):
            if getattr(item, key, None) is not None:
                found[key] = getattr(item, key)
    return found


def _number(value: float) -> str:
    return f"{value:,}" if isinstance(value, int) else f"{value:,.10g}"


def _knob(group: str, name: str, info: FieldInfo) -> Knob:
    extra = info.json_schema_extra
    assert isinstance(extra, dict)
    annotation = info.annotation
    if get_origin(annotation) in (Union, types.UnionType):
        raise TypeError(f"{group}.{name}: a setting has one type")
    choices: tuple[str, ...] = ()
    if get_origin(annotation) is Literal:
        choices = get_args(annotation)
        kind, allowed = "choice", "one of " + ", ".join(choices)
    elif annotation is bool:
        kind, allowed = "bool", "true or false"
    elif annotation in (int, float):
        limits = _limits(info)
        kind = "int" if annotation is int else "float"
        noun = "a whole number" if annotation is int else "a number"
        low = f"above {_number(limits['gt'])}" if "gt" in limits else f"from {_number(limits['ge'])}"
        high = f"up to {_number(limits['le'])}" if "gt" in limits else f"to {_number(limits['le'])}"
        allowed = f"{noun} {low} {high}"
    elif annotation is str:
        kind, allowed = "text", info.description or "text"
    else:
        kind, allowed = "ints", "one to eight whole numbers from 1 to 4,096, comma-separated"
    if name == "device":
        allowed = "auto, cpu, cuda, cuda:N (N a whole number) or mps"
    return Knob(
        path=f"{group}.{name}", kind=kind, default=info.default, label=str(extra["label"]),
        help=info.description or "", unit=str(extra["unit"]), choices=choices, allowed=allowed,
        when=extra["when"], live=bool(extra["live"]), main=bool(extra["main"]),  # type: ignore[arg-type]
    )  # fmt: skip


def _knobs() -> dict[str, Knob]:
    found = {}
    for group, info in Settings.model_fields.items():
        assert isinstance(info.annotation, type)
        assert issubclass(info.annotation, Group)
        for name, field in info.annotation.model_fields.items():
            found[f"{group}.{name}"] = _knob(group, name, field)
    return found


KNOBS: Mapping[str, Knob] = _knobs()
"""Every setting by its path, in the order of the groups above."""

GROUP_TITLES: Mapping[str, str] = {
    name: (info.annotation.__doc__ or "").strip().rstrip(".")
    for name, info in Settings.model_fields.items()
    if info.annotation is not None
}

OMNIGLOT_CHARACTERS: Mapping[str, Mapping[str, int]] = {
    "chapter": {"train": 1200, "val": 200, "test": 223},
    "finn": {"train": 1100, "val": 100, "test": 423},
    "lake": {"train": 832, "val": 132, "test": 659},
}
"""Characters in each split of Omniglot, before rotations."""

OMNIGLOT_DRAWINGS = 20
"""Drawings of each Omniglot character."""


def parse(groups: Mapping[str, Any]) -> Settings:
    """Settings from nested mappings (`{"task": {"shots": 5}}`).

    Raises:
        SettingsError: naming every field that is unknown, of the wrong type, out of range, or impossible together
            with others.
    """
    try:
        settings = Settings.model_validate(dict(groups))
    except ValidationError as error:
        raise SettingsError(_problems(error)) from None
    problems = impossible(settings)
    if problems:
        raise SettingsError(problems)
    return settings


def change(settings: Settings, changes: Mapping[str, Scalar]) -> Settings:
    """`settings` with the values of some paths changed. Raises SettingsError."""
    groups: dict[str, dict[str, Any]] = {
        name: dict(getattr(settings, name)) for name in Settings.model_fields
    }
    for path, value in changes.items():
        knob_of(path)
        group, name = path.split(".")
        groups[group][name] = value
    return parse(groups)


def knob_of(path: str) -> Knob:
    """The knob called `path`. Raises SettingsError, with the nearest name there is."""
    if path in KNOBS:
        return KNOBS[path]
    raise SettingsError([_unknown(path)])


def assignment(text: str) -> tuple[str, Scalar]:
    """The path and value of `group.key=value`, as given to `--set`. Raises SettingsError."""
    path, equals, word = text.partition("=")
    if not equals:
        raise SettingsError(
            [Problem(path, f"--set is {shown(text)}, but must be group.key=value, such as training.seed=1")]
        )
    knob = knob_of(path.strip())
    return knob.path, knob.read(word)


def _unknown(path: str) -> Problem:
    import difflib

    near = difflib.get_close_matches(path, KNOBS, n=1, cutoff=0.6)
    if not near:
        near = [name for name in KNOBS if name.split(".")[1] == path.split(".")[-1]][:1]
    hint = f"did you mean {near[0]}?" if near else "groups are " + ", ".join(Settings.model_fields)
    return Problem(path, f"{shown(path)} is not a setting: {hint}")


def _problems(error: ValidationError) -> list[Problem]:
    problems: dict[str, Problem] = {}
    for item in error.errors():
        path = ".".join(str(part) for part in item["loc"][:2])
        if item["type"] == "extra_forbidden":
            problems[path] = _unknown(path)
        elif path in KNOBS:
            value = item["input"] if len(item["loc"]) <= 2 else f"an item {shown(item['input'])}"
            problems[path] = KNOBS[path].problem(value)
        else:
            problems[path] = Problem(
                path, f"{path} is {shown(item['input'])}, but must be a table of settings"
            )
    return list(problems.values())


def impossible(settings: Settings) -> list[Problem]:
    """What in `settings` cannot be together, one sentence for each field to change."""
    problems = []
    algorithm, task = settings.algorithm, settings.task
    if algorithm.name == "maml" and algorithm.inner_optimizer == "adam":
        problems.append(
            Problem(
                "algorithm.inner_optimizer",
                "algorithm.inner_optimizer is 'adam', but must be sgd with algorithm.name = 'maml'",
            )
        )
    support = settings.training_shots * (task.ways if settings.is_classification else 1)
    if algorithm.name == "reptile" and algorithm.inner_batch > support:
        problems.append(
            Problem(
                "algorithm.inner_batch",
                f"algorithm.inner_batch is {algorithm.inner_batch}, but a training episode has only "
                f"{support} support examples",
            )
        )
    if algorithm.outer_schedule != "constant" and algorithm.outer_lr_final > algorithm.outer_lr:
        problems.append(
            Problem(
                "algorithm.outer_lr_final",
                f"algorithm.outer_lr_final is {algorithm.outer_lr_final:g}, but must be at most "
                f"algorithm.outer_lr ({algorithm.outer_lr:g})",
            )
        )
    if task.source == "omniglot":
        problems += _impossible_omniglot(settings)
    return problems


def _impossible_omniglot(settings: Settings) -> list[Problem]:
    problems = []
    task = settings.task
    shots = {
        "task.shots": task.shots,
        "evaluation.shots": settings.evaluation.shots,
        "algorithm.train_shots": settings.training_shots if settings.algorithm.name == "reptile" else 0,
    }
    for field, number in shots.items():
        if number + task.queries > OMNIGLOT_DRAWINGS:
            problems.append(
                Problem(
                    field,
                    f"{field} is {number} and task.queries is {task.queries}, but together they must be at most "
                    f"{OMNIGLOT_DRAWINGS}, the drawings of an Omniglot character",
                )
            )
    turns = 4 if task.rotations else 1
    fewest = turns * min(OMNIGLOT_CHARACTERS[task.split].values())
    if task.ways > fewest:
        problems.append(
            Problem(
                "task.ways",
                f"task.ways is {task.ways}, but the smallest part of the split has {fewest} classes",
            )
        )
    return problems
