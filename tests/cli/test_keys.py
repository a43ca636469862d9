"""Tests of `metatui keys`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from metatui.cli.main import main


def test_keys_are_listed_with_those_of_the_user(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    file = tmp_path / "metatui" / "keymap.toml"
    file.parent.mkdir()
    file.write_text("start = 'ctrl+e'")
    assert main(["keys", "--json"]) == 0
    listed = json.loads(capsys.readouterr().out)
    assert listed["file"] == str(file)
    start = listed["actions"][0]
    assert (start["action"], start["keys"], start["default"]) == ("start", ["ctrl+e"], ["f5", "s"])
    file.unlink()
    assert main(["keys"]) == 0
    assert "f5,s" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("start = 'f6'", "f6 is a key of pause"),
        ("nonsense = 'f6'", "'nonsense' is not an action: 'metatui keys' lists the actions"),
        ("start = 'ctrl+e'\npause", "is not a TOML file"),
    ],
)
def test_default_keys_are_listed_if_the_file_is_invalid(
    text: str, error: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    file = tmp_path / "metatui" / "keymap.toml"
    file.parent.mkdir()
    file.write_text(text)
    assert main(["keys"]) == 2
    output = capsys.readouterr()
    assert "f5,s" in output.out
    assert error in output.err
    assert output.err.count("\n") == 1
    assert main(["keys", "--json"]) == 2
    assert json.loads(capsys.readouterr().out)["actions"][0]["keys"] == ["f5", "s"]
