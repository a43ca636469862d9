"""Meta-steps with learn2learn (Arnold et al. 2020) for the benchmark, written like the examples of that library."""

from __future__ import annotations

import warnings
from copy import deepcopy

import torch

from metatui.learning.data.downloads import torchvision_datasets
from tests.benchmarks.side import Side, UnavailableError, parameters_of, synchronize
from tests.benchmarks.works import Work

INSTALL_HINT = (
    "learn2learn is left out because it cannot be imported: pip no longer installs 0.2.0. Unpack its sdist, delete "
    "learn2learn/data/*.c, `pip install 'Cython>3' 'setuptools<80' gym tqdm requests`, run `python setup.py build_ext "
    "--inplace` there, and put the folder on PYTHONPATH."
)


def learn2learn_side(work: Work) -> Side:
    """Prepare the meta-steps of MAML or FOMAML with `l2l.algorithms.MAML`."""
    try:
        torchvision_datasets()  # learn2learn imports torchvision, which requires a workaround with a CPU build of torch
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            import learn2learn as l2l  # type: ignore[import-not-found]
    except ImportError as error:
        raise UnavailableError(INSTALL_HINT) from error
    model, tasks, loss_fn = deepcopy(work.model), work.tasks, work.loss
    maml = l2l.algorithms.MAML(model, lr=work.algorithm.inner_lr, first_order=work.first_order)
    outer = torch.optim.Adam(model.parameters(), lr=work.algorithm.outer_lr)

    def step() -> None:
        outer.zero_grad()
        for support_x, support_y, query_x, query_y in tasks:
            learner = maml.clone()
            for _ in range(work.algorithm.inner_steps):
                learner.adapt(loss_fn(learner(support_x), support_y))
            (loss_fn(learner(query_x), query_y) / len(tasks)).backward()  # type: ignore[no-untyped-call]
        outer.step()
        synchronize(work.device)

    return Side("learn2learn", step, parameters_of(model))
