"""Engines: how inner loops and meta-gradients are computed. All agree; they differ in speed and memory."""

from metatui.learning.engines.any_module import meta_gradient
from metatui.learning.engines.base import Adaptation, Engine, MetaGradient, SecondOrder, meta_parameters
from metatui.learning.engines.registry import ENGINES, EngineName, make_engine, usual_engine

__all__ = [
    "ENGINES",
    "Adaptation",
    "Engine",
    "EngineName",
    "MetaGradient",
    "SecondOrder",
    "make_engine",
    "meta_gradient",
    "meta_parameters",
    "usual_engine",
]
