"""Tests of options: groups of settings that belong to a single algorithm, model or data set."""

from __future__ import annotations

import copy
import pickle
import tomllib
from pathlib import Path
from typing import Any, Literal

import pytest

from metatui.config.declarations import Group, Ints, setting
from metatui.config.fields import FIELDS, change, find_field, parse, parse_assignment
from metatui.config.registry import ALGORITHMS, Component, Names, add_components, used
from metatui.config.settings import Settings, common_fields
from metatui.config.toml import parse_tables, settings_toml
from metatui.learning.training.trainer_state import live_values
from metatui.utils.errors import BadInput, SettingsError


class Options(Group):
    """Options of the algorithm `Ridge`."""

    strength: float = setting(1.0, "Strength", "Strength of the penalty.", unit="nats", live=True, gt=0, le=10)
    norm: Literal["l1", "l2"] = setting("l2", "Norm", "Norm of the penalty.")
    layers: Ints = setting((1, 2), "Layers", "Layers with a penalty.")
    steps: int = setting(3, "Steps", "Solver steps.", when={"ridge.norm": frozenset({"l1"})}, ge=1)


class Ridge(Component):
    """An algorithm with options."""

    registry = ALGORITHMS
    name = "ridge"
    title = "Ridge regression"
    Options = Options
    uses = frozenset({"algorithm.inner_batch"})


@pytest.fixture(autouse=True)
def ridge(registries: None) -> None:
    add_components([Ridge])


def problems_of(groups: dict[str, Any]) -> dict[str, str]:
    with pytest.raises(SettingsError) as caught:
        parse(groups)
    return {problem.field: problem.sentence for problem in caught.value.problems}


RIDGE = {"algorithm": {"name": "ridge"}, "ridge": {"strength": 2.0, "layers": [3]}}


def test_options_are_a_group_of_settings() -> None:
    settings = parse(RIDGE)
    assert settings.value("ridge.strength") == 2.0
    assert settings.value("ridge.layers") == (3,)
    assert settings.value("ridge.steps") == 3
    assert settings.group("ridge") == Options(strength=2.0, layers=(3,))
    assert Settings().group("ridge") == Options()
    assert Settings().value("ridge.norm") == "l2"


def test_default_options_are_dropped() -> None:
    assert parse({"ridge": {"strength": 1.0}}) == Settings()
    assert "ridge" not in parse({"ridge": {"strength": 1.0}}).model_dump()
    settings = change(parse(RIDGE), {"ridge.strength": 1.0, "ridge.layers": (1, 2)})
    assert settings == parse({"algorithm": {"name": "ridge"}})


def test_options_survive_copies_and_json() -> None:
    settings = parse(RIDGE)
    assert parse(settings.model_dump(mode="json")) == settings
    assert Settings.model_validate_json(settings.model_dump_json()) == settings
    assert pickle.loads(pickle.dumps(settings)) == copy.deepcopy(settings) == settings
    assert settings != parse({"algorithm": {"name": "ridge"}})


@pytest.mark.parametrize("whole", [False, True])
def test_options_survive_toml(whole: bool) -> None:
    for settings in (parse(RIDGE), parse({"ridge": {"steps": 7}}), parse({"algorithm": {"name": "ridge"}})):
        tables = tomllib.loads(settings_toml(settings, {}, whole=whole))
        tables.pop("format", None)
        assert parse_tables(tables, Path("x.toml")) == settings


def test_run_files_contain_the_options_of_the_selected_algorithm() -> None:
    def groups(settings: Settings) -> set[str]:
        return set(tomllib.loads(settings_toml(settings, {}, whole=True)))

    assert groups(parse({"algorithm": {"name": "ridge"}})) - groups(Settings()) == {"ridge"}


def test_fields_contain_options() -> None:
    assert [path for path in FIELDS if path.startswith("ridge.")] == [f"ridge.{name}" for name in Options.model_fields]
    field = FIELDS["ridge.strength"]
    assert (field.unit, field.live, field.allowed) == ("nats", True, "a number above 0 and up to 10")
    assert FIELDS["ridge.steps"].allowed == "a whole number of at least 1"
    assert parse_assignment("ridge.layers=4, 5") == ("ridge.layers", (4, 5))
    with pytest.raises(SettingsError, match=r"did you mean ridge.strength\?"):
        find_field("ridge.strenght")


