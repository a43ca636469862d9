"""Tests of the contrast of text and marks in all themes."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.color import Color as RichColor
from rich.segment import Segment
from rich.style import Style
from textual.color import Color
from textual.theme import BUILTIN_THEMES

from metatui.tui.app import MetatuiApp
from metatui.tui.colors import palette
from metatui.tui.colors.contrast import MARK, TEXT, ReadableFilter, contrast_ratio, least_ratio
from tests.tui.fakes import saved_run, wait_for_workers
from tests.tui.test_app import GLYPHS, Make

COLOURS = st.tuples(*[st.integers(0, 255)] * 3)


def filtered(text: str, colour: tuple[int, ...], background: tuple[int, ...]) -> float:
    """Apply `ReadableFilter` to coloured text, and return the resulting contrast ratio of text and background."""
    style = Style(color=RichColor.from_rgb(*colour), bgcolor=RichColor.from_rgb(*background))
    ((_, after, _),) = ReadableFilter().apply([Segment(text, style)], Color(0, 0, 0))
    return ratio_of(after)


def ratio_of(style: Style | None) -> float:
    assert style
    assert style.color
    assert style.bgcolor
    return contrast_ratio(Color(*style.color.get_truecolor()), Color(*style.bgcolor.get_truecolor()))


@given(COLOURS, COLOURS, st.sampled_from(["loss", "0.35", "─", "⣿", "✓ right"]))
def test_text_and_marks_have_contrast(colour: tuple[int, ...], background: tuple[int, ...], text: str) -> None:
    least = TEXT if text.isalnum() or " " in text or "." in text else MARK
    assert least_ratio(text) == least
    assert filtered(text, colour, background) >= least


def test_readable_colours_and_pixels_keep_their_colours() -> None:
    assert contrast_ratio(Color(0, 0, 0), Color(255, 255, 255)) == pytest.approx(21)
    assert filtered("loss", (255, 255, 255), (0, 0, 0)) == pytest.approx(21)
    assert filtered("▀", (10, 10, 10), (0, 0, 0)) < 1.1
    ansi = Segment("loss", Style(color="blue", bgcolor="black"))
    assert ReadableFilter().apply([ansi], Color(0, 0, 0)) == [ansi]


@pytest.mark.parametrize("theme", [name for name in BUILTIN_THEMES if not name.startswith("ansi")])
def test_marks_are_visible_in_every_theme(theme: str) -> None:
    """Check that the colours of curves have enough contrast in every theme, so that `ReadableFilter` keeps them.

    Changed colours might be hard to distinguish for people with a colour vision deficiency.
    """
    background = Color.parse(BUILTIN_THEMES[theme].to_color_system().generate()["background"])
    for name in palette.HUES:
        shade = Color.parse(palette.shade(name, BUILTIN_THEMES[theme].dark))
        assert contrast_ratio(shade, background) >= MARK, name


def unreadable(app: MetatuiApp) -> list[tuple[str, float]]:
    """Return the text and the symbols on the screen whose contrast is too low, each with its contrast ratio."""
    segments = [segment for strip in app.screen._compositor.render_strips() for segment in strip]
    return [
        (segment.text, ratio_of(segment.style))
        for segment in segments
        if segment.text.strip() and ratio_of(segment.style) < least_ratio(segment.text)
    ]


async def test_everything_on_the_screen_is_readable(make: Make, runs_dir: Path) -> None:
    saved_run(runs_dir, GLYPHS, name="maml-glyphs-20260102-000000", steps=40)
    app = make(GLYPHS)
    async with app.run_test(size=(120, 40), notifications=True) as pilot:
        await pilot.press("2", "enter")
        await wait_for_workers(app, pilot)
        for theme, key in (("textual-dark", "2"), ("textual-light", "1"), ("rose-pine-dawn", "f1")):
            app.theme = theme
            await pilot.press(key)
            app.notify("The run was not saved.", severity="error")
            await pilot.pause()
            assert unreadable(app) == []
