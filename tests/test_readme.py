"""The README says what the program does."""

from __future__ import annotations

import re

from metatui.cli.main import COMMANDS
from metatui.config import presets
from metatui.config.fields import FIELDS
from tests.readme import README, with_tables

TEXT = README.read_text(encoding="utf-8")


def test_its_tables_are_the_programs() -> None:
    assert with_tables(TEXT) == TEXT, "python -m tests.readme makes them anew"


def test_its_pictures_are_there() -> None:
    pictures = re.findall(r"!\[.*?\]\((.*?)\)", TEXT)
    assert pictures
    assert [p for p in pictures if not (README.parent / p).is_file()] == []


def test_the_commands_it_names_exist() -> None:
    blocks = re.findall(r"```sh\n(.*?)```", TEXT, re.DOTALL)
    named = set(re.findall(r"(?:^|; )metatui ([a-z]+)", "\n".join(blocks), re.MULTILINE))
    assert named
    assert named <= set(COMMANDS)


def test_the_presets_and_settings_it_names_exist() -> None:
    known = {preset.name for preset in presets.bundled()}
    for name in re.findall(r"metatui run ([a-z0-9]+-[a-z0-9-]+)", TEXT):
        assert name in known
    for path in re.findall(r"--set ([a-z_]+\.[a-z_]+)=", TEXT):
        assert path == "group.key" or path in FIELDS
