"""Settings of an experiment, each with its type, range, default, unit, help, and conditions under which it applies.

The form in the app, `--set` on the command line, preset files and the reference in `metatui/config/README.md` are
derived from this file through `metatui.config.fields`. Settings are frozen. Losses are means over examples. If a paper
sums losses, its presets convert the learning rates and say so.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Set
from typing import Annotated, Any, Literal, TypeVar, cast

from pydantic import (
    AfterValidator,
    ConfigDict,
    Field,
    ModelWrapValidatorHandler,
    ValidationError,
    model_validator,
)

from metatui.config.declarations import Group, Scalar, SettingField, When, group_fields, setting
from metatui.config.registry import (
    ALGORITHMS,
    DATA,
    MODELS,
    Names,
    Registry,
    components_with_options,
    used,
)

PATTERNS = r"[\w.*?\[\]!-]+(\s*,\s*[\w.*?\[\]!-]+)*"
"""Regular expression for comma-separated patterns of parameter names, each in the syntax of `fnmatch`."""

G = TypeVar("G", bound=Group)


def _when(**conditions: str) -> dict[str, Set[str]]:
    """Create conditions from keyword arguments: `_when(model__norm="group layer")`."""
    return {path.replace("__", "."): frozenset(choices.split()) for path, choices in conditions.items()}


_IMAGES: When = {"task.source": Names(DATA, lambda data: data.kind == "classification")}
_MOMENTUM = used(ALGORITHMS, "algorithm.inner_momentum") | _when(algorithm__inner_optimizer="momentum")
_SCHEDULE = used(ALGORITHMS, "algorithm.outer_lr_final") | _when(algorithm__outer_schedule="cosine linear")


def _choices(registry: Registry[Any], *others: str) -> dict[str, Any]:
    """Return the arguments of `setting` for a setting that accepts component names of `registry`, and `others`."""
    return {
        "choices": lambda: (*others, *registry.names()),
        "allowed": registry.or_plugin,
    }


def _name_in(registry: Registry[Any], *others: str) -> AfterValidator:
    """Create a validator that accepts the names of the components of `registry`, and `others`."""

    def check(name: str) -> str:
        if name not in others and name not in registry:
            raise ValueError(registry.requirement(name, *others))
        return name

    return AfterValidator(check)


_RANGE = r"^([0-9]{1,4}-[0-9]{1,4})?$"


# One setting in a few lines reads better than one argument per line.
# fmt: off
class TaskSettings(Group):
    """Settings for the source and the size of episodes."""

    source: Annotated[str, _name_in(DATA)] = setting(
        "sinusoid", "Task",
        "Source of the tasks, such as generated sine waves, a published data set, or your own images or table.",
        main=True, **_choices(DATA))
    folder: str = setting(
        "", "Folder",
        "Folder that contains one folder of PNG or JPEG images per class, directly or inside folders named train, val "
        "and test.",
        allowed="the path of a folder; in TOML files and in Python, it must start with / or ~",
        path=True, main=True, when=used(DATA, "task.folder"), pattern=r"^([/~][^\x00]*)?$", max_length=4096)
    class_lists: str = setting(
        "", "Class lists",
        "Folder with CSV or text files that list the classes or images of each split; default: any lists in "
        "task.folder.",
        allowed="the path of a folder; in TOML files and in Python, it must start with / or ~",
        path=True, when=used(DATA, "task.class_lists"), pattern=r"^([/~][^\x00]*)?$", max_length=4096)
    ways: int = setting(
        5, "Ways (N)", "Number of classes in an episode.", unit="classes", main=True, when=_IMAGES, ge=2, le=100)
    ways_range: str = setting(
        "", "Ways in training",
        "Range from which each meta-step draws the number of ways of its tasks. If it is empty, task.ways is used.",
        allowed="empty, or a range within 2-100, such as 3-7", unit="classes", when=_IMAGES, pattern=_RANGE)
    shots: int = setting(
        10, "Shots (K)", "Number of support examples per task (regression) or per class (classification).",
        main=True, ge=1, le=1000)
    shots_range: str = setting(
        "", "Shots in training",
        "Range from which each meta-step draws the number of shots of its tasks. If it is empty, task.shots is used.",
        allowed="empty, or a range within 1-1,000, such as 1-5", pattern=_RANGE)
    queries: int = setting(
        10, "Queries (Q)", "Number of query examples per task (regression) or per class (classification).",
        main=True, ge=1, le=1000)
    split: Literal["chapter", "finn", "lake"] = setting(
        "chapter", "Class split",
        "How Omniglot's characters are divided into training, validation and test sets. With 'lake', all characters "
        "of an alphabet are in the same set.",
        when=used(DATA, "task.split"))
    rotations: bool = setting(
        True, "Rotations", "Treat each rotation of a character by 90, 180 or 270 degrees as another class.",
        when=used(DATA, "task.rotations"))
    image_size: int = setting(
        32, "Image size", "Height and width to which the images of a folder are resized.",
        unit="pixels", when=used(DATA, "task.image_size"), ge=8, le=512)
    image_mode: Literal["rgb", "grey"] = setting(
        "rgb", "Image mode", "Whether the images of a folder are used in colour or in greyscale.",
        when=used(DATA, "task.image_mode"))
    split_seed: int = setting(
        0, "Split seed", "Seed for randomly splitting the classes of a folder, or the tasks of a table.",
        when=used(DATA, "task.split_seed"), ge=0, le=2**31 - 1)


class ModelSettings(Group):
    """Settings for the architecture of the model that is adapted."""

    name: Annotated[str, _name_in(MODELS, "auto")] = setting(
        "auto", "Model", "Architecture; auto selects the default model for regression or classification tasks.",
        **_choices(MODELS, "auto"))
    hidden: Annotated[tuple[Annotated[int, Field(ge=1, le=4096)], ...], Field(strict=False)] = setting(
        (40, 40), "Hidden layers", "Widths of the hidden layers, comma-separated.",
        allowed="one to eight whole numbers from 1 to 4,096, comma-separated",
        unit="units", when=used(MODELS, "model.hidden"), min_length=1, max_length=8)
    filters: int = setting(
        64, "Filters", "Number of channels in each of the four convolution blocks.",
        unit="channels", when=used(MODELS, "model.filters"), ge=1, le=1024)
    kernel: int = setting(
        3, "Kernel", "Height and width of the convolution kernels.",
        unit="pixels", when=used(MODELS, "model.kernel"), ge=1, le=15)
    norm: Literal["batch", "group", "layer", "none"] = setting(
        "batch", "Norm",
        "Normalisation after each convolution. Layer norm normalises over the channels and pixels of each image.",
        when=used(MODELS, "model.norm"))
    groups: int = setting(
        8, "Norm groups", "Number of channel groups that group norm normalises separately.",
        unit="groups", when=used(MODELS, "model.groups") | _when(model__norm="group"), ge=1, le=1024)
    downsample: Literal["max_pool", "stride"] = setting(
        "max_pool", "Downsampling",
        "How each block halves height and width: 2x2 max-pooling, or convolution with stride 2 (Finn et al.).",
        when=used(MODELS, "model.downsample"))
    features: Literal["flatten", "mean"] = setting(
        "flatten", "Features",
        "Input of the linear head: all features of the last block, or their spatial mean (Finn et al.).",
        when=used(MODELS, "model.features"))
    head: Literal["linear", "cosine"] = setting(
        "linear", "Head", "Last layer: linear, or cosine similarities times a learned scale.",
        when=used(MODELS, "model.head"))
    weights: str = setting(
        "", "Pretrained weights",
        "Safetensors file with the initial weights. If the file is a checkpoint of a run, its best parameters are "
        "used. If no file is given, the weights are initialised at random.",
        allowed="empty, or the path of a safetensors file; in TOML files and in Python, it must start with / or ~",
        path=True, pattern=r"^([/~][^\x00]*)?$", max_length=4096)


class AlgorithmSettings(Group):
    """Settings for the inner and the outer loop of the meta-learning algorithm."""

    name: Annotated[str, _name_in(ALGORITHMS)] = setting(
        "maml", "Algorithm",
        "Meta-learning algorithm, or a baseline that does not meta-learn.",
        main=True, **_choices(ALGORITHMS))
    adapt: str = setting(
        "all", "Adapted parameters",
        "Parameters that the inner loop changes: all, head (last layer), body (all other layers), or name patterns.",
        allowed="all, head, body, or patterns of parameter names such as 'net.0.*', comma-separated",
        when=used(ALGORITHMS, "algorithm.adapt"), min_length=1, max_length=1000, pattern=f"^{PATTERNS}$")
    freeze: str = setting(
        "", "Frozen parameters", "Parameters that are neither learned nor adapted, as comma-separated name patterns.",
        allowed="empty, or patterns of parameter names such as 'net.0.*', comma-separated",
        when=used(ALGORITHMS, "algorithm.freeze"), max_length=1000, pattern=f"^({PATTERNS})?$")
    inner_lr: float = setting(
        0.01, "Inner learning rate",
        "Step size of adaptation (α), which multiplies the gradient of the mean loss over the support set.",
        main=True, live=True, when=used(ALGORITHMS, "algorithm.inner_lr"), gt=0, le=100)
    inner_steps: int = setting(
        1, "Inner steps", "Number of gradient steps that adapt the model to each training task.",
        unit="steps", main=True, live=True, when=used(ALGORITHMS, "algorithm.inner_steps"), ge=1, le=1000)
    inner_optimizer: Literal["sgd", "momentum", "adam"] = setting(
        "sgd", "Inner optimiser",
        "Optimiser of the inner loop: SGD, SGD with momentum, or Adam with beta1 = 0, as in the Reptile paper.",
        when=used(ALGORITHMS, "algorithm.inner_optimizer"))
    inner_momentum: float = setting(
        0.9, "Inner momentum", "Momentum of the inner optimiser.", when=_MOMENTUM, ge=0, le=1)
    inner_weight_decay: float = setting(
        0.0, "Inner weight decay",
        "L2 penalty in the inner loop: this value times the parameters is added to the gradient, after clipping.",
        when=used(ALGORITHMS, "algorithm.inner_weight_decay"), ge=0, le=100)
    inner_clip: float = setting(
        0.0, "Inner clipping", "Maximum norm of the gradient of a task's loss in an inner step; 0 disables clipping.",
        when=used(ALGORITHMS, "algorithm.inner_clip"), ge=0, le=1e6)
    inner_batch: int = setting(
        0, "Inner batch", "Number of support examples per inner step; 0 uses the whole support set.",
        unit="examples", when=used(ALGORITHMS, "algorithm.inner_batch"), ge=0, le=20000)
    train_shots: int = setting(
        0, "Training shots", "Number of shots in training episodes; 0 uses task.shots.",
        when=used(ALGORITHMS, "algorithm.train_shots"), ge=0, le=1000)
    outer_lr: float = setting(
        0.001, "Outer learning rate",
        "Step size of the outer loop: the learning rate of Adam (β), or the meta-step size of Reptile (ε).",
        main=True, live=True, when=used(ALGORITHMS, "algorithm.outer_lr"), gt=0, le=100)
    outer_schedule: Literal["constant", "cosine", "linear"] = setting(
        "constant", "Outer schedule", "How the outer learning rate approaches its final value during training.",
        when=used(ALGORITHMS, "algorithm.outer_schedule"))
    outer_lr_final: float = setting(
        0.0, "Final outer rate", "Outer learning rate at the end of a cosine or linear schedule.",
        when=_SCHEDULE, ge=0, le=100)
    grad_clip: float = setting(
        0.0, "Gradient clipping", "Maximum norm of the meta-gradient; 0 disables clipping.",
        when=used(ALGORITHMS, "algorithm.grad_clip"), ge=0, le=1e6)
    meta_batch: int = setting(
        4, "Meta-batch", "Number of tasks per meta-step.",
        unit="tasks", main=True, live=True, when=used(ALGORITHMS, "algorithm.meta_batch"), ge=1, le=10000)


class TrainingSettings(Group):
    """Settings for the length and the seed of training."""

    iterations: int = setting(
        5000, "Iterations", "Number of meta-steps to train.",
        unit="meta-steps", main=True, live=True, when=used(ALGORITHMS, "training.iterations"), ge=1, le=100_000_000)
    seed: int = setting(
        0, "Seed", "Seed of the initialisation and of the training tasks.", main=True, ge=0, le=2**31 - 1)
    early_stop: int = setting(
        0, "Early stop", "Stop after this many validations without a new best result; 0 disables early stopping.",
        unit="validations", when=used(ALGORITHMS, "training.early_stop"), ge=0, le=100_000)


class EvaluationSettings(Group):
    """Settings for evaluation on tasks that are held out from training."""

    every: int = setting(
        500, "Validate every", "Number of meta-steps between validations; 0 validates only at the end.",
        unit="meta-steps", when=used(ALGORITHMS, "evaluation.every"), ge=0, le=100_000_000)
    tasks: int = setting(
        100, "Validation tasks", "Number of held-out tasks in each validation.", unit="tasks", ge=2, le=100_000)
    test_tasks: int = setting(
        600, "Test tasks", "Number of held-out tasks in the final test.", unit="tasks", ge=2, le=100_000)
    inner_steps: int = setting(
        10, "Evaluation steps",
        "Number of inner steps on each held-out task; the result is the metric after the last step.",
        unit="steps", when=used(ALGORITHMS, "evaluation.inner_steps"), ge=1, le=1000)
    shots: int = setting(
        0, "Evaluation shots", "Number of shots of held-out tasks; 0 uses task.shots.", ge=0, le=1000)
    batch_norm: Literal["transductive", "per_example"] = setting(
        "transductive", "Batch norm at test",
        "Whether batch norm on held-out tasks uses the statistics of the whole query set (transductive), or those of "
        "the support set and one query example at a time (per_example).",
        when=_IMAGES)
    seed: int = setting(
        0, "Evaluation seed", "Seed of the held-out tasks; use the same seed for runs that you compare.",
        ge=0, le=2**31 - 1)


class ComputeSettings(Group):
    """Settings for the device, the engine and the precision, which do not change the mathematics of training."""

    device: str = setting(
        "auto", "Device", "Device to compute on.",
        allowed="auto, cpu, cuda, cuda:N (N a whole number) or mps",
        main=True, pattern=r"^(auto|cpu|mps|cuda(:\d{1,3})?)$")
    engine: Literal["auto", "batched", "unfolded", "loop", "native", "higher", "compiled"] = setting(
        "auto", "Engine",
        "How gradients are computed: for all tasks together (batched; unfolded uses matrix products for convolutions), "
        "task by task (loop; native uses C for convolutions), with the library 'higher', or by compiled code "
        "(compiled). auto selects the fastest.",
        main=True)
    compile_after: int = setting(
        5000, "Compiled after",
        "Number of meta-steps at the start that use the batched engine while the compiled engine is being compiled.",
        unit="meta-steps", ge=1, le=100_000_000)
    second_order: Literal["auto", "unrolled", "recomputed"] = setting(
        "auto", "Second order",
        "How second-order gradients are computed: through the graph of all inner steps (unrolled), or through one "
        "step's graph at a time, which needs less memory (recomputed). If both this setting and the engine are "
        "auto, unrolled is used as long as the graphs fit in memory.",
        when=used(ALGORITHMS, "compute.second_order"))
    cuda_graphs: bool = setting(
        True, "CUDA graphs", "On CUDA, run each meta-step as one CUDA graph, unless ways or shots vary.",
        when=used(ALGORITHMS, "compute.cuda_graphs"))
    tf32: bool = setting(
        False, "TF32", "On CUDA, use TF32 (10-bit mantissa) for float32 matrix products: faster, but less accurate.")
    tasks_at_once: int = setting(
        0, "Tasks at once",
        "Number of tasks of a meta-batch in memory at once; 0 uses as many as fit. This does not affect the gradient.",
        unit="tasks", live=True, ge=0, le=10_000)
    precision: Literal["float32", "float64"] = setting(
        "float32", "Precision", "Floating-point type of parameters and data.")
    threads: int = setting(
        0, "CPU threads",
        "Number of CPU threads that share the tasks, or the operations of one task; 0 chooses a number that suits "
        "the model and the machine, at most OMP_NUM_THREADS if this environment variable is set. The compiled engine "
        "also uses another core for about 20 seconds, while a separate low-priority process compiles the code.",
        ge=0, le=1024)


class CheckpointSettings(Group):
    """Settings for checkpoints, from which an interrupted run resumes."""

    every: float = setting(30.0, "Checkpoint every", "Seconds between checkpoints.", unit="s", ge=1, le=86_400)


class LoggingSettings(Group):
    """Settings for logs that are written in addition to a run's own files."""

    tensorboard: bool = setting(
        False, "TensorBoard",
        "Write TensorBoard event files into the run folder; requires pip install 'metatui[tensorboard]'.")
