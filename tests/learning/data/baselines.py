"""A nearest-neighbour baseline for image tasks, which needs no training."""

from __future__ import annotations

import torch
from torch import Tensor

from metatui.learning.data.episodes import Episodes


def nearest_neighbour_accuracy(episodes: Episodes) -> Tensor:
    """Return the accuracy of a nearest-neighbour classifier in each episode [T].

    The classifier gives each query image the label of the nearest support image. The distance between two images is the
    Euclidean distance of their pixels.
    """
    distance = torch.cdist(episodes.query_x.flatten(2), episodes.support_x.flatten(2))
    predicted = episodes.support_y.gather(1, distance.argmin(2))
    return (predicted == episodes.query_y).to(torch.float32).mean(1)
