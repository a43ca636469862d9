"""Tests of metatui with unusual terminal input and environment variables."""

from __future__ import annotations

from pathlib import Path

from tests.terminal.conftest import Open
from tests.terminal.program import Program
from tests.terminal.screen import ENTER, LEAVE

NOT_UTF8 = (
    b"\xe9",  # an 8-bit meta key, or a Latin-1 paste
    b"caf\xe9 \xff\xfe",
    b"\x1b[M \xff\xff",  # an X10 mouse report beyond column 95
    b"\x1b[200~na\xefve\x1b[201~",
)
IMPOSSIBLE_SEQUENCES = (b"\x1b[2010200u", b"\x1b[0:9R", b"\x1b[3520482048200;u")


def test_invalid_input_is_ignored(open_program: Open) -> None:
    with open_program() as program:
        program.see("Settings", "F5 Start")
        for sent in (*NOT_UTF8, *IMPOSSIBLE_SEQUENCES):
            program.send(sent)
        program.press("f1")
        program.see("Help", "escape closes")
        program.press("escape")
        program.press("f10")
        assert program.wait() == 0


def test_replies_about_sixels_are_not_typed(open_program: Open) -> None:
    with open_program() as program:
        program.until(lambda: b"\x1b[16t\x1b[c" in program.emulator.sent, "a question after the first frame")
        program.see("preset quick", "F5 Start")
        program.tab_to("Shots (K)")
        program.send(b"\x1b[6;20;10t\x1b[?62;1;2;4;6;9;15;21;2")
        program.send(b"2;23;24;28;32;42;52c")
        program.until(lambda: b"\x1b[?1;3;256S" in program.emulator.sent, "a question about colours")
        program.send(b"\x1b[?1;0;256S")
        program.press("f1")
        program.see("Help", "escape closes")
        program.press("escape")
        program.see_gone("escape closes")
        program.see("preset quick", "Shots (K)             10")
        assert "changed" not in program.text
        program.press("f10")
        assert program.wait() == 0


def test_size_in_the_environment_is_ignored(open_program: Open) -> None:
    with open_program(size=(100, 30), COLUMNS="40", LINES="10") as program:
        program.until(lambda: "Quit" in program.keys, "the key bar in the last of 30 rows")
        program.resize(80, 24)
        program.until(lambda: "Quit" in program.keys, "the smaller size")
        program.press("f10")
        assert program.wait() == 0


def test_unwritable_log_is_reported_once(open_program: Open, tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.touch()
    with open_program(XDG_STATE_HOME=str(blocked)) as program:
        program.see("There is no log", "F5 Start")
        program.press("f10")
        assert program.wait() == 0
        before, _, rest = program.emulator.sent.partition(ENTER)
        after = rest.rpartition(LEAVE)[2]
        assert b"There is no log" not in before + after


def test_unknown_color_system_is_bad_input(home_environment: dict[str, str]) -> None:
    with Program(env=home_environment | {"TEXTUAL_COLOR_SYSTEM": "bogus"}) as program:
        assert program.wait() == 2
        assert "TEXTUAL_COLOR_SYSTEM is 'bogus', but must be one of auto, standard, 256" in program.joined_text
