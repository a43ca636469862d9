"""Tests of bad input: a command ends with exit code 2 and prints only one sentence, to standard error."""

from __future__ import annotations

import contextlib
import io
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import tomlkit
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from metatui.cli import main
from metatui.config import presets
from metatui.config.declarations import SettingField
from metatui.config.fields import FIELDS, change
from metatui.config.settings import Settings
from metatui.runs.storage.store import RunStore
from metatui.utils import paths
from metatui.utils.errors import SettingsError

text = st.text(st.characters(), max_size=30)
"""Strategy for text that may contain control characters, lone surrogates and markup."""

words = text.filter(lambda word: not word.startswith("-"))
"""Strategy for text that does not begin with a hyphen, so that it is not an option."""

no_preset = words.filter(lambda word: word not in presets.names())


def is_refused(field: SettingField, word: str) -> bool:
    try:
        change(Settings(), {field.path: field.read(word)})
    except SettingsError:
        return True
    return False


@st.composite
def bad_assignments(draw: st.DrawFn) -> str:
    field = FIELDS[draw(st.sampled_from(sorted(FIELDS)))]
    values = text | st.integers().map(str) | st.floats().map(str)
    return f"{field.path}={draw(values.filter(lambda word: is_refused(field, word)))}"


unknown_assignments = text.filter(lambda word: word.partition("=")[0].strip() not in FIELDS)

plain_values = (
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(exclude_categories=["Cs"]))
)
toml_values = st.recursive(
    plain_values.filter(lambda value: value is not None),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("abc_-. \n", max_size=5), inner, max_size=3),
    max_leaves=5,
)


@st.composite
def bad_tables(draw: st.DrawFn) -> bytes:
    """Draw a TOML file that contains an unknown setting or a value of the wrong type."""
    group = draw(st.sampled_from([*Settings.model_fields, "preset", "other"]))
    names = [path.split(".")[1] for path in FIELDS if path.startswith(f"{group}.")]
    if draw(st.booleans()) and names:
        name = draw(st.sampled_from(names))
        words = st.binary().map(lambda data: f"not {data!r}")
        value: Any = draw(st.dictionaries(st.text("abc", min_size=1), toml_values, max_size=2) | words)
    else:
        name, value = draw(st.text("abc_-. \n\x1b")), draw(toml_values)
    return tomlkit.dumps({group: {name: value}}).encode()


def is_toml(data: bytes) -> bool:
    try:
        tomllib.loads(data.decode())
    except (ValueError, RecursionError):
        return False
    return True


no_toml = st.binary(max_size=200).filter(lambda data: not is_toml(data))

calls = st.one_of(
    no_preset.map(lambda name: ["run", name]),
    no_preset.map(lambda name: ["presets", "show", name]),
    no_preset.map(lambda name: ["--preset", name]),
    words.map(lambda name: ["evaluate", name]),
    words.map(lambda name: ["run", "--resume", name]),
    words.filter(lambda name: not presets.NAME.fullmatch(name)).map(lambda name: ["presets", "save", name]),
    words.map(lambda name: ["presets", "delete", name]),
    words.map(lambda name: ["presets", name]).filter(lambda call: call[1] not in ("list", "path")),
    words.map(lambda name: [name]).filter(lambda call: call[0] not in ("runs", "presets", "check", "doctor", "data")),
    words.map(lambda name: ["completion", name]).filter(lambda call: call[1] not in ("bash", "zsh", "fish")),
    bad_assignments().map(lambda given: ["run", "quick", "--set", given]),
    bad_assignments().map(lambda given: ["--set", given]),
    unknown_assignments.map(lambda given: ["run", "quick", "--set", given]),
    text.filter(lambda word: is_refused(FIELDS["compute.device"], word)).map(
        lambda word: ["run", "quick", "--device", word]
    ),
    text.map(lambda word: ["evaluate", "x", "--tasks", f"{word}x"]),
    st.sampled_from(
        [["run"], ["evaluate"], ["run", "quick", "--resume", "x"], ["--start", "runs"], ["presets", "save"]]
    ),
)


@contextlib.contextmanager
def captured() -> Iterator[tuple[io.StringIO, io.StringIO]]:
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        yield out, err


def assert_refused(arguments: list[str]) -> str:
    with captured() as (out, err):
        code = main(arguments)
    assert code == 2
    assert out.getvalue() == ""
    message = err.getvalue()
    assert message.startswith("metatui: ")
    assert message.endswith("\n")
    assert message.count("\n") == 1
    assert message[:-1].isprintable()
    assert "Traceback" not in message
    return message