# fmt: on


class Settings(Group):
    """All settings of one experiment.

    The options of an algorithm, a model or a data set form an additional group with the component's name. This group
    is only present if one of the options differs from its default.

    Example:
        >>> settings = metatui.Settings(training={"iterations": 100, "seed": 1})
        >>> settings.training.iterations, settings.algorithm.inner_lr
        (100, 0.01)
    """

    model_config = ConfigDict(extra="allow")

    task: TaskSettings = TaskSettings()
    model: ModelSettings = ModelSettings()
    algorithm: AlgorithmSettings = AlgorithmSettings()
    training: TrainingSettings = TrainingSettings()
    evaluation: EvaluationSettings = EvaluationSettings()
    compute: ComputeSettings = ComputeSettings()
    checkpoint: CheckpointSettings = CheckpointSettings()
    logging: LoggingSettings = LoggingSettings()

    @model_validator(mode="wrap")
    @classmethod
    def _validate_options(cls, data: Any, handler: ModelWrapValidatorHandler[Settings]) -> Settings:
        """Convert the groups of options from dicts, and drop those that are equal to their defaults."""
        if not isinstance(data, Mapping):
            return handler(data)
        groups = {name: group for name, group in data.items() if name in cls.model_fields}
        options, errors = _options({name: group for name, group in data.items() if name not in cls.model_fields})
        try:
            settings = handler({**groups, **options})
        except ValidationError as error:
            errors = [*error.errors(), *errors]
        if errors:
            raise ValidationError.from_exception_data(cls.__name__, cast(Any, errors))
        return settings

    def group(self, name: str) -> Group:
        """Return the settings of a group, such as `algorithm`, or the options of the component called `name`."""
        # Not with getattr, which takes long if there is no such attribute.
        group: Group | None = vars(self).get(name) or (self.model_extra or {}).get(name)
        return group or components_with_options()[name].Options()

    def options_of(self, name: str, kind: type[G]) -> G:
        """Return the options of the component called `name`. The class of these options is `kind`."""
        options = self.group(name)
        assert isinstance(options, kind)
        return options

    def value(self, path: str) -> Scalar:
        """Return the value of a setting by its path, such as `algorithm.inner_lr`."""
        group, name = path.split(".")
        value: Scalar = getattr(self.group(group), name)
        return value

    def effective(self, path: str) -> Scalar:
        """Return the value of a setting; for `model.name`, return the name of the selected model instead of `auto`."""
        return self.model_name if path == "model.name" else self.value(path)

    @property
    def model_name(self) -> str:
        """Name of the model. If the setting is `auto`, this is the name of the model that `auto` selects."""
        return self.usual_model if self.model.name == "auto" else self.model.name

    @property
    def usual_model(self) -> str:
        """Name of the model that `auto` selects for the kind of task."""
        kind = "classification" if self.is_classification else "regression"
        return next(model.name for model in MODELS.components() if kind in model.default_for)

    @property
    def is_classification(self) -> bool:
        return DATA[self.task.source].kind == "classification"

    @property
    def evaluation_shots(self) -> int:
        """Number of shots on held-out tasks."""
        return self.evaluation.shots or self.task.shots

    @property
    def evaluation_steps(self) -> int:
        """Number of inner steps on held-out tasks; 1 if the algorithm adapts in a single step without gradients."""
        own = "evaluation.inner_steps" in ALGORITHMS[self.algorithm.name].uses
        return self.evaluation.inner_steps if own else 1

    @property
    def training_shots(self) -> int:
        """Number of shots in training episodes if task.shots_range is empty."""
        own = "algorithm.train_shots" in ALGORITHMS[self.algorithm.name].uses
        return (self.algorithm.train_shots if own else 0) or self.task.shots

    @property
    def ways_in_training(self) -> tuple[int, int]:
        """Smallest and largest number of ways in training episodes."""
        return _limits(self.task.ways_range, self.task.ways)

    @property
    def most_ways(self) -> int:
        """Largest number of ways in training and held-out tasks, which is the number of outputs of the model."""
        return max(self.task.ways, self.ways_in_training[1])

    @property
    def shots_in_training(self) -> tuple[int, int]:
        """Smallest and largest number of shots in training episodes."""
        return _limits(self.task.shots_range, self.training_shots)

    @property
    def training_size_varies(self) -> bool:
        """Whether training episodes of different meta-steps can differ in size."""
        (fewest, most), (low, high) = self.shots_in_training, self.ways_in_training
        return fewest < most or (self.is_classification and low < high)


