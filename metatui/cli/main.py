"""Main entry point of the `metatui` command. It converts errors to exit codes, and opens the app by default."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import TextIO

import click

import metatui
from metatui.cli.console.encoding import replace_unencodable, use_characters_of_terminal
from metatui.cli.options import examples, runs_dir_option, set_option
from metatui.utils.errors import MetatuiError, did_you_mean, quote
from metatui.utils.text import sanitize

FAILED, BAD_INPUT, INTERRUPTED = 1, 2, 130
"""Exit codes after a failure, after invalid input, and after an interruption."""

COMMANDS = {
    "run": "Train with a preset or a TOML file, without the app.",
    "tour": "Take a tour of the app in eight steps.",
    "attach": "Open the app and show a run that is training.",
    "stop": "Stop and save a run that is training in another process.",
    "rerun": "Repeat a run with the same settings, seed and live changes.",
    "evaluate": "Evaluate a saved run on held-out tasks.",
    "predict": "Adapt a saved run to your own examples, and predict the labels or targets of new examples.",
    "compare": "Compare runs on identical held-out tasks.",
    "report": "Write a report of one or more runs as HTML or Markdown.",
    "suite": "Train a list of runs and compare them.",
    "runs": "List, export or delete saved runs.",
    "presets": "List, show, save and delete presets.",
    "explain": "Explain an algorithm with pseudo-code for the given settings.",
    "settings": "List the settings with defaults, allowed values and meanings.",
    "keys": "List the actions of the app, with their keys.",
    "data": "List, download and pack data sets.",
    "plugin": "Print an example plugin: a model, an algorithm or a data set.",
    "check": "Check the meta-gradients of every algorithm and engine.",
    "bench": "Measure the training speed of every engine on this machine.",
    "doctor": "Show versions, devices, data sets and file locations.",
    "completion": "Print the completion script for bash, zsh or fish.",
}


MODULES = {"report": "compare", "explain": "reference", "settings": "reference"}
"""Module names of the commands whose module is not named after the command."""


class LazyGroup(click.Group):
    """A click group that imports the module of a command only when the command is used."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module = import_module(f"metatui.cli.commands.{MODULES.get(cmd_name, cmd_name)}")
        command: click.Command = getattr(module, cmd_name)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


def _select_plugins(context: click.Context, parameter: click.Parameter, files: tuple[str, ...]) -> tuple[str, ...]:
    """Select the files given with --plugin before click looks up the command.

    Shell completion also calls this function.
    """
    if files:
        from metatui.config.plugins import select_plugin_files

        select_plugin_files(files)
    return files


