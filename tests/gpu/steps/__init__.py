"""The steps of `tests.gpu`, the most important first."""

from __future__ import annotations

from tests.gpu.runner import Planned
from tests.gpu.steps.computing import captures, check, episodes, machine
from tests.gpu.steps.measuring import evaluation, kernels, overhead, speed
from tests.gpu.steps.running import auto, learning, memory, resume, runs, second

STEPS = (
    Planned("machine", machine, 15),
    Planned("episodes", episodes, 20),
    Planned("check", check, 60),
    Planned("captures", captures, 45),
    Planned("runs", runs, 50),
    Planned("memory", memory, 30),
    Planned("second", second, 20),
    Planned("auto", auto, 30),
    Planned("resume", resume, 30),
    Planned("speed", speed, 90),
    Planned("kernels", kernels, 20),
    Planned("overhead", overhead, 30),
    Planned("evaluation", evaluation, 20),
    Planned("learning", learning, 60),
)
