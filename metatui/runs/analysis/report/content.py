"""What a report says, section by section, before it is HTML or Markdown."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from metatui.config.fields import FIELDS, text_of
from metatui.runs.analysis.comparison import tables
from metatui.runs.analysis.comparison.formatting import note_on_seeds, protocol_words
from metatui.runs.analysis.comparison.labels import TITLES
from metatui.runs.analysis.comparison.shared_protocol import listed
from metatui.runs.analysis.comparison.tables import NONE, TextTable
from metatui.runs.analysis.comparison.values import Comparison
from metatui.runs.analysis.exports import svg
from metatui.runs.analysis.report.provenance import environment, journal


@dataclass(frozen=True)
class Sentences:
    """Each a point of its own."""

    said: tuple[str, ...]


@dataclass(frozen=True)
class Pictures:
    """Beside each other where there is room."""

    panels: tuple[svg.Panel, ...]
    legend: bool = True
    """Whether the runs have their names beside the pictures and not in them."""


Block = str | Sentences | Pictures | TextTable


@dataclass(frozen=True)
class Section:
    title: str
    blocks: tuple[Block, ...]


@dataclass(frozen=True)
class Report:
    title: str
    summary: str
    warnings: tuple[str, ...]
    labels: tuple[str, ...]
    """Of the runs, in the order of the curves' colours."""
    sections: tuple[Section, ...]


def report(comparison: Comparison) -> Report:
    """Everything that is known of the runs in `comparison`; also of one run alone."""
    runs = comparison.runs
    algorithms = listed(list(dict.fromkeys(TITLES[run.settings.algorithm.name] for run in runs)))
    sections = (
        *_measured(comparison),
        Section("Settings", tuple(_settings(comparison))),
        Section("Environment", (environment(runs),)),
        Section("Journal", tuple(journal(runs))),
    )
    return Report(
        title=f"{algorithms} on {comparison.protocol.source}",
        summary=f"{protocol_words(comparison)}; intervals are 95 %",
        warnings=comparison.warnings,
        labels=tuple(run.label for run in runs),
        sections=tuple(section for section in sections if section.blocks),
    )


def _measured(comparison: Comparison) -> Iterable[Section]:
    first = comparison.conclusions
    others = [verdict for verdict in comparison.verdicts if verdict not in first]
    yield Section(
        "Result",
        (
            Pictures((svg.result(comparison),), legend=False),
            tables.results(comparison),
            *_sentences(first),
            *_given(note_on_seeds(comparison)),
        ),
    )
    yield Section("Adaptation", (*_pictures(svg.adaptation(comparison)), tables.adaptation(comparison)))
    curves = [svg.training(comparison, against=against) for against in svg.AGAINST]
    yield Section(
        "Training",
        (
            *_pictures(*curves, svg.validation(comparison)),
            *_given(tables.validations(comparison)),
            *_given(tables.to_target(comparison)),
        ),
    )
    timed = svg.time(comparison)
    times = (Pictures((timed,), legend=False),) if timed else ()
    yield Section("Costs", (*times, tables.costs(comparison)))
    yield Section("Pairs", (*_given(tables.paired(comparison)), *_sentences(others)))
    yield Section("Protocol", (_protocol(comparison),))


def _sentences(said: Sequence[str]) -> tuple[Sentences, ...]:
    return (Sentences(tuple(f"{sentence}." for sentence in said)),) if said else ()


def _pictures(*panels: svg.Panel | None) -> tuple[Pictures, ...]:
    shown = tuple(panel for panel in panels if panel is not None)
    return (Pictures(shown),) if shown else ()


def _given(block: Block | None) -> tuple[Block, ...]:
    return () if block is None else (block,)


def _protocol(comparison: Comparison) -> TextTable:
    """How every run was measured, and where that is not what it was trained with."""
    from metatui.learning.evaluation.evaluate import DIVERGED

    protocol = comparison.protocol
    yes_or_no = {True: "yes", False: "no", None: None}
    ways = ", ".join(
        str(ways) for ways in sorted({run.evaluation.ways for run in comparison.runs if run.evaluation.ways})
    )
    told = {
        "source of tasks": protocol.source,
        "split": protocol.split,
        "tasks": f"{protocol.tasks:,}, the same for all that have the same ways and classes",
        "seed of the tasks": str(protocol.seed),
        "ways": ways or None,
        "shots": str(protocol.shots),
        "queries": str(protocol.queries),
        "inner steps": str(protocol.steps),
        "batch norm": protocol.batch_norm,
        "rotations as classes": yes_or_no[protocol.rotations],
        "parameters": "of the best validation, with the inner learning rate of that validation; each task starts from "
        "them",
        "tasks that diverged": "those whose loss after the last inner step is not finite"
        + ("" if comparison.metric == "accuracy" else f", or over {DIVERGED:,.0f} times that before adaptation")
        + "; they are counted, and means, intervals and tests are over the others",
        "intervals": "95 %, over tasks",
    }
    rows = tuple((name, value) for name, value in told.items() if value is not None)
    return TextTable("How all runs were measured", ("of the protocol", "is"), rows, names=2)


def _settings(comparison: Comparison) -> Iterable[Block]:
    """Those that matter: first what sets the runs apart, then what they share."""
    runs = comparison.runs
    apart: list[tuple[str, list[str]]] = []
    shared: list[tuple[str, list[str]]] = []
    for path, knob in FIELDS.items():
        having = [knob.is_relevant(run.settings) for run in runs]
        said = [text_of(run.settings.value(path)) if has else NONE for run, has in zip(runs, having, strict=True)]
        if any(having):
            (apart if len(set(said)) > 1 else shared).append((path, said))
    if apart:
        rows = tuple((run.label, *(said[i] for _, said in apart)) for i, run in enumerate(runs))
        yield TextTable("What sets the runs apart", ("run", *(path for path, _ in apart)), rows)
    rows = tuple((path, f"{said[0]} {FIELDS[path].unit}".strip(), FIELDS[path].help) for path, said in shared)
    yield TextTable(
        "What all runs have" if len(runs) > 1 else "The run", ("setting", "value", "meaning"), rows, names=3
    )
