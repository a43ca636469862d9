"""Tests of `python -m tests.structure` on a small package."""

from __future__ import annotations

import ast

from tests.structure import code_lines, docstrings, imports, package_cycles, packages, sample, sources, strings, table

FILES = {
    "metatui/__init__.py": '"""The package."""\n',
    "metatui/a/__init__.py": "",
    "metatui/a/one.py": '"""What is here."""\nfrom metatui.b import two\nX = 1\n"""Of one."""\n',
    "metatui/b/__init__.py": "",
    "metatui/b/two.py": (
        "import metatui.a.one\n\n\ndef long() -> str:\n    name = 'x'\n    return f'the {name} of a run'\n"
    ),
    "README.md": "# metatui\n",
}
TREES = {path: ast.parse(text) for path, text in FILES.items() if path.endswith(".py")}


def test_package_entries() -> None:
    assert packages(list(TREES)) == {"metatui": {"a", "b"}, "metatui/a": {"one.py"}, "metatui/b": {"two.py"}}


def test_cycle_between_packages() -> None:
    graph = imports(TREES)
    assert graph["metatui.a.one"] == {"metatui.b.two"}
    assert package_cycles(graph) == [("metatui.a", "metatui.b")]


def test_imports_for_type_checking_make_no_cycle() -> None:
    text = "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import metatui.a.one\n"
    graph = imports({**TREES, "metatui/b/two.py": ast.parse(text)})
    assert graph["metatui.b.two"] == set()
    assert package_cycles(graph) == []


def test_docstrings_and_strings() -> None:
    assert [doc.text for doc in docstrings(TREES)] == ["The package.", "What is here.", "Of one."]
    assert [text.text for text in strings(TREES)] == ["the {} of a run"]


def test_lines_of_code() -> None:
    text = '"""Doc\nstring."""\n\n# A comment.\nx = (\n    1,\n    2,\n)\ny = """a\nb"""\n'
    assert code_lines(ast.parse(text)) == 6


def test_table() -> None:
    rows = dict(line.strip("| ").split(" | ", 1) for line in table(FILES).splitlines() if " | " in line)
    assert rows["modules"] == "5"
    assert rows["longest function"] == "metatui/b/two.py:long: 3 lines"
    assert rows['docstrings that begin with "What"'] == "1"
    assert rows["docstrings that begin with a preposition"] == "1"


def test_samples_repeat() -> None:
    assert sample(FILES, 2, seed=1) == sample(FILES, 2, seed=1)
    assert len({sample(FILES, 2, seed=seed) for seed in range(10)}) > 1
    assert len(sample(FILES, 2, seed=1).splitlines()) == 5


def test_the_whole_package_is_read() -> None:
    assert {"README.md", "metatui/__init__.py"} <= set(sources(None))
