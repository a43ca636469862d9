"""Tests that the README files match the program: tables, links, commands, presets and settings."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

import pytest

from metatui.cli.main import COMMANDS
from metatui.config import presets
from metatui.config.fields import FIELDS
from tests.readme import README, ROOT, documents, table_names, tables, with_tables

DOCUMENTS = {str(path.relative_to(ROOT)): path.read_text(encoding="utf-8") for path in documents()}
ALL_TEXT = "\n".join(DOCUMENTS.values())
MAX_README_LINES = 200
LINK = re.compile(r"\]\(([^)#\s]*)(#[^)\s]*)?\)")


@pytest.fixture(scope="module")
def generated() -> Mapping[str, str]:
    return tables()


@pytest.mark.parametrize("name", DOCUMENTS)
def test_generated_tables_are_current(name: str, generated: Mapping[str, str]) -> None:
    text = DOCUMENTS[name]
    assert with_tables(text, generated) == text, "update them with: python -m tests.readme"


def test_each_table_is_in_one_document(generated: Mapping[str, str]) -> None:
    placed = [name for text in DOCUMENTS.values() for name in table_names(text)]
    assert sorted(placed) == sorted(generated)


@pytest.mark.parametrize("text", ["<!-- a -->\n", "<!-- /a -->\n", "<!-- a -->\n<!-- /b -->\n"])
def test_unpaired_markers_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match="unpaired markers"):
        table_names(text)


def test_tables_are_replaced() -> None:
    assert with_tables("x\n<!-- a -->\nold\n<!-- /a -->\ny\n", {"a": "new"}) == "x\n<!-- a -->\nnew\n<!-- /a -->\ny\n"


@pytest.mark.parametrize("name", DOCUMENTS)
def test_links_and_pictures_exist(name: str) -> None:
    links = [target for target, _ in LINK.findall(DOCUMENTS[name]) if target and "://" not in target]
    folder = (ROOT / name).parent
    assert [target for target in links if not (folder / target).exists()] == []


def test_readme_has_a_picture_and_links() -> None:
    text = README.read_text(encoding="utf-8")
    assert re.search(r"^!\[.+\]\(.+\.svg\)$", text, re.MULTILINE)
    assert len(LINK.findall(text)) > 5
    assert text.count("\n") <= MAX_README_LINES


def test_sections_linked_in_the_readme_exist() -> None:
    text = README.read_text(encoding="utf-8")
    anchors = {anchor.removeprefix("#") for target, anchor in LINK.findall(text) if anchor and not target}
    headings = {heading.lower().replace(" ", "-") for heading in re.findall(r"^#+ (.+)$", text, re.MULTILINE)}
    assert anchors
    assert anchors <= headings


def test_commands_exist() -> None:
    blocks = re.findall(r"```sh\n(.*?)```", ALL_TEXT, re.DOTALL)
    commands = set(re.findall(r"(?:^|; )metatui ([a-z]+)", "\n".join(blocks), re.MULTILINE))
    commands |= set(re.findall(r"`metatui ([a-z]+)", ALL_TEXT))
    assert len(commands) > 10
    assert commands <= set(COMMANDS)


def test_presets_exist() -> None:
    names = set(re.findall(r"metatui run ([a-z0-9]+-[a-z0-9-]+)", ALL_TEXT))
    assert len(names) > 3
    assert names <= {preset.name for preset in presets.bundled()}


def test_settings_exist() -> None:
    paths = set(re.findall(r"--set ([a-z_]+\.[a-z_]+)=", ALL_TEXT))
    groups = "|".join({path.partition(".")[0] for path in FIELDS})
    # `evaluation.json` and `checkpoint.py` are files.
    paths |= set(re.findall(rf"`((?:{groups})\.(?!json|jsonl|py|toml)[a-z_]+)[ =`]", ALL_TEXT))
    assert len(paths) > 10
    assert paths - {"group.key", "sign_maml.scale"} <= set(FIELDS)  # a placeholder, and the option of an example


def test_modules_and_files_exist() -> None:
    """Check every path and module in backticks, so that the README files are updated when modules and files move."""
    paths = set(re.findall(r"`((?:metatui|tests|presets)/[\w./-]+?)(?:::\w+)?`", ALL_TEXT))
    modules = set(re.findall(r"(?:-m |`)(tests(?:\.\w+)+)\b", ALL_TEXT))
    assert paths
    assert modules
    missing = [path for path in sorted(paths) if "NAME" not in path and not _is_tracked(ROOT / path)]
    missing += [name for name in sorted(modules) if not _exists(name)]
    assert missing == []


def _is_tracked(path: Path) -> bool:
    """Return whether `path` is a file, or a folder that contains files other than bytecode.

    When git removes the modules of a folder, bytecode and therefore the folder may remain.
    """
    return path.is_file() or any(p.is_file() for p in path.glob("*") if p.suffix != ".pyc")


def _exists(name: str) -> bool:
    """Return whether `name` is a module or package, or a name that occurs in one."""
    path = ROOT / name.replace(".", "/")
    if path.is_dir() or path.with_suffix(".py").is_file():
        return True
    parent = path.parent / "__init__.py" if path.parent.is_dir() else path.parent.with_suffix(".py")
    return parent.is_file() and re.search(rf"\b{path.name}\b", parent.read_text(encoding="utf-8")) is not None
