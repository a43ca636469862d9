"""Declarations of the components that are not classes of their own yet. Removed when all of them are."""

from __future__ import annotations

from typing import Any

TRAINED = frozenset(
    {
        "algorithm.inner_lr", "algorithm.outer_lr", "algorithm.outer_schedule", "algorithm.outer_lr_final",
        "algorithm.meta_batch", "algorithm.adapt", "algorithm.freeze", "algorithm.inner_optimizer",
        "algorithm.inner_momentum", "algorithm.inner_weight_decay", "algorithm.inner_clip", "training.iterations",
        "training.early_stop", "evaluation.every", "evaluation.inner_steps",
    }
)  # fmt: skip
USES = {
    "maml": TRAINED | {"algorithm.inner_steps", "algorithm.grad_clip", "compute.second_order", "compute.cuda_graphs"},
    "fomaml": TRAINED | {"algorithm.inner_steps", "algorithm.grad_clip", "compute.cuda_graphs"},
    "reptile": TRAINED | {"algorithm.inner_steps", "algorithm.inner_batch", "algorithm.train_shots"},
    "scratch": frozenset(
        {
            "algorithm.inner_lr", "algorithm.inner_optimizer", "algorithm.inner_momentum", "algorithm.adapt",
            "algorithm.inner_weight_decay", "algorithm.inner_clip", "evaluation.inner_steps",
        }
    ),
    "pretrained": TRAINED | {"algorithm.grad_clip"},
}  # fmt: skip
NAMES: dict[str, tuple[str, ...]] = {
    "algorithm": tuple(USES),
    "model": ("mlp", "conv4"),
}


def names(kind: str) -> tuple[str, ...]:
    return NAMES.get(kind, ())


def component(registry: Any, name: str, base: Any) -> Any:
    kind = registry.kind
    attributes: dict[str, Any] = {"name": name, "title": name, "registry": registry}
    if kind == "algorithm":
        attributes["uses"] = USES[name]
    if kind == "model":
        attributes["default_for"] = frozenset({"regression" if name == "mlp" else "classification"})
        attributes["uses"] = frozenset(
            {"model.hidden"} if name == "mlp" else {"model.filters", "model.downsample", "model.features"}
        )
    return type(name.capitalize(), (base,), attributes)
