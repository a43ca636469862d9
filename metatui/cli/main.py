"""`metatui`: the app where no command is given, else a command. The one place that turns errors into exit codes."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TextIO

import click

import metatui
from metatui.cli.lazy import LazyGroup
from metatui.cli.options import runs_dir_option, set_option
from metatui.utils.errors import MetatuiError
from metatui.utils.text import sanitize

FAILED, BAD_INPUT, INTERRUPTED = 1, 2, 130
"""Exit codes; 0 is done."""

COMMANDS = {
    "run": "Train a preset, a TOML file or --set settings without the app.",
    "attach": "Follow a live run in the app.",
    "stop": "End a run that trains in another process, and save it.",
    "rerun": "Train a run once more, with every change at its meta-step.",
    "evaluate": "Adapt a saved run to held-out tasks.",
    "compare": "Compare runs on identical held-out tasks.",
    "report": "Write runs and how they compare to one page that stands alone.",
    "suite": "Train a list of runs, then compare them.",
    "runs": "List the runs on disk, or export one as CSV.",
    "presets": "List, show, save and delete presets.",
    "explain": "Explain an algorithm with its pseudo-code, the settings put in.",
    "settings": "Show every setting: its default, what is allowed, what it means.",
    "data": "Fetch and check data sets.",
    "check": "Prove the meta-gradients against finite differences and higher.",
    "bench": "Measure how fast every engine trains on this machine.",
    "doctor": "Show versions, devices, data, terminal and where files are.",
    "completion": "Print shell completion for bash, zsh or fish.",
}


@click.group(
    cls=LazyGroup,
    package="metatui.cli.commands",
    summaries=COMMANDS,
    invoke_without_command=True,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.version_option(metatui.__version__, message="metatui %(version)s")
@click.option("--preset", metavar="PRESET|FILE", help="Open the app with these settings.")
@set_option
@click.option("--start", is_flag=True, help="Start training at once.")
@runs_dir_option
@click.option("--ascii", "ascii_only", is_flag=True, help="Draw with ASCII only.")
@click.option("--theme", metavar="NAME", help="Colour theme of the app.")
@click.pass_context
def cli(
    context: click.Context,
    preset: str | None,
    assignments: tuple[str, ...],
    start: bool,
    runs_dir: Path | None,
    ascii_only: bool,
    theme: str | None,
) -> int:
    """The terminal laboratory for gradient-based meta-learning: MAML, FOMAML and Reptile.

    Without a command, metatui opens the app.
    """
    if context.invoked_subcommand is None:
        from metatui.cli.app import open_app

        return open_app(preset, assignments, start=start, runs_dir=runs_dir, ascii_only=ascii_only, theme=theme)
    if preset or assignments or start or runs_dir or ascii_only or theme:
        raise click.UsageError(
            f"options before '{context.invoked_subcommand}' are the app's: give the command's own after it"
        )
    return 0


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line and returns the exit code. Errors become one sentence on standard error."""
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(AttributeError, ValueError):
            stream.reconfigure(errors="replace")  # type: ignore[union-attr]
    try:
        return _code(arguments)
    finally:
        for stream in (sys.stdout, sys.stderr):
            _flush(stream)


def _code(arguments: Sequence[str] | None) -> int:
    try:
        result = cli.main(args=arguments, prog_name="metatui", standalone_mode=False)
        if sys.stdout:  # which a closed one is not
            sys.stdout.flush()
    except MetatuiError as error:
        return _say(str(error), error.exit_code)
    except click.exceptions.NoArgsIsHelpError as error:
        return _say(f"{error.ctx.command_path} needs a command: see {error.ctx.command_path} --help", BAD_INPUT)
    except click.ClickException as error:
        return _say(error.format_message(), BAD_INPUT)
    except (KeyboardInterrupt, click.Abort):
        return _say("interrupted", INTERRUPTED)
    except BrokenPipeError:  # whoever read us has gone
        return FAILED
    except Exception as error:
        return _say(_out_of_memory(error) or _unexpected(error), FAILED)
    return result if isinstance(result, int) else 0


def _flush(stream: TextIO | None) -> None:
    """Where `stream` takes no more it leads nowhere from here on: Python would complain once more when it flushes at
    exit, and end with a code of its own."""
    if stream is None:  # it was closed before we began
        return
    try:
        stream.flush()
    except OSError:
        with contextlib.suppress(OSError, ValueError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
    except ValueError:  # closed
        pass


def _say(sentence: str, code: int) -> int:
    with contextlib.suppress(OSError, ValueError):
        click.echo(f"metatui: {sanitize(sentence, limit=2000)}", err=True)
    return code


def _out_of_memory(error: Exception) -> str | None:
    if "torch" not in sys.modules:  # nothing has been computed
        return None
    from metatui.learning.hardware.memory import out_of_memory_sentence

    return out_of_memory_sentence(error)


def _unexpected(error: Exception) -> str:
    import traceback
    from datetime import UTC, datetime

    from metatui.utils import paths

    what = f"an error in metatui itself ({type(error).__name__})"
    log = paths.log_file()
    try:
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("a", encoding="utf-8", errors="backslashreplace") as file:
            file.write(f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ} metatui {metatui.__version__}\n")
            file.write("".join(traceback.format_exception(error)))
    except OSError:
        return f"{what}, and its log {log} cannot be written"
    return f"{what}: its traceback is in {log}"
