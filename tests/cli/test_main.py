"""Tests of the command line as a whole: help, examples, suggestions and completion."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

import metatui
from metatui.cli import main
from metatui.cli.main import cli
from metatui.cli.options import apply_settings
from metatui.config import presets
from metatui.config.settings import Settings
from metatui.runs.storage.store import RunStore
from metatui.utils import paths

Capture = pytest.CaptureFixture[str]


@pytest.fixture(autouse=True)
def own_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("METATUI_RUNS", str(tmp_path / "runs"))
    monkeypatch.setattr(paths, "user_presets_dir", lambda: tmp_path / "presets")


def commands(command: click.Command = cli, *names: str) -> Iterator[tuple[str, ...]]:
    """Yield the words of every command: `()`, `("run",)`, ..., `("runs", "export")`."""
    yield names
    if isinstance(command, click.Group):
        context = click.Context(command)
        for name in command.list_commands(context):
            found = command.get_command(context, name)
            assert found
            yield from commands(found, *names, name)


def parsed(words: list[str]) -> dict[str, object]:
    """Parse a command line without running it, and return the values of all its options and arguments."""
    context = cli.make_context("metatui", list(words))
    values = dict(context.params)
    while isinstance(context.command, click.Group) and (rest := [*context._protected_args, *context.args]):
        name, command, rest = context.command.resolve_command(context, rest)
        assert command
        context = command.make_context(name, rest, parent=context)
        values |= context.params
    return values


def test_help_and_examples_of_every_command(capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    for words in commands():
        assert main([*words, "--help"]) == 0
        text = capsys.readouterr().out
        path = " ".join(("metatui", *words))
        assert text.startswith(f"Usage: {path} ")
        assert max(map(len, text.splitlines())) <= 80, path
        assert "...\n" not in text.partition("Commands:\n")[2], f"a summary in {path} is cut"
        shown = text.partition("Examples:\n")[2].splitlines()
        assert shown, f"{path} has no examples"
        for line in shown:
            example = re.findall(r"metatui(?: [^)>#]*)?", line.partition(" #")[0])[0]
            assert example.strip().startswith(path), line
            values = parsed(shlex.split(example)[1:])
            apply_settings(Settings(), values.get("assignments") or ())  # type: ignore[arg-type]
            if isinstance(preset := values.get("preset"), str) and not preset.endswith(".toml"):
                presets.load(preset)


def test_version_is_printed(capsys: Capture) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"metatui {metatui.__version__}\n"


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ("runz", "'runz' is not a command of metatui: did you mean run or runs?"),
        ("eval x", "'eval' is not a command of metatui: did you mean evaluate?"),
        ("xyzzy", "'xyzzy' is not a command of metatui: 'metatui --help' lists them"),
        ("presets shwo", "'shwo' is not a command of metatui presets: did you mean show?"),
        ("data omniglt", "'omniglt' is not a command of metatui data: did you mean omniglot?"),
        ("run --sett x", "'--sett' is not an option of metatui run: did you mean --set?"),
        ("--presett x", "'--presett' is not an option of metatui: did you mean --preset?"),
        ("run -x", "'-x' is not an option of metatui run: 'metatui run --help' lists them"),
        ("evaluate", "Missing argument 'RUN': 'metatui evaluate --help' shows examples"),
        ("run quik", "'quik' is neither a preset nor a TOML file: did you mean quick?"),
        ("run quick --set training.sed=1", "'training.sed' is not a setting: did you mean training.seed?"),
        ("explain MAML", "or loaded with --plugin FILE.py: did you mean maml?"),
        ("run quick --set compute.engine=bached", "higher, compiled: did you mean batched?"),
        ("evaluate latest", "there is no run 'latest': 'RUNS' has 0 runs"),
        *(
            (f"{option} runs", "options before 'runs' belong to the app: put the options of a command after its name")
            for option in ("--preset quick", "--set x", "--start", "--runs-dir x", "--ascii", "--theme x")
        ),
    ],
)
def test_wrong_words_are_answered_with_the_nearest(
    arguments: str, sentence: str, tmp_path: Path, capsys: Capture
) -> None:
    assert main(arguments.split()) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.endswith(sentence.replace("RUNS", str(tmp_path / "runs")) + "\n")
    assert err.count("\n") == 1


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_script(capsys: Capture, shell: str) -> None:
    assert main(["completion", shell]) == 0
    assert "_METATUI_COMPLETE" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("metatui ru", ["run", "runs"]),
        ("metatui runs l", ["list"]),
        *((f"metatui {command} qui", ["quick"]) for command in ("run", "suite", "presets save x --from")),
        *((f"metatui {command} no-such", ["file,no-such"]) for command in ("run", "suite")),
        ("metatui explain proto_", ["proto_maml"]),
        ("metatui run --set task.sh", ["task.shots=", "task.shots_range="]),
        ("metatui run --resume lat", ["latest"]),
        *((f"metatui {command} l", ["latest"]) for command in ("attach", "compare", "evaluate", "predict", "report",
                                                                "rerun", "stop", "runs export",
                                                                "presets save x --from")),
        ("metatui presets save x --from maml-s", ["maml-sinusoid-1"]),
    ],
)  # fmt: skip
def test_completed_words(
    words: str, expected: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    RunStore(tmp_path / "runs").create(Settings()).path.rename(tmp_path / "runs" / "maml-sinusoid-1")
    monkeypatch.setenv("_METATUI_COMPLETE", "bash_complete")
    monkeypatch.setenv("COMP_WORDS", words)
    monkeypatch.setenv("COMP_CWORD", str(len(words.split()) - 1))
    with pytest.raises(SystemExit):
        main([])
    assert [line.removeprefix("plain,") for line in capsys.readouterr().out.splitlines()] == expected


@pytest.mark.parametrize("variables", [{"LC_ALL": "C"}, {"TERM": "dumb", "LC_ALL": "C.UTF-8"}], ids=["C", "dumb"])
@pytest.mark.parametrize(
    ("words", "code"), [("presets", 0), ("runs", 0), ("explain imaml", 0), ("settings", 0), ("runs no-such-run-é", 2)]
)
def test_output_in_ascii_where_the_terminal_shows_only_ascii(
    capsys: Capture, monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], words: str, code: int
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert main(words.split()) == code
    shown = capsys.readouterr()
    assert (shown.out + shown.err).isascii()
    assert "\x1b" not in shown.out + shown.err
    assert "?" not in shown.out + shown.err, "every character has a substitute"