@click.group(
    cls=LazyGroup,
    invoke_without_command=True,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog=examples(
        "metatui # open the app",
        "metatui --preset quick --start # open the app and train with a preset",
        "metatui run quick # train without the app",
        "metatui compare latest~1 latest # compare the two newest runs",
    ),
)
@click.version_option(metatui.__version__, message="metatui %(version)s")
@click.option(
    "--plugin",
    "plugins",
    multiple=True,
    type=click.Path(),
    metavar="FILE.py",
    callback=_select_plugins,
    help="Load an algorithm, a model or a data set from a Python file, for any command; may be repeated. "
    "'metatui plugin' prints an example.",
)
@click.option("--preset", metavar="PRESET|FILE", help="Load the settings of this preset or TOML file.")
@set_option
@click.option("--start", is_flag=True, help="Start training immediately.")
@runs_dir_option
@click.option("--ascii", "ascii_only", is_flag=True, help="Use ASCII characters only.")
@click.option("--theme", metavar="NAME", help="Colour theme of the app.")
@click.pass_context
def cli(
    context: click.Context,
    plugins: tuple[str, ...],
    preset: str | None,
    assignments: tuple[str, ...],
    start: bool,
    runs_dir: Path | None,
    ascii_only: bool,
    theme: str | None,
) -> int:
    """Train, watch and compare few-shot meta-learners (MAML, Reptile, ProtoNet and others) in the terminal.

    Without a command, metatui opens the app.
    """
    if context.invoked_subcommand is None:
        from metatui.cli.app import app_arguments, open_app

        return open_app(
            lambda: app_arguments(preset, assignments, start=start, runs_dir=runs_dir),
            ascii_only=ascii_only,
            theme=theme,
        )
    if preset or assignments or start or runs_dir or ascii_only or theme:
        raise click.UsageError(
            f"options before '{context.invoked_subcommand}' belong to the app: "
            "put the options of a command after its name"
        )
    if plugins and context.invoked_subcommand != "attach":  # the app loads them in its child process
        from metatui.config.plugins import load_plugins

        load_plugins()
    return 0


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return the exit code. An error is printed as one sentence on standard error."""
    use_characters_of_terminal()
    try:
        return _code(arguments)
    finally:
        for stream in (sys.stdout, sys.stderr):
            _flush(stream)


def _code(arguments: Sequence[str] | None) -> int:
    try:
        result = cli.main(args=arguments, prog_name="metatui", standalone_mode=False)
        if sys.stdout:  # None if it is closed
            sys.stdout.flush()
    except MetatuiError as error:
        return _fail(str(error), error.exit_code)
    except click.exceptions.NoSuchCommand as error:
        return _fail(_unknown("a command", error.command_name, error), BAD_INPUT)
    except click.exceptions.NoSuchOption as error:
        return _fail(_unknown("an option", error.option_name, error), BAD_INPUT)
    except click.MissingParameter as error:
        path = error.ctx.command_path if error.ctx else "metatui"
        return _fail(f"{error.format_message().rstrip('.')}: '{path} --help' shows examples", BAD_INPUT)
    except click.ClickException as error:
        return _fail(error.format_message(), BAD_INPUT)
    except (KeyboardInterrupt, click.Abort):
        return _fail("interrupted", INTERRUPTED)
    except BrokenPipeError:  # the process that reads the output has ended
        return FAILED
    except Exception as error:
        return _fail(_unwritable_output(error) or _out_of_memory(error) or _unexpected(error), FAILED)
    return result if isinstance(result, int) else 0


def _unknown(kind: str, name: str, error: click.UsageError) -> str:
    """Return a sentence about an unknown command or option, with the nearest known one."""
    context = error.ctx
    if context is None:
        return error.format_message()
    command = context.command
    otherwise = f"'{context.command_path} --help' lists them"
    if isinstance(command, click.Group) and kind == "a command":
        hint = did_you_mean(name, command.list_commands(context), otherwise, most=2)
    else:
        options = [word for parameter in command.get_params(context) for word in parameter.opts]
        hint = did_you_mean(name, options, otherwise)
    return f"{quote(name)} is not {kind} of {context.command_path}: {hint}"


def _flush(stream: TextIO | None) -> None:
    """Flush `stream`. On failure, redirect it to /dev/null, because otherwise Python would print an error at exit."""
    if stream is None:
        return
    try:
        stream.flush()
    except OSError:
        with contextlib.suppress(OSError, ValueError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
    except ValueError:  # closed
        pass


def _fail(sentence: str, code: int) -> int:
    with contextlib.suppress(OSError, ValueError):
        # Click replaces a stream in ASCII by one in UTF-8.
        text = replace_unencodable(sanitize(sentence, limit=2000), getattr(sys.stderr, "encoding", None) or "ascii")
        click.echo(f"metatui: {text}", err=True)
    return code


def _unwritable_output(error: Exception) -> str | None:
    """Return a sentence if click could not print a help text or the version, otherwise None.

    The functions in `metatui.cli.console.output`, which print all other output, raise MetatuiError themselves.
    """
    import traceback

    from metatui.utils.files import reason

    frames = traceback.walk_tb(error.__traceback__)
    if isinstance(error, OSError) and any(frame.f_code is click.echo.__code__ for frame, _ in frames):
        return f"standard output cannot be written: {reason(error)}"
    return None


def _out_of_memory(error: Exception) -> str | None:
    if "torch" not in sys.modules:  # nothing was computed
        return None
    from metatui.learning.hardware.memory import out_of_memory_sentence

    return out_of_memory_sentence(error)


def _unexpected(error: Exception) -> str:
    import traceback
    from datetime import UTC, datetime

    from metatui.config.plugins import plugin_failure
    from metatui.utils import paths
    from metatui.utils.logs import open_log

    what = plugin_failure(error) or f"internal error ({type(error).__name__})"
    title = f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ} metatui {metatui.__version__}, process {os.getpid()}\n"
    text = title + "".join(traceback.format_exception(error))
    is_logged = False
    with open_log() as (log, problem), contextlib.suppress(OSError):  # for example, because the disk is full
        data = text.encode(errors="backslashreplace")
        is_logged = log.write(data) == len(data) and not problem
    where = f"the traceback is in {paths.log_file()}" if is_logged else f"the log {paths.log_file()} cannot be written"
    return f"{what}; {where}"
