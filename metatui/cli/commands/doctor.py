"""`metatui doctor`: show information about the installation and the machine."""

from __future__ import annotations

import os
import platform
import shutil
import sys
from collections.abc import Iterator, Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from tempfile import TemporaryFile
from typing import TYPE_CHECKING, Any

import click
from rich.console import Console

import metatui
from metatui.cli.console.layout import say, show_properties, title
from metatui.cli.console.output import console, emit
from metatui.cli.options import examples, json_option, runs_dir_option
from metatui.config import presets
from metatui.config.plugins import exclude_conflicts
from metatui.config.registry import REGISTRIES
from metatui.utils import paths
from metatui.utils.errors import BadInput, quote
from metatui.utils.files import reason
from metatui.utils.processors import usable_cores

if TYPE_CHECKING:
    from metatui.learning.hardware.nvml import Gpu

LIBRARIES = (
    "torch",
    "torchvision",
    "higher",
    "textual",
    "rich",
    "plotext",
    "numpy",
    "scipy",
    "safetensors",
    "pydantic",
    "matplotlib",
)


LABELS = {
    "metatui": "metatui",
    "python": "Python",
    "system": "System",
    "cuda": "CUDA",
    "device": "Device",
    "title": "Name",
    "memory_bytes": "Memory",
    "torch_cuda": "CUDA version of torch",
    "architectures": "GPU architectures supported by torch",
    "driver_cuda": "CUDA version of the driver",
    "gpus": "GPUs",
    "omniglot": "Omniglot is packed",
    "omniglot_path": "Omniglot file",
    "omniglot_bytes": "Omniglot size",
    "threads": "CPU threads",
    "processors": "Logical processors",
    "usable_cores": "CPU cores available to runs",
    "environment": "Environment variables",
    "is_terminal": "Output is a terminal",
    "pictures": "Display of photographs",
    "tmux": "tmux",
    "ssh": "SSH",
}
"""Labels of report keys. All other keys are capitalized, except for the names of libraries."""

VARIABLES = (
    "METATUI_RUNS",
    "METATUI_PLUGINS",
    "XDG_CONFIG_HOME",
    "XDG_DATA_HOME",
    "XDG_CACHE_HOME",
    "XDG_STATE_HOME",
    "CUDA_VISIBLE_DEVICES",
)
"""Environment variables that change where metatui keeps its files, or which plugins and GPUs it finds."""


@click.command(
    epilog=examples(
        "metatui doctor",
        "metatui doctor --json # for a bug report",
    )
)
@runs_dir_option
@json_option
def doctor(runs_dir: Path | None, as_json: bool) -> None:
    """Show versions, devices, data sets, plugins, terminal features, environment variables and file locations."""
    screen = console()
    report: dict[str, Any] = {
        "versions": _versions(),
        "devices": _devices(),
        "threads": {"processors": os.cpu_count(), "usable_cores": usable_cores()},
        "cuda": _cuda(),
        "compilers": _compilers(),
        "data": _data(),
        "plugins": _plugins(),
        "terminal": _terminal(screen),
        "environment": {name: os.environ.get(name) for name in VARIABLES},
        "files": _files(runs_dir),
    }
    report["problems"] = _problems(report, runs_dir)
    if as_json:
        emit(report)
        return
    device = report["devices"][0]
    problems = report.pop("problems")
    say(screen, f"metatui {metatui.__version__} trains on {device['device']} ({device['title']})")
    say(screen, *(f"problem: {problem}" for problem in problems) if problems else ("No problems found",))
    if not any(report["cuda"].values()):
        report["cuda"] = {"cuda": "not available: there is no NVIDIA driver, and torch was built without CUDA"}
    for name, file in report["files"].items():
        report["files"][name] = file if os.path.exists(file) else f"{file} (does not exist yet)"
    for name, items in report.items():
        for item in items if isinstance(items, list) else filter(None, [items]):
            title(screen, _label(name))
            show_properties(screen, {_label(key): _text(key, value) for key, value in item.items()})


def _problems(report: Mapping[str, Any], runs_dir: Path | None) -> list[str]:
    """Return a sentence for each part of metatui that cannot be used here."""
    missing = [name for name in LIBRARIES if report["versions"][name] is None]
    compilers = {engine: found for engine, found in report["compilers"].items() if not found}
    return [
        *(f"{name} is not installed: install metatui again" for name in missing),
        *(f"there is no compiler for {engine}" for engine in compilers),
        *filter(None, [report["cuda"]["problem"]]),
        *dict.fromkeys(problem for problem in map(_refusal, _written(runs_dir)) if problem),
        *_ignored_files(),
    ]


def _written(runs_dir: Path | None) -> list[Path]:
    """Return the folders to which metatui writes."""
    files = (paths.omniglot_cache(), paths.summaries_file(), paths.app_state_file(), paths.log_file())
    return list(dict.fromkeys([paths.runs_dir(runs_dir), *(path.parent for path in files)]))


def _refusal(folder: Path) -> str | None:
    """Return the reason why files cannot be created in `folder`, or None if they can. The folder need not exist."""
    found = next((path for path in (folder, *folder.parents) if os.path.lexists(path)), folder)
    name = quote(str(found), 200)
    if not os.path.isdir(found):
        return f"metatui cannot write to {quote(str(folder), 200)}, because {name} is not a folder"
    try:
        with TemporaryFile(dir=found):
            return None
    except OSError as error:
        return f"{name} cannot be written: {reason(error)}"


