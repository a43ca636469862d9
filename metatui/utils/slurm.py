"""The Slurm job that this process is part of, and the exit code with which such a job is queued again."""

from __future__ import annotations

import os

NAMES = (
    "SLURM_JOB_ID", "SLURM_JOB_NAME", "SLURM_ARRAY_JOB_ID", "SLURM_ARRAY_TASK_ID", "SLURM_PROCID",
    "SLURM_RESTART_COUNT", "SLURM_JOB_PARTITION", "SLURM_CLUSTER_NAME",
)  # fmt: skip
"""Environment variables that the journal records. A requeued job keeps its SLURM_JOB_ID."""

REQUEUE = 75
"""Exit code (EX_TEMPFAIL) if the run was saved and the same command can continue it."""


def job() -> dict[str, str]:
    """Return the variables in `NAMES` that are set; an empty dict outside a Slurm job."""
    if not os.environ.get("SLURM_JOB_ID"):
        return {}
    return {name: os.environ[name][:200] for name in NAMES if name in os.environ}
