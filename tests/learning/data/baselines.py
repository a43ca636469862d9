"""A baseline that needs no learning."""

from __future__ import annotations

import torch
from torch import Tensor

from metatui.learning.data.episodes import Episodes


def nearest_neighbour_accuracy(episodes: Episodes) -> Tensor:
    """Return the query accuracy of each episode, [T], of labelling by the nearest support image in pixel space."""
    distance = torch.cdist(episodes.query_x.flatten(2), episodes.support_x.flatten(2))
    predicted = episodes.support_y.gather(1, distance.argmin(2))
    return (predicted == episodes.query_y).to(torch.float32).mean(1)