def _ignored_files() -> Iterator[str]:
    """Check the preferences file and the keymap file. Yields an error message for each file that the app cannot use."""
    from metatui.tui import preferences  # imported here, because it imports Textual
    from metatui.tui.keyboard import keymap

    for load in (preferences.load, keymap.load):
        try:
            load()
        except BadInput as error:
            yield str(error)


def _versions() -> dict[str, str | None]:
    versions: dict[str, str | None] = {"metatui": metatui.__version__, "python": platform.python_version()}
    for name in LIBRARIES:
        try:
            versions[name] = version(name)
        except PackageNotFoundError:
            versions[name] = None
    return {**versions, "system": platform.platform()}


def _devices() -> list[dict[str, Any]]:
    from metatui.learning.hardware.devices import available

    return [{"device": d.name, "title": d.title, "memory_bytes": d.memory_bytes} for d in available()]


def _cuda() -> dict[str, Any]:
    from metatui.learning.hardware.cuda import cuda_status, is_built_for

    status = cuda_status()

    def described(gpu: Gpu) -> str:
        if gpu.capability is None:
            return gpu.name
        capability = f"compute capability {gpu.capability[0]}.{gpu.capability[1]}"
        missing = status.architectures and not is_built_for(gpu.capability, status.architectures)
        return f"{gpu.name}, {capability}{', which this build of torch does not support' if missing else ''}"

    return {
        "torch_cuda": status.build,
        "architectures": list(status.architectures),
        "driver": status.driver.version,
        "driver_cuda": status.driver.cuda and "{}.{}".format(*status.driver.cuda),
        "gpus": [described(gpu) for gpu in status.driver.gpus],
        "problem": status.problem,
    }


def _compilers() -> dict[str, Any]:
    from metatui.learning.engines.autotune import has_compiler
    from metatui.learning.engines.native.build import compiler

    return {"C (native engine)": compiler(), "C++ (compiled engine)": has_compiler()}


def _data() -> dict[str, Any]:
    packed = paths.omniglot_cache()
    exists = os.path.isfile(packed)
    size = packed.stat().st_size if exists else None
    return {"omniglot": exists, "omniglot_path": str(packed), "omniglot_bytes": size}


def _plugins() -> dict[str, str]:
    """Return the file of each plugin, or the reason why the plugin cannot be used."""
    exclude_conflicts()
    return {f"{each.kind} {name}": origin for each in REGISTRIES for name, origin in each.plugins().items()}


def _terminal(screen: Console) -> dict[str, Any]:
    encoding = (getattr(sys.stdout, "encoding", None) or "ascii").lower()
    try:
        "⣿▁█─±".encode(encoding)
        unicode = True
    except (UnicodeError, LookupError):
        unicode = False
    size = shutil.get_terminal_size()
    return {
        "is_terminal": screen.is_terminal,
        "TERM": os.environ.get("TERM"),
        "COLORTERM": os.environ.get("COLORTERM"),
        "colours": screen.color_system,
        "NO_COLOR": "NO_COLOR" in os.environ,
        "encoding": encoding,
        "unicode": unicode,
        "pictures": _pictures(screen),
        "columns": size.columns,
        "rows": size.lines,
        "tmux": "TMUX" in os.environ,
        "ssh": "SSH_CONNECTION" in os.environ,
    }


def _pictures(screen: Console) -> str:
    """Describe how the app draws photographs in this terminal."""
    if screen.color_system is None:
        return "in shades"
    from metatui.tui.terminal import kitty
    from metatui.tui.terminal.cursor_query import shows_sixels

    if kitty.is_supported(os.environ):
        return "with Kitty's graphics protocol"
    if screen.is_terminal and sys.stdin.isatty() and os.environ.get("TERM") != "dumb" and shows_sixels():
        return "as sixels"
    return "as coloured cells"


def _files(runs_dir: Path | None) -> dict[str, str]:
    return {
        "runs": str(paths.runs_dir(runs_dir)),
        "settings of the app": str(paths.app_state_file()),
        "own keys": str(paths.keymap_file()),
        "own presets": str(paths.user_presets_dir()),
        "bundled presets": str(presets.bundled_dir()),
        "data": str(paths.omniglot_cache().parent),
        "packed folders": str(paths.packed_folders_dir()),
        "downloads": str(paths.downloads_dir()),
        "compiled code": str(paths.compiled_dir()),
        "fastest engines": str(paths.measured_engines_file()),
        "summaries of runs": str(paths.summaries_file()),
        "log": str(paths.log_file()),
    }


def _label(key: str) -> str:
    return LABELS.get(key) or (key if key in LIBRARIES else key[0].upper() + key[1:])


def _text(key: str, value: object) -> object:
    if isinstance(value, list):
        return ", ".join(value) or "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if key.endswith("_bytes") and isinstance(value, int):
        from metatui.runs.analysis.comparison.formatting import memory

        return memory(value)
    if value is None:
        return "not set" if key in VARIABLES else "-"
    return value
