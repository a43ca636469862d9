"""Compile a run's meta-gradient ahead of it: `python -m metatui.learning.warm`, the settings as JSON on standard input.

A process of its own, because a compiler at work in a thread of the trainer's process would hold Python's lock, and
because torch.compiler.is_compiling() is true for the whole process then, at which torch.optim.Adam computes its bias
corrections in float32: the run's numbers would depend on how long the compiler took. What is compiled here comes out of
torch's cache on disk when the run compiles it again.
"""

from __future__ import annotations

import json
import os
import sys

from metatui.knobs import parse
from metatui.learning.engines.compiled import CompiledEngine, CompileFailed
from metatui.learning.experiment import set_up
from metatui.learning.inner import inner_loop


def main() -> int:
    """0 where it is compiled; else 1, and a sentence on standard output."""
    os.nice(10)
    settings = parse(json.load(sys.stdin))
    experiment = set_up(settings)
    assert isinstance(experiment.engine, CompiledEngine)
    try:
        experiment.engine.prepare(
            experiment.theta(),
            experiment.training_episodes(range(settings.algorithm.meta_batch)),
            inner_loop(settings.algorithm),
            first_order=settings.algorithm.name == "fomaml",
        )
    except CompileFailed as failed:
        print(failed)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
