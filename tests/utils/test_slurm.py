"""Tests of the variables of a Slurm job."""

from __future__ import annotations

import os

import pytest

from metatui.utils import slurm


@pytest.fixture(autouse=True)
def outside_slurm(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("SLURM_")]:
        monkeypatch.delenv(name)


@pytest.mark.parametrize("job", [None, ""])
def test_variables_without_a_job_are_ignored(job: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLURM_CLUSTER_NAME", "cluster")
    if job is not None:
        monkeypatch.setenv("SLURM_JOB_ID", job)
    assert slurm.job() == {}


def test_variables_of_a_job_are_recorded(monkeypatch: pytest.MonkeyPatch) -> None:
    given = {
        "SLURM_JOB_ID": "7", "SLURM_ARRAY_JOB_ID": "5", "SLURM_ARRAY_TASK_ID": "2", "SLURM_PROCID": "0",
        "SLURM_RESTART_COUNT": "1", "SLURM_JOB_PARTITION": "gpu", "SLURM_CLUSTER_NAME": "c" * 201,
    }  # fmt: skip
    for name, value in {**given, "SLURM_CONF": "/etc/slurm.conf"}.items():
        monkeypatch.setenv(name, value)
    assert slurm.job() == given | {"SLURM_CLUSTER_NAME": "c" * 200}
