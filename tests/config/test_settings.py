"""Tests of settings: their documentation, parsing, and error messages."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, TypeVar

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from metatui.config.fields import (
    FIELDS,
    change,
    find_field,
    fixed_reason,
    parse,
    parse_assignment,
    text_of,
    without_effect,
)
from metatui.config.settings import Settings
from metatui.learning.data.omniglot.splits import CHARACTERS
from metatui.utils.errors import Problem, SettingsError

T = TypeVar("T")

JUNK = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=20), st.lists(st.integers(), max_size=3),
    st.dictionaries(st.text(max_size=5), st.integers(), max_size=2),
)  # fmt: skip

WORDS = st.sampled_from([text_of(field.default) for field in FIELDS.values()]) | st.integers().map(str)


def tried(call: Callable[[], T]) -> tuple[T | None, tuple[Problem, ...]]:
    """Call `call` and catch a SettingsError.

    Returns:
        The result and an empty tuple if the call succeeds, otherwise None and the problems that the error lists.
    """
    try:
        return call(), ()
    except SettingsError as error:
        return None, error.problems


def problems_of(groups: dict[str, Any]) -> dict[str, str]:
    with pytest.raises(SettingsError) as caught:
        parse(groups)
    return {problem.field: problem.sentence for problem in caught.value.problems}


@pytest.mark.parametrize("path", FIELDS)
def test_every_field_is_documented(path: str) -> None:
    field = FIELDS[path]
    assert field.label
    assert field.help.endswith(".")
    assert field.allowed
    assert field.read(str(Settings().value(path)).strip("()")) == field.default == Settings().value(path)
    for condition, choices in field.when.items():
        assert choices <= set(FIELDS[condition].choices)


def test_live_settings() -> None:
    assert {path for path, field in FIELDS.items() if field.live} == {
        "algorithm.inner_lr",
        "algorithm.outer_lr",
        "algorithm.inner_steps",
        "algorithm.meta_batch",
        "training.iterations",
        "compute.tasks_at_once",
    }


def test_relevance_follows_conditions() -> None:
    sinusoid = Settings()
    omniglot = parse({"task": {"source": "omniglot", "shots": 1}})
    assert FIELDS["model.hidden"].is_relevant(sinusoid)
    assert not FIELDS["model.hidden"].is_relevant(omniglot)
    assert FIELDS["evaluation.batch_norm"].is_relevant(omniglot)
    assert not FIELDS["task.ways"].is_relevant(sinusoid)
    assert not FIELDS["algorithm.outer_lr"].is_relevant(parse({"algorithm": {"name": "scratch"}}))


@settings(max_examples=60)
@given(st.sampled_from(sorted(FIELDS)), JUNK)
def test_any_value_is_accepted_or_named(path: str, value: object) -> None:
    group, name = path.split(".")
    settings, problems = tried(lambda: parse({group: {name: value}}))
    if settings is not None:
        assert settings.value(path) == (tuple(value) if isinstance(value, list) else value)
    for problem in problems:
        assert problem.field in problem.sentence
        assert problem.sentence.isprintable()


@settings(max_examples=50)
@given(st.dictionaries(st.text(max_size=12), JUNK, max_size=3))
def test_any_tables_are_accepted_or_refused(groups: dict[str, Any]) -> None:
    settings, problems = tried(lambda: parse(groups))
    assert (settings is None) == bool(problems)
    assert all(problem.sentence.isprintable() for problem in problems)


@settings(max_examples=50)
@given(st.text(max_size=40) | st.tuples(st.sampled_from(sorted(FIELDS)), st.text(max_size=9) | WORDS).map("=".join))
def test_any_assignment_is_accepted_or_refused(text: str) -> None:
    found, problems = tried(lambda: parse_assignment(text))
    assert found is None or found[0] == text.partition("=")[0].strip()
    assert (found is None) == bool(problems)
    assert all(problem.sentence.isprintable() for problem in problems)


@pytest.mark.parametrize(
    ("groups", "field", "words"),
    [
        ({"task": {"wayz": 3}}, "task.wayz", "did you mean task.ways?"),
        ({"tsk": {}}, "tsk", "groups are task, model"),
        ({"change": []}, "change", "(in TOML files, also [preset] and [[changes]])"),
        ({"task": 3}, "task", "must be a table of settings"),
        ({"task": {"ways": 1}}, "task.ways", "is 1, but must be a whole number from 2 to 100"),
        ({"task": {"ways": 5.0}}, "task.ways", "is 5.0, but must be a whole number"),
        ({"training": {"seed": True}}, "training.seed", "is True, but must be a whole number"),
        ({"algorithm": {"inner_lr": math.nan}}, "algorithm.inner_lr", "is nan, but must be a number above 0"),
        ({"algorithm": {"inner_lr": math.inf}}, "algorithm.inner_lr", "is inf, but must be a number above 0"),
        ({"algorithm": {"name": "MAML"}}, "algorithm.name", "is 'MAML', but must be one of "),
        ({"compute": {"device": "gpu"}}, "compute.device", "is 'gpu', but must be auto, cpu, cuda"),
        ({"model": {"hidden": [40, 0]}}, "model.hidden", "from 1 to 4,096"),
        ({"model": {"hidden": []}}, "model.hidden", "one to eight whole numbers"),
        (
            {"task": {"folder": "images"}},
            "task.folder",
            "but must be the path of a folder; in TOML files and in Python, it must start with / or ~",
        ),
    ],
)
def test_invalid_values_are_named(groups: dict[str, Any], field: str, words: str) -> None:
    problems = problems_of(groups)
    assert list(problems) == [field]
    assert words in problems[field]


@pytest.mark.parametrize(
    ("groups", "field"),
    [
        ({"algorithm": {"name": "reptile", "inner_batch": 11}}, "algorithm.inner_batch"),
        ({"algorithm": {"outer_schedule": "linear", "outer_lr_final": 0.1}}, "algorithm.outer_lr_final"),
        ({"task": {"source": "folder"}}, "task.folder"),
        ({"task": {"source": "folder", "folder": "/images", "image_size": 15}}, "task.image_size"),
        ({"task": {"source": "omniglot", "shots": 6, "queries": 15}}, "task.shots"),
        ({"task": {"source": "omniglot", "shots": 1, "queries": 20}}, "task.queries"),
        (
            {"task": {"source": "omniglot", "shots": 1, "queries": 15}, "evaluation": {"shots": 6}},
            "evaluation.shots",
        ),
        (
            {
                "task": {"source": "omniglot", "shots": 1, "queries": 15},
                "algorithm": {"name": "reptile", "train_shots": 6},
            },
            "algorithm.train_shots",
        ),
        (
            {
                "algorithm": {"name": "reptile", "inner_optimizer": "adam"},
                "compute": {"engine": "higher"},
            },
            "compute.engine",
        ),
    ],
)
def test_violated_constraints_name_the_field(groups: dict[str, Any], field: str) -> None:
    assert list(problems_of(groups)) == [field]


def test_all_problems_are_reported_together() -> None:
    assert set(problems_of({"task": {"ways": 1, "shots": 0}, "training": {"seed": -1}})) == {
        "task.ways",
        "task.shots",
        "training.seed",
    }


def test_omniglot_splits_contain_all_characters() -> None:
    assert all(sum(parts.values()) == 1623 for parts in CHARACTERS.values())


def test_change_keeps_other_settings() -> None:
    changed = change(Settings(), {"algorithm.inner_lr": 0.5, "model.hidden": (8,)})
    assert changed.algorithm.inner_lr == 0.5
    assert changed.model.hidden == (8,)
    assert changed.task == Settings().task
    with pytest.raises(SettingsError, match=r"did you mean algorithm.inner_lr\?"):
        change(Settings(), {"algorithm.inner_rl": 0.5})


def test_settings_without_effect_are_named_with_the_reason() -> None:
    imaml = parse({"algorithm": {"name": "imaml"}})
    paths = ("algorithm.inner_lr", "algorithm.inner_optimizer", "algorithm.inner_clip", "task.ways")
    assert without_effect(imaml, paths) == [
        "algorithm.inner_optimizer, algorithm.inner_clip have no effect with algorithm.name=imaml",
        "task.ways has no effect with task.source=sinusoid",
    ]


def test_options_of_algorithms_are_suggested() -> None:
    with pytest.raises(SettingsError, match=r"did you mean maml_plus_plus.first_order or proto_maml.first_order\?"):
        find_field("algorithm.first_order")


def test_find_field_suggests_the_group() -> None:
    with pytest.raises(SettingsError, match=r"did you mean algorithm.meta_batch\?"):
        find_field("meta_batch")


@pytest.mark.parametrize("value", [0.012345678901234, 0.1 + 0.2, 1e-07, 5.0])
def test_numbers_survive_formatting(value: float) -> None:
    assert FIELDS["algorithm.inner_lr"].read(text_of(value)) == value


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("training.iterations=1,000", 1000),
        ("training.iterations= +12,345,678 ", 12_345_678),
        ("imaml.regularization=12,500.5", 12_500.5),
        ("algorithm.grad_clip=1,000", 1000.0),
        ("model.hidden=64,64", (64, 64)),
        ("model.hidden=1,000", (1, 0)),
    ],
)
def test_numbers_may_have_thousands_separators(text: str, value: object) -> None:
    assert parse_assignment(text)[1] == value


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("training.iterations", "1,00"),
        ("training.iterations", "1000,000"),
        ("training.iterations", ",000"),
        ("training.iterations", "1,000."),
        ("training.iterations", "1,000,"),
        ("training.iterations", "1,000.5"),
        ("algorithm.inner_lr", "0,005"),
        ("algorithm.inner_lr", "0.001,000"),
        ("algorithm.inner_lr", "0,5"),
    ],
)
def test_malformed_groups_of_digits_are_refused(path: str, text: str) -> None:
    with pytest.raises(SettingsError) as caught:
        FIELDS[path].read(text)
    assert str(caught.value).startswith(f"{path} is '{text}', but must be {FIELDS[path].allowed}")


def test_live_settings_without_effect_are_fixed() -> None:
    scratch = parse({"algorithm": {"name": "scratch"}})
    assert fixed_reason("algorithm.outer_lr", scratch) == "it has no effect with these settings"
    assert fixed_reason("algorithm.inner_lr", scratch) is None
    assert fixed_reason("algorithm.outer_lr", Settings()) is None
