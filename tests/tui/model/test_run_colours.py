"""Tests of the assignment of colours to runs."""

from __future__ import annotations

from metatui.tui.colors.palette import RUN_HUES
from metatui.tui.model.run_colours import RunColours


def test_runs_keep_their_colours() -> None:
    colours = RunColours()
    assert colours.known("a") is None
    first = colours.of(["a"])["a"]
    assert colours.of(["c", "b", "a"])["a"] == first == colours.known("a")
    assert len(set(colours.of("abcde").values())) == len(RUN_HUES)


def test_runs_shown_together_differ() -> None:
    colours = RunColours()
    for run in "abcdefgh":
        colours.of(run)
    assert colours.known("a") == colours.known("f")
    assert len(set(colours.of("afb").values())) == 3
    assert set(colours.of("abcdefgh")) == set("abcdefgh")


def test_a_run_without_a_name_has_the_colour_that_it_gets_with_its_name() -> None:
    colours = RunColours()
    colours.of(["a"])
    assert colours.of([""])[""] == colours.of(["b"])["b"]
