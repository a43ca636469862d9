"""An experiment on given tasks: what drawing them costs is the source's, not the engine's."""

from __future__ import annotations

from dataclasses import dataclass, fields

from metatui.config.settings import Settings
from metatui.learning.data.episodes import Episodes
from metatui.learning.training.experiment import Experiment, set_up


@dataclass(kw_only=True)
class FixedTaskExperiment(Experiment):
    """An experiment with the same training episodes in every meta-step."""

    given: Episodes

    def training_episodes(self, tasks: range) -> Episodes:
        return self.given


def set_up_given(settings: Settings) -> FixedTaskExperiment:
    """Set up an experiment whose first meta-batch is drawn once and used for every meta-step. Raises BadInput."""
    experiment = set_up(settings)
    parts = {field.name: getattr(experiment, field.name) for field in fields(Experiment)}
    return FixedTaskExperiment(**parts, given=experiment.training_episodes(range(settings.algorithm.meta_batch)))
