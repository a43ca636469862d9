"""An experiment on given tasks: what drawing them costs is the source's, not the engine's."""

from __future__ import annotations

from dataclasses import dataclass, fields

from metatui.learning.episodes import Episodes
from metatui.learning.experiment import Experiment, set_up
from metatui.settings import Settings


@dataclass(kw_only=True)
class GivenTasks(Experiment):
    """An experiment with the same training episodes in every meta-step."""

    given: Episodes

    def training_episodes(self, tasks: range) -> Episodes:
        return self.given


def set_up_given(settings: Settings) -> GivenTasks:
    """What `metatui.learning.experiment.set_up` gives, with the tasks of the first meta-step drawn. Raises BadInput."""
    experiment = set_up(settings)
    parts = {field.name: getattr(experiment, field.name) for field in fields(Experiment)}
    return GivenTasks(**parts, given=experiment.training_episodes(range(settings.algorithm.meta_batch)))
