"""Measure the structure of the code: `python -m tests.structure [COMMIT] [--sample N --seed S]`.

Prints a Markdown table of measurements of the package `metatui` in the working tree, or in COMMIT. With `--sample`,
prints N random user-facing strings and N random docstrings instead, so that somebody can judge how clear they are.
"""

from __future__ import annotations

import argparse
import ast
import io
import random
import re
import statistics
import subprocess
import tarfile
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parent.parent
PACKAGE = "metatui"
MANY_ENTRIES = 15
"""Number of entries above which the table lists a package."""
QUESTION = re.compile(r"(?:Who|Whose|Where|Whether|How)\b")
PREPOSITION = re.compile(
    r"(?:Of|By|With|From|For|In|On|At|To|Into|Through|Until|Beside|After|Before|Among|Under|Over)\b"
)
PROSE = re.compile(r"[A-Za-z]{2,}(?:[^\n]*\s){2}[^\n]*[A-Za-z]{2,}")
"""Matches strings of at least three words. Other strings are assumed to be names, keys or formats."""
STYLE = re.compile(r"\{[^{}]*:[^{}]*;|^CREATE TABLE|^SELECT |^INSERT ")
"""Matches style sheets and SQL, which do not count as text."""

Definition = ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True)
class Text:
    """A docstring or a string, with its location."""

    path: str
    line: int
    text: str


def sources(commit: str | None) -> dict[str, str]:
    """Return the texts of the README and of all Python files of the package, keyed by path.

    Args:
        commit: git revision, or None for the working tree.
    """
    if commit is None:
        paths = [*sorted((ROOT / PACKAGE).rglob("*.py")), ROOT / "README.md"]
        return {path.relative_to(ROOT).as_posix(): path.read_text(encoding="utf-8") for path in paths}
    command = ["git", "archive", commit, PACKAGE, "README.md"]
    archive = subprocess.run(command, cwd=ROOT, check=True, capture_output=True).stdout
    with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
        files = {member.name: tar.extractfile(member) for member in tar if member.isfile()}
        return {
            name: file.read().decode() for name, file in files.items() if file and name.endswith((".py", "README.md"))
        }


def code_lines(tree: ast.Module) -> int:
    """Count the lines of code, without blank lines, comments and docstrings."""
    docs = {line for node in ast.walk(tree) for text in _bare_strings(node) for line in _lines_of(text)}
    code = {line for node in ast.walk(tree) if isinstance(node, ast.expr | ast.stmt) for line in _ends_of(node)}
    return len(code - docs)


def _lines_of(node: ast.stmt) -> range:
    return range(node.lineno, (node.end_lineno or node.lineno) + 1)


def _ends_of(node: ast.expr | ast.stmt) -> tuple[int, ...]:
    """Return the numbers of the first and the last line of a node, or of all its lines if it is a string."""
    lines = range(node.lineno, (node.end_lineno or node.lineno) + 1)
    return tuple(lines) if isinstance(node, ast.Constant) else (lines[0], lines[-1])


def packages(paths: Sequence[str]) -> dict[str, set[str]]:
    """Return the names of the modules and subpackages in each package."""
    entries: dict[str, set[str]] = defaultdict(set)
    for path in paths:
        parts = path.split("/")
        for depth in range(1, len(parts)):
            if parts[depth] != "__init__.py":
                entries["/".join(parts[:depth])].add(parts[depth])
    return dict(entries)


def longest_function(trees: Mapping[str, ast.Module]) -> tuple[int, str]:
    """Return the number of lines of the longest function, and its name with the path of its file."""
    return max(
        ((node.end_lineno or node.lineno) - node.lineno + 1, f"{path}:{node.name}")
        for path, tree in trees.items()
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    )


def docstrings(trees: Mapping[str, ast.Module]) -> list[Text]:
    """Return the docstrings of all modules, classes, functions and attributes."""
    return [
        Text(path, statement.lineno, ast.literal_eval(statement.value))
        for path, tree in trees.items()
        for node in ast.walk(tree)
        for statement in _bare_strings(node)
    ]


def _bare_strings(node: ast.AST) -> Iterator[ast.Expr]:
    if isinstance(node, Definition):
        for statement in node.body:
            if (
                isinstance(statement, ast.Expr)
                and isinstance(statement.value, ast.Constant)
                and isinstance(statement.value.value, str)
            ):
                yield statement


def strings(trees: Mapping[str, ast.Module]) -> list[Text]:
    """Return all strings of at least three words that are not docstrings, such as messages, labels and help texts.

    In an f-string, `{}` replaces each value.
    """
    found = []
    for path, tree in trees.items():
        nodes = list(ast.walk(tree))
        others = {statement.value for node in nodes for statement in _bare_strings(node)}
        others |= {part for node in nodes if isinstance(node, ast.JoinedStr) for part in node.values}
        for node in nodes:
            if isinstance(node, ast.JoinedStr):
                parts = (part.value if isinstance(part, ast.Constant) else "{}" for part in node.values)
                text = "".join(map(str, parts))
            elif isinstance(node, ast.Constant) and isinstance(node.value, str) and node not in others:
                text = node.value
            else:
                continue
            if PROSE.search(text) and not STYLE.search(text):
                found.append(Text(path, node.lineno, text))
    return found