@pytest.fixture(scope="module", autouse=True)
def own_folders(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    folder = tmp_path_factory.mktemp("own")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("METATUI_RUNS", str(folder / "runs"))
        patch.setattr(paths, "user_presets_dir", lambda: folder / "presets")
        patch.setattr(paths, "log_file", lambda: folder / "metatui.log")
        yield
        assert not (folder / "metatui.log").exists()
        assert not (folder / "runs").exists()


@pytest.mark.parametrize("command", ["runs", "stop"])
def test_file_as_runs_dir_is_refused(command: str, tmp_path: Path) -> None:
    file = tmp_path / "runs"
    file.touch()
    message = assert_refused([command, "--runs-dir", str(file)])
    assert message == f"metatui: '{file}' is a file, but must be a folder\n"


@pytest.mark.parametrize(
    "arguments", [["runs", "--runs-dir", "x"], ["--plugin", "x.py", "runs"], ["data", "folder", "x"]]
)
def test_relative_path_in_a_deleted_folder_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str]
) -> None:
    folder = tmp_path / "deleted"
    folder.mkdir()
    monkeypatch.chdir(folder)
    folder.rmdir()
    assert_refused(arguments)


@settings(max_examples=200, deadline=None)
@given(arguments=calls)
@example(arguments=["run", "\0"])
@example(arguments=["run", ""])
@example(arguments=["run", "."])
@example(arguments=["run", "/dev/zero"])
@example(arguments=["run", "~nobody-of-this-name/x.toml"])
@example(arguments=["evaluate", "~nobody-of-this-name/x"])
@example(arguments=["runs", "--runs-dir", "~nobody-of-this-name"])
@example(arguments=["--plugin", "~nobody-of-this-name/x.py", "runs"])
@example(arguments=["runs", "--runs-dir", "x" * 300])
@example(arguments=["evaluate", "latest", "--runs-dir", "x" * 300])
@example(arguments=["run", "[bold]x[/bold].toml"])
@example(arguments=["run", "quick", "--seeds", "9" * 5000])
@example(arguments=["run", "quick", "--set", "training.seed=" + "9" * 5000])
@example(arguments=["run", "quick", "--set", "algorithm.inner_lr=nan"])
@example(arguments=["run", "quick", "--set", "task.source=omniglot", "--set", "task.shots=15"])
@example(
    arguments=["run", "quick", "--set", "task.source=omniglot", "--set", "task.ways=100", "--set", "task.shots=20"]
)
@example(arguments=["run", "quick", "--resume", "x\x1b]0;title\x07"])
@example(arguments=["presets", "--json", "list"])
@example(arguments=["\x1b[31m"])
def test_bad_arguments_are_refused(arguments: list[str]) -> None:
    assert_refused(arguments)


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(data=no_toml | bad_tables())
@example(data=b"x = " + b"[" * 10_000)
@example(data=b"\xef\xbb\xbf\x00")
@example(data=b"[task]\nsource = 1e400")
@example(data=b"[task]\nshots = 1979-05-27T07:32:00Z")
@example(data=b"[compute]\ndevice = 'cuda:9999'")
def test_bad_preset_files_are_refused(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    path = tmp_path_factory.mktemp("files") / "settings.toml"
    path.write_bytes(data)
    for arguments in (
        ["run", str(path)],
        ["presets", "show", str(path), "--json"],
        ["presets", "save", "x", "--from", str(path)],
    ):
        assert "settings.toml" in assert_refused(arguments)


@pytest.mark.parametrize("name", ["last.safetensors", "settings.toml"])
@pytest.mark.parametrize("data", [b"\x00" * 64, b"\xff" * 64, b"[" * 9000], ids=["zeros", "ones", "brackets"])
def test_bad_run_folders_are_refused(tmp_path: Path, name: str, data: bytes) -> None:
    run = RunStore(tmp_path).create(Settings())
    run.checkpoints_path.mkdir()
    (run.path if name == "settings.toml" else run.checkpoints_path).joinpath(name).write_bytes(data)
    assert name in assert_refused(["evaluate", str(run.path)])
    assert name in assert_refused(["run", "--resume", str(run.path), "--json"])
    with captured() as (out, err):
        assert main(["runs", "--runs-dir", str(tmp_path), "--json"]) == 0
    assert err.getvalue() == ""
    assert run.id in out.getvalue()