def _limits(text: str, fixed: int) -> tuple[int, int]:
    """Return the smallest and the largest number of the range `text`, or `fixed` for both if `text` is empty."""
    low, _, high = text.partition("-")
    return (int(low), int(high)) if text else (fixed, fixed)


RESERVED = frozenset({*Settings.model_fields, *dir(Settings), "preset", "changes", "format"})
"""Names that a group of options cannot have."""


def common_fields() -> Iterator[SettingField]:
    """Yield the fields of all settings except the options of components."""
    for name, info in Settings.model_fields.items():
        yield from group_fields(name, cast(type[Group], info.annotation))


def _options(groups: Mapping[str, Any]) -> tuple[dict[str, Group], list[Any]]:
    """Validate the options of components; return the groups that differ from their defaults, and the errors."""
    options: dict[str, Group] = {}
    errors: list[Any] = []
    components = components_with_options() if groups else {}
    for name, values in groups.items():
        if name not in components:
            errors.append({"type": "extra_forbidden", "loc": (name,), "input": values})
            continue
        kind = components[name].Options
        try:
            group = kind.model_validate(values)
        except ValidationError as error:
            errors += [{**each, "loc": (name, *each["loc"])} for each in error.errors()]
        else:
            if group != kind():
                options[name] = group
    return options, errors
