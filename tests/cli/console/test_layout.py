"""Tests of the layout of sentences and tables: they fit the width, no word is broken, and no text is lost."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from metatui.cli import main
from metatui.cli.console.layout import column_widths, say, show_properties, show_table
from metatui.cli.console.output import UNLIMITED, console
from metatui.config.fields import FIELDS, text_of

Capture = pytest.CaptureFixture[str]

HEADINGS = ("setting", "default", "allowed", "live", "meaning")
ROWS = [(f.path, text_of(f.default), f.allowed, "yes" if f.live else "", f.help) for f in list(FIELDS.values())[:8]]
PATH = "/a/folder/with-a-long-name/that-does-not-fit/into/a-narrow/terminal/settings.toml"


def screen(width: int) -> Console:
    return Console(file=io.StringIO(), width=width, highlight=False)


def printed(on: Console) -> str:
    assert isinstance(on.file, io.StringIO)
    return on.file.getvalue()


@pytest.mark.parametrize("width", [40, 41, 59, 80, 100, 120, 200])
def test_tables_fit_without_breaking_words(width: int) -> None:
    on = screen(width)
    show_table(on, HEADINGS, ROWS)
    text = printed(on)
    assert max(map(len, text.splitlines())) <= width
    assert {word for row in ROWS for cell in row for word in cell.split()} <= set(text.split())


def test_columns_shrink_to_their_words() -> None:
    assert column_widths([("a", "some long words"), ("bb", "x")], 80) == [2, 15]
    assert column_widths([("name", "many words " * 9)], 30) == [4, 24]
    assert column_widths([("x" * 20, "many words " * 9)], 42) == [20, 20]
    assert column_widths([("x" * 20, "many words " * 9)], 41) is None  # 20 characters are the minimum for text
    assert column_widths([("x" * 50, "y")], 40) is None


def test_rows_of_a_narrow_table_are_lists() -> None:
    on = screen(40)
    show_table(
        on, ("a", "b", "difference", "p"), [("x" * 30, "y", "1.00 ± 0.10", "")], numbers=("difference",), names=2
    )
    assert printed(on) == f"{'x' * 30}, y\n    difference  1.00 ± 0.10\n"


def test_long_words_are_not_cut() -> None:
    on = screen(40)
    say(on, f"Saved as {PATH}", indent=2)
    show_properties(on, {"file": PATH, "none": None})
    assert printed(on) == f"  Saved as\n  {PATH}\nfile  {PATH}\n"


def test_characters_are_replaced_if_the_encoding_lacks_them() -> None:
    on = Console(file=io.TextIOWrapper(io.BytesIO(), encoding="ascii"), width=80)
    show_table(on, ("a − b",), [("1.0 ± 0.1",), ("φ = π",)], numbers=("a − b",))
    on.file.seek(0)
    assert on.file.read().split() == ["a", "-", "b", "-----------", "1.0", "+/-", "0.1", "phi", "=", "pi"]


def test_output_to_a_pipe_is_plain_and_not_wrapped(capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("COLUMNS", raising=False)
    assert console().width == UNLIMITED
    assert main(["data"]) == 0
    out = capsys.readouterr().out
    assert "\x1b" not in out
    assert len(out.splitlines()) == 2 + out.count("ready") + out.count("run metatui data")
    heads, rule, *rows = out.splitlines()
    assert len(rule) == max(map(len, rows))
    assert {row[heads.index("description") - 1] for row in rows} == {" "}
    assert main(["data", "list"]) == 0
    assert capsys.readouterr().out == out


def test_columns_are_not_padded_without_bounds_in_a_pipe() -> None:
    on = screen(UNLIMITED)
    rows = [("a", 1, "x" * 300, "meaning"), ("long name", 10, "short", "y" * 200)]
    show_table(on, ("setting", "n", "allowed", "meaning"), rows, numbers=("n",))
    assert printed(on).splitlines() == [
        f"setting     n  {'allowed':52}  meaning",
        "─" * 160,
        f"a           1  {'x' * 300}  meaning",
        f"long name  10  {'short':52}  {'y' * 200}",
    ]


def test_settings_are_selected_by_group_or_words(capsys: Capture) -> None:
    def names(*words: str) -> list[str]:
        assert main(["settings", *words]) == 0
        return [line.split()[0] for line in capsys.readouterr().out.splitlines()[2:]]

    assert names() == list(FIELDS)
    assert names("task") == [path for path, field in FIELDS.items() if field.group == "task"]
    assert names("Inner", "rate") == ["algorithm.inner_lr", "maml_plus_plus.learned_rates"]
    assert names("algorithm.inner_lr") == ["algorithm.inner_lr"]
    assert main(["settings", "nonsense"]) == 2
    assert capsys.readouterr().err.startswith("metatui: no setting matches 'nonsense': the groups are task, ")
