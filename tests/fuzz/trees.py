"""Random changes to parsed JSON that keep it valid JSON."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from random import Random
from typing import Any

from tests.fuzz.values import anything

Place = tuple[Any, Any]
"""A place in a JSON value: a list or dict, and an index or key in it."""


def mutated(tree: Any, rng: Random) -> Any:
    """Return a copy of `tree` with one to three random changes."""
    tree = copy.deepcopy(tree)
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        places = list(_places(tree))
        if not places:
            return anything(rng)
        parent, key = rng.choice(places)
        _change(parent, key, rng, rng.choice(places))
    return tree


def text(tree: Any) -> str:
    """Format `tree` as JSON, even if its depth or numbers exceed the limits of the standard library."""
    try:
        return json.dumps(tree)
    except (RecursionError, ValueError):
        pieces: list[str] = []
        _write(tree, pieces)
        return "".join(pieces)


def _change(parent: Any, key: Any, rng: Random, other: Place) -> None:
    match rng.randrange(8):
        case 0:
            del parent[key]
        case 1 if isinstance(parent, dict):
            parent[str(anything(rng))[:100]] = anything(rng)
        case 2 if isinstance(parent, list):
            parent.insert(key, anything(rng))
        case 3 if isinstance(parent, list):
            parent += [copy.deepcopy(parent[key])] * rng.choice((1, 10, 1000))
        case 4:
            parent[key] = copy.deepcopy(other[0][other[1]]) if other[1] in _keys(other[0]) else None
        case 5:
            parent[key] = [parent[key]]
        case _:
            parent[key] = anything(rng)


def _places(tree: Any) -> Iterator[Place]:
    waiting = [tree]
    while waiting:
        node = waiting.pop()
        if isinstance(node, dict | list):
            for key in _keys(node):
                yield node, key
                waiting.append(node[key])


def _keys(node: Any) -> list[Any]:
    return list(node) if isinstance(node, dict) else list(range(len(node)))


def _write(tree: Any, pieces: list[str]) -> None:
    """Append `tree` to `pieces` as JSON, using a stack instead of recursion."""
    waiting: list[Any] = [tree]
    while waiting:
        node = waiting.pop()
        if isinstance(node, _Raw):
            pieces.append(node)
        elif isinstance(node, list):
            parts = [part for item in node for part in (item, _Raw(","))]
            waiting += [_Raw("]"), *reversed(parts[:-1]), _Raw("[")]
        elif isinstance(node, dict):
            parts = [part for key, item in node.items() for part in (_Raw(json.dumps(key) + ":"), item, _Raw(","))]
            waiting += [_Raw("}"), *reversed(parts[:-1]), _Raw("{")]
        elif isinstance(node, int) and not isinstance(node, bool) and abs(node) > 10**4000:
            pieces.append("9" * 5000)
        else:
            pieces.append(json.dumps(node))


class _Raw(str):
    """Text that is already formatted as JSON."""
