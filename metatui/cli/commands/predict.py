"""`metatui predict`: adapt a saved run to labelled examples, and predict the labels or targets of new examples."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from metatui.cli.commands.evaluate import batch_norm_option
from metatui.cli.console.layout import say
from metatui.cli.console.output import console, echo, emit, write_rows
from metatui.cli.console.progress import images_shown
from metatui.cli.options import (
    FilePath,
    complete_runs,
    examples,
    force_option,
    json_option,
    new_file,
    run_device_option,
    runs_dir_option,
    steps_option,
    to_option,
)
from metatui.runs.storage.store import RunStore
from metatui.utils.errors import BadInput, MetatuiError, quote
from metatui.utils.files import reason
from metatui.utils.text import format_count, sanitize

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from torch import Tensor

    from metatui.runs.analysis.metrics_csv import Row
    from metatui.runs.analysis.saved_model import LoadedModel

NAME_LENGTH = 4096
"""Maximum length of a path or of another name in the CSV output."""


@dataclass(frozen=True)
class Predictions:
    """Predictions for query examples."""

    steps: int
    """Number of inner steps of the adaptation."""
    about: Mapping[str, Any]
    """Names of the classes or of the targets, as in the JSON output."""
    items: Sequence[Mapping[str, Any]]
    """Query examples with their predictions, as in the JSON output."""
    rows: Sequence[Row]
    """Rows of the CSV output. The first row contains the names of the columns."""


@click.command(
    epilog=examples(
        "metatui predict latest --support flowers/labelled --query flowers/new",
        "metatui predict latest --support labelled --query a.png --query b.jpg",
        "metatui predict latest --support known.csv --query new.csv --to result.csv",
    )
)
@click.argument("run", shell_complete=complete_runs)
@click.option(
    "--support", type=FilePath(), metavar="FOLDER|FILE", required=True,
    help="Labelled examples of one task: a folder with one folder of PNG or JPEG images for each class, or a table "
    "that has the input and target columns of the run's table and whose rows all belong to one task.",
)  # fmt: skip
@click.option(
    "--query", "queries", type=FilePath(), metavar="FOLDER|FILE", required=True, multiple=True,
    help="Examples to predict: an image or a folder of images (may be repeated), or a table with the input "
    "columns of the run's table.",
)  # fmt: skip
@to_option
@force_option
@steps_option
@batch_norm_option
@run_device_option
@runs_dir_option
@json_option
def predict(
    run: str,
    support: Path,
    queries: tuple[Path, ...],
    to: str,
    force: bool,
    steps: int | None,
    batch_norm: str | None,
    device: str | None,
    runs_dir: Path | None,
    as_json: bool,
) -> None:
    """Adapt RUN to your own labelled examples, and write the predictions for new examples as CSV.

    RUN is the name of a run, the beginning of its name, its folder, or latest for the newest run. The run must have
    been trained on image files (task.source is folder or mixed) or on a table. For each image, the output has the
    predicted class and the probability of each class. For each row of a table, it has the inputs and the predicted
    targets. Tables are CSV or Parquet files. With --json, the CSV rows are written only if --to names a file.

    With transductive batch norm, the prediction for each query image depends on all query images. To predict each image
    on its own, use --batch-norm per_example.
    """
    folder = RunStore(runs_dir).find(run)
    path = new_file(to, force=force)

    from metatui.runs.analysis.saved_model import WITH_IMAGE_FILES, load_model

    with images_shown():
        model = load_model(folder, device=device)
    source = model.settings.task.source
    if source in WITH_IMAGE_FILES:
        predictions = _predict_images(model, support, queries, steps=steps, batch_norm=batch_norm)
    elif model.data.inputs and model.data.outputs:
        predictions = _predict_rows(model, support, queries, steps=steps, batch_norm=batch_norm)
    else:
        raise BadInput(
            f"the run has task.source = {quote(source)}, but predict needs a run with images from a folder "
            f"({' or '.join(WITH_IMAGE_FILES)}) or with a table"
        )
    if path is not None or not as_json:
        write_rows(predictions.rows, path)
    if as_json:
        emit(
            {
                "run": folder.id,
                "checkpoint": model.checkpoint,
                "iteration": model.iteration,
                "steps": predictions.steps,
                **predictions.about,
                "predictions": predictions.items,
            }
        )
    if path is not None:
        say(console(stderr=as_json), f"Wrote {format_count(len(predictions.items), 'row')} to {path}")


# Images


def _predict_images(
    model: LoadedModel, support: Path, queries: Sequence[Path], *, steps: int | None, batch_norm: str | None
) -> Predictions:
    files_of = _classes(support)
    classes = list(files_of)
    _check_ways(model, support, len(classes))
    labels = [label for label, files in enumerate(files_of.values()) for _ in files]
    with _about("--support"):
        support_x = model.read_images([file for files in files_of.values() for file in files])
    files = list(_query_files(queries))
    with _about("--query"):
        query_x = model.read_images(files)
    adapted = model.adapt(support_x, labels, steps=steps, batch_norm=batch_norm)
    with _about("--query"):
        outputs = adapted(query_x)
    # If the run has a range of ways, the network may have more outputs than the task has classes.
    logits = _finite(outputs[:, : len(classes)])
    items = []
    rows: list[Row] = [["file", "predicted", *(_name(f"probability_{name}") for name in classes)]]
    for file, probabilities in zip(files, logits.double().softmax(1), strict=True):
        predicted, values = classes[int(probabilities.argmax())], probabilities.tolist()
        rows.append([_name(str(file)), _name(predicted), *map(_rounded, values)])
        items.append(
            {
                "file": str(file),
                "predicted": predicted,
                "probabilities": dict(zip(classes, values, strict=True)),
            }
        )
    return Predictions(adapted.steps, {"classes": classes}, items, rows)


def _classes(support: Path) -> dict[str, list[Path]]:
    """Return the images in each class folder of `support`, with the classes sorted by name.

    Raises:
        BadInput: if there are no class folders, or if one of them has no images.
    """
    name = f"--support is {quote(str(support), 200)}"
    allowed = "must be a folder that contains one folder of PNG or JPEG images for each class"
    if not os.path.isdir(support):
        raise BadInput(f"{name}, but {allowed}")
    entries = _visible(support, "--support")
    classes = {entry.name: _images_in(entry, "--support") for entry in entries if os.path.isdir(entry)}
    if not classes:
        raise BadInput(f"{name}, which contains no folders, but {allowed}")
    for folder, images in classes.items():
        if not images:
            problem = f"whose folder {quote(folder)} contains no PNG or JPEG images"
            raise BadInput(f"{name}, {problem}, but each class must have at least one")
    _note_left_out(support, entries, len(classes), "class folders")
    return classes


def _check_ways(model: LoadedModel, support: Path, ways: int) -> None:
    settings = model.settings
    at_most = "at most " if settings.task.ways_range else ""
    most = settings.most_ways if at_most else settings.task.ways
    if ways > most or (ways < most and not at_most):
        given = f"--support is {quote(str(support), 200)}, which contains {format_count(ways, 'class folder')}"
        raise BadInput(
            f"{given}, but must contain {at_most}{most}, the {'largest ' if at_most else ''}number of ways of the run"
        )


def _query_files(queries: Sequence[Path]) -> Iterator[Path]:
    for query in queries:
        _check_exists(query, "--query")
        if not os.path.isdir(query):
            yield query
            continue
        images = _images_in(query, "--query")
        if not images:
            allowed = "must be a PNG or JPEG image, or a folder that contains such images"
            raise BadInput(f"--query is {quote(str(query), 200)}, which is a folder without images, but {allowed}")
        yield from images


def _images_in(folder: Path, option: str) -> list[Path]:
    """Return the images directly in `folder`, sorted by name."""
    from metatui.learning.data.image_folder.scan import SUFFIXES

    entries = _visible(folder, option)
    images = [entry for entry in entries if entry.name.lower().endswith(SUFFIXES) and not entry.is_dir()]
    _note_left_out(folder, entries, len(images), f"{', '.join(SUFFIXES[:-1])} and {SUFFIXES[-1]} files")
    return images


def _visible(folder: Path, option: str) -> list[Path]:
    """Return the entries of `folder` that are not hidden, sorted by name."""
    try:
        entries = sorted(folder.iterdir())
    except OSError as error:
        raise BadInput(f"{option} is {quote(str(folder), 200)}, which cannot be read: {reason(error)}") from None
    return [entry for entry in entries if not entry.name.startswith(".") and entry.name != "__MACOSX"]


def _note_left_out(folder: Path, entries: Sequence[Path], used: int, what: str) -> None:
    """Print a note if only some of the `entries` of `folder` are used."""
    if 0 < used < len(entries):
        left_out = f"left out {len(entries) - used:,} of {len(entries):,} entries"
        echo(f"note: {_name(str(folder))}: {left_out}, because only {what} are read", err=True)


# Tables


def _predict_rows(
    model: LoadedModel, support: Path, queries: Sequence[Path], *, steps: int | None, batch_norm: str | None
) -> Predictions:
    assert model.data.inputs
    assert model.data.outputs
    inputs, targets = model.data.inputs.columns, model.data.outputs.columns
    if len(queries) > 1:
        raise BadInput(f"--query is given {len(queries)} times, but must be given once for a run with a table")
    known = _read_columns(support, (*inputs, *targets), "--support")
    query_x = _read_columns(queries[0], inputs, "--query")
    adapted = model.adapt(known[:, : len(inputs)], known[:, len(inputs) :], steps=steps, batch_norm=batch_norm)
    items = []
    rows: list[Row] = [[*map(_name, inputs), *(_name(f"predicted_{name}") for name in targets)]]
    for x, y in zip(query_x.tolist(), _finite(adapted(query_x)).tolist(), strict=True):
        rows.append([*map(_exact, x), *map(_rounded, y)])
        items.append({"inputs": dict(zip(inputs, x, strict=True)), "predicted": dict(zip(targets, y, strict=True))})
    return Predictions(adapted.steps, {"inputs": inputs, "targets": targets}, items, rows)


def _read_columns(file: Path, columns: Sequence[str], option: str) -> NDArray[np.float64]:
    from metatui.learning.data.table.reader import read_columns

    _check_exists(file, option)
    if os.path.isdir(file):
        needed = quote(", ".join(columns), 200)[1:-1]
        allowed = f"must be a CSV or Parquet file with the columns {needed}"
        raise BadInput(f"{option} is {quote(str(file), 200)}, which is a folder, but {allowed}")
    with _about(option):
        return read_columns(file, columns)


# Input and output


def _check_exists(path: Path, option: str) -> None:
    if not os.path.exists(path):
        raise BadInput(f"{option} is {quote(str(path), 200)}, but there is no such file or folder")


@contextmanager
def _about(option: str) -> Iterator[None]:
    """Context manager that puts `option` at the beginning of the messages of BadInput."""
    try:
        yield
    except BadInput as error:
        raise BadInput(f"{option}: {error}") from None


def _finite(outputs: Tensor) -> Tensor:
    """Return `outputs` if all of them are finite, otherwise raise MetatuiError."""
    lost = int((~outputs.isfinite()).any(1).sum())
    if lost:
        which = f"{lost:,} of {format_count(len(outputs), 'prediction')}"
        raise MetatuiError(f"{which} are not finite, because the adaptation diverged: lower --steps")
    return outputs


def _name(text: str) -> str:
    """Replace control characters in a name that was read from a file, for CSV output."""
    return sanitize(text, limit=NAME_LENGTH)


def _exact(value: float) -> str:
    """Format a value that was read from a table."""
    return repr(value).removesuffix(".0")


def _rounded(value: float) -> str:
    """Format a result of the network with all significant digits of float32."""
    return f"{value:.9g}"