def imports(trees: Mapping[str, ast.Module]) -> dict[str, set[str]]:
    """Return the modules that each module imports. Only modules in `trees` are considered.

    Imports in functions count, but imports for type checking do not.
    """
    names = {path.removesuffix(".py").removesuffix("/__init__").replace("/", "."): path for path in trees}
    graph: dict[str, set[str]] = {}
    for name, path in names.items():
        graph[name] = set()
        for node in _walk_without_type_checking(trees[path]):
            if isinstance(node, ast.Import):
                targets = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                targets = [f"{node.module}.{alias.name}" for alias in node.names]
            else:
                continue
            for target in targets:
                module = target if target in names else target.rpartition(".")[0]
                if module in names and module != name:
                    graph[name].add(module)
    return graph


def _walk_without_type_checking(tree: ast.AST) -> Iterator[ast.AST]:
    if isinstance(tree, ast.If) and isinstance(tree.test, ast.Name) and tree.test.id == "TYPE_CHECKING":
        return
    yield tree
    for child in ast.iter_child_nodes(tree):
        yield from _walk_without_type_checking(child)


def package_cycles(graph: Mapping[str, set[str]]) -> list[tuple[str, str]]:
    """Return the pairs of sibling packages or modules that import each other, directly or through other modules."""
    reachable = {name: _reach(graph, name) for name in graph}
    ways = {
        siblings
        for source, targets in reachable.items()
        for target in targets
        if (siblings := _siblings(source, target)) is not None
    }
    return sorted((a, b) for a, b in ways if a < b and (b, a) in ways)


def _reach(graph: Mapping[str, set[str]], start: str) -> set[str]:
    seen: set[str] = set()
    waiting = [start]
    while waiting:
        for target in graph[waiting.pop()] - seen:
            seen.add(target)
            waiting.append(target)
    return seen


def _siblings(source: str, target: str) -> tuple[str, str] | None:
    """Return the packages or modules in the innermost common package that contain `source` and `target`.

    For example, `a.b.c` and `a.d` give `a.b` and `a.d`. If one module contains the other, the result is None.
    """
    a, b = source.split("."), target.split(".")
    common = next((i for i, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), None)
    return None if common is None else (".".join(a[: common + 1]), ".".join(b[: common + 1]))


def table(files: Mapping[str, str]) -> str:
    """Measure the structure of the code, and format the results as a Markdown table."""
    trees = {path: ast.parse(text) for path, text in files.items() if path.endswith(".py")}
    lines = {path: text.count("\n") for path, text in files.items() if path.endswith(".py")}
    entries = packages(list(trees))
    crowded = sorted((len(names), package) for package, names in entries.items() if len(names) > MANY_ENTRIES)
    loose = Counter(path.rpartition("/")[0] for path in trees if not path.endswith("__init__.py"))
    tops = [PACKAGE, *(f"{PACKAGE}/{name}" for name in sorted(entries[PACKAGE]) if "." not in name)]
    docs = docstrings(trees)
    graph = imports(trees)
    direct = [(a, b) for a in graph for b in graph[a] if a < b and a in graph[b]]
    length, function = longest_function(trees)
    rows = {
        "modules": f"{len(trees):,}",
        "lines": f"{sum(lines.values()):,}",
        "lines of code, without blanks, comments and docstrings": f"{sum(map(code_lines, trees.values())):,}",
        "median lines of a module": f"{statistics.median(lines.values()):g}",
        "modules of at most 40 lines": str(sum(count <= 40 for count in lines.values())),
        "longest module": "{1}: {0}".format(*max((count, path) for path, count in lines.items())),
        "longest function": f"{function}: {length} lines",
        f"packages with more than {MANY_ENTRIES} entries": _listed(f"{p} {n}" for n, p in reversed(crowded)),
        "loose modules at the root of": _listed(f"{top.rpartition('/')[2]} {loose[top]}" for top in tops),
        "modules that import each other": _listed(f"{a} and {b}" for a, b in direct),
        "pairs of packages or modules in a cycle": _listed(f"{a} and {b}" for a, b in package_cycles(graph)),
        "docstrings": f"{len(docs):,}",
        'docstrings that begin with "What"': str(sum(doc.text.startswith("What ") for doc in docs)),
        "docstrings that begin with a preposition": str(sum(bool(PREPOSITION.match(doc.text)) for doc in docs)),
        "docstrings that begin with whether, who, where or how": str(
            sum(bool(QUESTION.match(doc.text)) for doc in docs)
        ),
        "strings of at least three words": f"{len(strings(trees)):,}",
        "README lines": str(files["README.md"].count("\n")),
    }
    return "\n".join(["| measure | value |", "|---|---|", *(f"| {name} | {value} |" for name, value in rows.items())])


def _listed(items: Iterator[str]) -> str:
    every = list(items)
    return f"{len(every)}: {', '.join(every)}" if every else "0"


def sample(files: Mapping[str, str], count: int, seed: int) -> str:
    """Draw `count` strings and `count` docstrings at random, and list them with their locations."""
    trees = {path: ast.parse(text) for path, text in files.items() if path.endswith(".py")}
    chance = random.Random(seed)
    drawn = []
    for kind, texts in (("strings", strings(trees)), ("docstrings", docstrings(trees))):
        drawn.append(f"## {kind}")
        drawn += (
            f"{text.path}:{text.line}: {' '.join(text.text.split())}"
            for text in chance.sample(texts, min(count, len(texts)))
        )
    return "\n".join(drawn)


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m tests.structure", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("commit", nargs="?", help="git revision; the working tree if omitted")
    parser.add_argument("--sample", type=int, metavar="N", help="draw N strings and N docstrings")
    parser.add_argument("--seed", type=int, default=0, help="seed of the sample (0)")
    arguments = parser.parse_args()
    files = sources(arguments.commit)
    if arguments.sample:
        print(sample(files, arguments.sample, arguments.seed))
    else:
        print(table(files))


if __name__ == "__main__":
    main()