def test_options_are_relevant_for_their_algorithm() -> None:
    selected = parse({"algorithm": {"name": "ridge"}})
    assert FIELDS["ridge.strength"].is_relevant(selected)
    assert not FIELDS["ridge.strength"].is_relevant(Settings())
    assert not FIELDS["ridge.steps"].is_relevant(selected)
    assert FIELDS["ridge.steps"].is_relevant(change(selected, {"ridge.norm": "l1"}))
    assert not FIELDS["ridge.steps"].is_relevant(parse({"ridge": {"norm": "l1"}}))


def test_checkpoints_contain_the_live_options_of_the_algorithm() -> None:
    assert live_values(parse(RIDGE))["ridge.strength"] == 2.0
    assert "ridge.strength" not in live_values(Settings())


def test_common_settings_are_relevant_where_they_are_used() -> None:
    selected = parse({"algorithm": {"name": "ridge"}})
    assert FIELDS["algorithm.inner_batch"].is_relevant(selected)
    assert not FIELDS["algorithm.inner_batch"].is_relevant(Settings())
    assert not FIELDS["algorithm.meta_batch"].is_relevant(selected)
    names = used(ALGORITHMS, "algorithm.inner_batch")["algorithm.name"]
    assert "ridge" in names
    assert "maml" not in names
    assert set(names) == {"ridge", "reptile"}
    assert len(names) == 2
    assert "nonsense" not in Names(ALGORITHMS, lambda component: True)


def test_choices_follow_the_registry() -> None:
    assert "ridge" in FIELDS["algorithm.name"].choices
    with pytest.MonkeyPatch.context() as patch:
        patch.delitem(ALGORITHMS._classes, "ridge")
        assert "ridge" not in FIELDS["algorithm.name"].choices
        assert "ridge.strength" not in FIELDS
        assert set(FIELDS) >= {field.path for field in common_fields()}
    assert "ridge" in FIELDS["algorithm.name"].choices


@pytest.mark.parametrize(
    ("groups", "field", "words"),
    [
        ({"ridge": {"strength": 11}}, "ridge.strength", "is 11, but must be a number above 0 and up to 10"),
        ({"ridge": {"norm": "l3"}}, "ridge.norm", "is 'l3', but must be one of l1, l2"),
        ({"ridge": {"strenght": 1.0}}, "ridge.strenght", "did you mean ridge.strength?"),
        ({"ridge": {"steps": "x"}}, "ridge.steps", "must be a whole number of at least 1"),
        ({"ridge": 3}, "ridge", "is 3, but must be a table of settings"),
        ({"rigde": {}}, "rigde", "is not a setting"),
    ],
)
def test_invalid_options_are_named(groups: dict[str, Any], field: str, words: str) -> None:
    problems = problems_of(groups)
    assert list(problems) == [field]
    assert words in problems[field]


def test_problems_of_options_and_settings_are_reported_together() -> None:
    assert list(problems_of({"ridge": {"steps": 0}, "task": {"shots": 0}})) == ["task.shots", "ridge.steps"]


def test_missing_component_is_named_alone() -> None:
    problems = problems_of({"algorithm": {"name": "lasso"}, "lasso": {"strength": 3}})
    assert list(problems) == ["algorithm.name"]
    assert "is 'lasso', but must be one of" in problems["algorithm.name"]
    assert "or an algorithm of a plugin that is installed or loaded with --plugin FILE.py" in problems["algorithm.name"]


def test_violations_of_components() -> None:
    class Strict(Component):
        """An algorithm that restricts the value of `task.shots`."""

        registry = ALGORITHMS
        name = "strict"
        title = "Strict"

        @classmethod
        def violations(cls, settings: Settings) -> Any:
            if settings.task.shots < 3:
                yield "task.shots", "at least 3 if algorithm.name = 'strict'"

    add_components([Strict])
    assert parse({"algorithm": {"name": "strict"}}).task.shots == 10
    problems = problems_of({"algorithm": {"name": "strict"}, "task": {"shots": 2}})
    assert problems == {"task.shots": "task.shots is 2, but must be at least 3 if algorithm.name = 'strict'"}


def test_options_need_a_description_and_a_known_type() -> None:
    class Plain(Group):
        strength: float = 1.0

    class Unknown(Group):
        strength: complex = setting(1j, "Strength", "Strength of the penalty.")

    class Live(Group):
        strength: str = setting("a", "Strength", "Strength of the penalty.", live=True)

    for options, message in (
        (Plain, "is not declared with"),
        (Unknown, "must be a bool, int, float, str"),
        (Live, "is live, but only numbers can change"),
    ):
        component = type("Bad", (Ridge,), {"name": "bad", "Options": options})
        with pytest.raises(BadInput, match=rf"bad\.strength {message}"):
            add_components([component])
