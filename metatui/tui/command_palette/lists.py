"""Providers of commands that load presets, open runs and explain algorithms."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Sequence
from functools import partial

from metatui.config import presets
from metatui.config.registry import ALGORITHMS
from metatui.runs.storage.run_folder import RunFolder
from metatui.runs.storage.store import RunStore
from metatui.tui.command_palette.provider import NOT_NOW, Command, CommandProvider
from metatui.tui.keyboard.actions import BY_ID
from metatui.utils.errors import MetatuiError
from metatui.utils.text import sanitize


class PresetCommands(CommandProvider):
    """Provides a command for each preset. The preset files are not read, because reading all of them takes 0.2 s."""

    rank = 0.6

    async def commands(self) -> Sequence[Command]:
        refusal = BY_ID["start"].refusal_reason(self.metatui.context)
        return [
            Command(
                f"Load preset: {sanitize(name, limit=64)}",
                partial(self.app.call_later, self._load, name, refusal),
                f"{NOT_NOW}{refusal}" if refusal else "Put the preset into the form.",
                refused=bool(refusal),
            )
            for name in presets.names()
        ]

    def _load(self, name: str, refusal: str) -> None:
        app = self.metatui
        if refusal:
            app.notify(refusal, severity="warning")
            return
        try:
            app.presets.load_preset(presets.load(name))
        except MetatuiError as error:
            app.notify_error(error)


class ExplanationCommands(CommandProvider):
    """Provides a command for the explanation of each algorithm."""

    rank = 0.5

    async def commands(self) -> Sequence[Command]:
        explain, own = self.metatui.analysis.action_explain, self.metatui.form.assessment.settings
        return [
            Command(
                f"Explain: {algorithm.title}",
                partial(self.app.call_later, explain, algorithm.name),
                "Show the pseudo-code and the costs for the settings in the form."
                if own and own.algorithm.name == algorithm.name
                else "Show the pseudo-code and the costs for the task in the form and the algorithm's usual values.",
                words=algorithm.name,
            )
            for algorithm in ALGORITHMS.components()
        ]


class RunCommands(CommandProvider):
    """Provides a command for each run, newest first."""

    rank = 0.4

    async def commands(self) -> Sequence[Command]:
        runs = await asyncio.to_thread(RunStore(self.metatui.runs_dir).runs)
        return [
            Command(
                f"Open run: {run.id}",
                partial(self.app.call_later, self._open, run),
                "Show the run; follow it if it is training.",
            )
            for run in sorted(runs, key=_age, reverse=True)
        ]

    async def _open(self, run: RunFolder) -> None:
        await self.metatui.create_tabs()
        self.metatui.runs.open(run, live=await asyncio.to_thread(run.is_live))


def _age(run: RunFolder) -> tuple[str, str]:
    """Return the start time of a run, which is part of the run's name, as a sort key."""
    time = re.search(r"\d{8}-\d{6}", run.path.name)
    return time.group() if time else "", run.path.name
