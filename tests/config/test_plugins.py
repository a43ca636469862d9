"""Tests of plugins: Python files that the user names, and entry points of installed distributions."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import metatui
from metatui.cli.main import main
from metatui.config import presets
from metatui.config.fields import FIELDS, change, parse
from metatui.config.plugins import load_plugins, select_plugin_files
from metatui.config.registry import ALGORITHMS, PLUGINS_VARIABLE
from metatui.config.settings import Settings
from metatui.runs.storage.store import RunStore
from metatui.utils import paths
from metatui.utils.errors import BadInput, SettingsError

PLUGIN = """\
from metatui.config.declarations import Group, setting
from metatui.config.registry import ALGORITHMS, Component


class Options(Group):
    strength: float = setting(1.0, "Strength", "Strength of the penalty.", ge=0, le=10)


class Ridge(Component):
    registry = ALGORITHMS
    name = "ridge"
    title = "Ridge regression"
    Options = Options
"""

pytestmark = pytest.mark.usefixtures("registries")


@pytest.fixture
def plugin(tmp_path: Path) -> Path:
    path = tmp_path / "my-ridge.py"
    path.write_text("from __future__ import annotations\n\n" + PLUGIN)
    return path


def error_of(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    """Run a command that ends with exit code 2, and return its error message."""
    assert main(arguments) == 2
    err = capsys.readouterr().err
    assert err.count("\n") == 1
    assert "Traceback" not in err
    return err


def test_file(plugin: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(plugin.parent)
    select_plugin_files([plugin.name])
    load_plugins()
    assert ALGORITHMS["ridge"].title == "Ridge regression"
    assert parse({"algorithm": {"name": "ridge"}, "ridge": {"strength": 2}}).value("ridge.strength") == 2
    assert os.environ[PLUGINS_VARIABLE] == str(plugin)


def test_file_in_python(plugin: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(BadInput, match=r"^the plugin '.*nowhere\.py' is not a file$"):
        metatui.load_plugin("nowhere.py")
    assert os.environ[PLUGINS_VARIABLE] == ""
    metatui.load_plugin(plugin)
    run = RunStore(tmp_path / "runs").create(parse({"algorithm": {"name": "ridge"}}))
    monkeypatch.delitem(ALGORITHMS._classes, "ridge")
    monkeypatch.setenv(PLUGINS_VARIABLE, "")
    for function in (metatui.load_model, metatui.evaluate):
        with pytest.raises(SettingsError, match=r'loaded with metatui\.load_plugin\("FILE\.py"\)') as error:
            function(run)
        assert error.value.problems[0].field == "algorithm.name"
        assert "settings.toml" in str(error.value)


def test_corrected_file_in_python(plugin: Path) -> None:
    other = PLUGIN.replace("ALGORITHMS", "MODELS").replace("Ridge", "Other")
    plugin.write_text(PLUGIN.replace('"ridge"', '"task"') + other)
    with pytest.raises(BadInput, match=r"^the algorithm 'task' of a plugin cannot be used"):
        metatui.load_plugin(plugin)
    plugin.write_text(PLUGIN)
    metatui.load_plugin(plugin)
    assert parse({"algorithm": {"name": "ridge"}}).algorithm.name == "ridge"


def test_file_before_any_command(plugin: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--plugin", str(plugin), "settings", "--json"]) == 0
    listed = {each["setting"]: each for each in json.loads(capsys.readouterr().out)["settings"]}
    assert "ridge" in listed["algorithm.name"]["choices"]
    assert listed["ridge.strength"]["when"] == {"algorithm.name": ["ridge"]}


def test_several_files(plugin: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    other = tmp_path / "other.py"
    other.write_text(PLUGIN.replace('"ridge"', '"lasso"'))
    assert main(["--plugin", str(plugin), "--plugin", str(other), "--plugin", str(plugin), "settings"]) == 0
    assert {"ridge", "lasso"} <= set(ALGORITHMS.names())
    assert "lasso.strength" in capsys.readouterr().out


def test_child_processes_load_the_same_files(plugin: Path) -> None:
    select_plugin_files([str(plugin)])
    code = "from metatui.config.fields import parse; print(parse({'ridge': {'strength': 2.0}}).value('ridge.strength'))"
    child = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert child.stdout == "2.0\n"


def test_completion_of_settings(plugin: Path) -> None:
    words = f"metatui --plugin {plugin} run quick --set ridge"
    environment = {**os.environ, "_METATUI_COMPLETE": "bash_complete", "COMP_WORDS": words, "COMP_CWORD": "6"}
    program = [sys.executable, "-m", "metatui"]
    child = subprocess.run(program, capture_output=True, text=True, env=environment, check=False)
    assert child.stdout == "plain,ridge.strength=\n"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("x = (", "cannot be loaded: SyntaxError: '(' was never closed"),
        ("import nonsense_module", "cannot be loaded: ModuleNotFoundError: No module named 'nonsense_module'"),
        ("import sys; sys.exit(3)", "cannot be loaded: SystemExit: 3"),
        ("x = 1", "cannot be used: it defines no algorithm, model or data set, but must contain a subclass"),
        ("class Net: pass", "like the examples that 'metatui plugin' prints"),
        (
            PLUGIN.replace('"ridge"', '"maml"'),
            "the algorithm 'maml', but a built-in algorithm has this name: choose another name",
        ),
        (PLUGIN.replace('"ridge"', '"Ridge 1"'), "name is 'Ridge 1', but must be 1 to 32 characters from a-z"),
        (
            PLUGIN.replace('"ridge"', '"task"'),
            "because it has options and 'task' is a name that metatui uses: rename",
        ),
        (PLUGIN.replace('"ridge"', '"changes"'), "because it has options and 'changes' is a name that metatui uses"),
        (PLUGIN.replace('    title = "Ridge regression"\n', ""), "class Ridge must have a title"),
        (PLUGIN.replace("    registry = ALGORITHMS\n", ""), "must be a subclass of Algorithm, Model or DataSet"),
        (PLUGIN.replace("= Options", "= dict"), "Options must be a subclass of Group"),
        (
            PLUGIN + '    uses = frozenset({"task.nonsense"})\n',
            "`uses` contains 'task.nonsense', which is not a setting",
        ),
        (
            PLUGIN + '    usual = {"regression": {"ridge.strength": 2.0, "ridge.rate": 0.1}}\n',
            "`usual` contains 'ridge.rate', which is not a setting",
        ),
        (
            PLUGIN + '    usual = {"regression": {"algorithm.inner_lr": 0.1, "ridge.strength": 20.0}}\n',
            "the algorithm 'ridge' of a plugin cannot be used: in `usual`, ridge.strength is 20.0, but must be a "
            "number from 0 to 10",
        ),
        (
            PLUGIN + '    usual = {"regression": {"algorithm.outer_schedule": "square"}}\n',
            "in `usual`, algorithm.outer_schedule is 'square', but must be one of constant, cosine, linear",
        ),
        (
            PLUGIN + '    usual = {"classification": {"model.name": "missing"}}\n',
            "in `usual`, model.name is 'missing', but must be one of auto, ",
        ),
        (
            PLUGIN + '    usual = {"classification": {"task.shots": None}}\n',
            "in `usual`, task.shots is None, but must be a whole number from 1 to 1,000",
        ),
        (
            PLUGIN + '    uses = ["task.shots"]\n',
            "class Ridge: the attribute 'uses' must be a set of paths of settings",
        ),
        (
            PLUGIN + '    usual = {"algorithm.inner_lr": 0.1}\n',
            "usual must be a dict whose keys are kinds of tasks (regression or classification)",
        ),
        (PLUGIN.replace("ALGORITHMS", "DATA"), "kind is None, but must be regression or classification"),
        (
            PLUGIN.replace("1.0,", "20.0,"),
            "the default of ridge.strength is 20.0, but must be a number from 0 to 10",
        ),
        (PLUGIN + PLUGIN.replace("Ridge", "Other"), "two plugins define the algorithm 'ridge': load only one"),
        (
            PLUGIN + PLUGIN.replace("ALGORITHMS", "MODELS").replace("Ridge", "Other"),
            "'ridge' is the name of an algorithm that has options",
        ),
    ],
    ids=[
        "syntax",
        "import",
        "exit",
        "nothing",
        "class",
        "built-in",
        "name",
        "group",
        "table",
        "title",
        "base",
        "options",
        "uses",
        "usual",
        "usual value of an option",
        "usual choice",
        "usual component",
        "usual value of another type",
        "list of uses",
        "usual without kinds",
        "kind",
        "default",
        "twice",
        "both",
    ],
)
def test_unusable_file(plugin: Path, text: str, message: str, capsys: pytest.CaptureFixture[str]) -> None:
    plugin.write_text(text)
    assert message in error_of(["--plugin", str(plugin), "settings"], capsys)


@pytest.mark.parametrize(
    ("file", "message"),
    [
        ("nowhere.py", "is not a file"),
        (".", "is not a file"),
        (f"{'x' * 300}.py", "is not a file"),
        ("a.txt", "must end in .py"),
        ("a:b.py", "without ':'"),
    ],
)
def test_path_of_no_python_file(file: str, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "a.txt").write_text(PLUGIN)
    assert message in error_of(["--plugin", str(tmp_path / file), "settings"], capsys)


def test_unusable_file_before_the_app_opens(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "is not a file" in error_of(["--plugin", str(tmp_path / "nowhere.py")], capsys)


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Install a distribution with a valid and a broken plugin, and return the folder that contains its modules."""
    site = tmp_path / "site"
    metadata = site / "ridge_plugin-1.0.dist-info"
    metadata.mkdir(parents=True)
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: ridge-plugin\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text(
        "[metatui.algorithms]\nridge = ridge_plugin:Ridge\nbroken = ridge_plugin:Missing\n"
    )
    (site / "ridge_plugin.py").write_text(PLUGIN)
    monkeypatch.syspath_prepend(str(site))
    monkeypatch.delitem(sys.modules, "ridge_plugin", raising=False)
    return site


def test_installed_plugin(installed: Path) -> None:
    assert set(ALGORITHMS.names()) >= {"maml", "ridge"}
    assert ALGORITHMS["ridge"].title == "Ridge regression"
    assert FIELDS["ridge.strength"].default == 1.0
    assert change(Settings(), {"algorithm.name": "ridge", "ridge.strength": 3.0}).value("ridge.strength") == 3.0


def test_broken_installed_plugin_does_not_prevent_other_work(installed: Path) -> None:
    assert "ridge" in FIELDS["algorithm.name"].choices
    assert "broken" not in FIELDS["algorithm.name"].choices
    assert parse({"algorithm": {"name": "maml"}}) == Settings()
    with pytest.raises(
        SettingsError, match=r"algorithm\.name is 'broken', but the plugin 'ridge_plugin:Missing' cannot"
    ):
        parse({"algorithm": {"name": "broken"}})
    for _ in range(2):
        with pytest.raises(BadInput, match="'ridge_plugin:Missing' cannot be loaded: AttributeError"):
            ALGORITHMS["broken"]


def test_doctor_lists_plugins(installed: Path, plugin: Path, capsys: pytest.CaptureFixture[str]) -> None:
    plugin.write_text(PLUGIN.replace('"ridge"', '"lasso"'))
    assert main(["--plugin", str(plugin), "doctor", "--json"]) == 0
    plugins = json.loads(capsys.readouterr().out)["plugins"]
    assert plugins.pop("algorithm broken").startswith("the plugin 'ridge_plugin:Missing' cannot be loaded")
    assert plugins == {"algorithm ridge": str(installed / "ridge_plugin.py"), "algorithm lasso": str(plugin)}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (PLUGIN.replace('"ridge"', '"lasso"'), "is installed as 'ridge', but its name is 'lasso'"),
        ("Ridge = 3", "is not an algorithm, model or data set"),
        ("import sys; sys.exit(3)", "cannot be loaded: SystemExit: 3"),
        (PLUGIN.replace('    name = "ridge"\n', ""), "is installed as 'ridge', but its name is None"),
        (PLUGIN + '    uses = frozenset({"task.nonsense"})\n', "which is not a setting"),
        (PLUGIN.replace('    title = "Ridge regression"\n', ""), "class Ridge must have a title"),
    ],
)
def test_unusable_installed_plugin(installed: Path, text: str, message: str) -> None:
    (installed / "ridge_plugin.py").write_text(text)
    assert "ridge.strength" not in FIELDS
    with pytest.raises(BadInput, match=message):
        ALGORITHMS["ridge"]


def test_file_and_installed_plugin_of_the_same_name(
    installed: Path, plugin: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert "two plugins define the algorithm 'ridge'" in error_of(["--plugin", str(plugin), "settings"], capsys)


def test_preset_without_its_plugin(
    plugin: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(paths, "user_presets_dir", lambda: tmp_path / "presets")
    assert main(["--plugin", str(plugin), "presets", "save", "mine", "--set", "algorithm.name=ridge"]) == 0
    assert presets.load("mine").settings.algorithm.name == "ridge"
    monkeypatch.delitem(ALGORITHMS._classes, "ridge")
    monkeypatch.setenv(PLUGINS_VARIABLE, "")
    err = error_of(["presets", "show", "mine"], capsys)
    assert "mine.toml'" in err
    assert "algorithm.name is 'ridge'" in err
    assert "--plugin FILE.py" in err


def test_run_without_its_plugin(plugin: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    select_plugin_files([str(plugin)])
    settings = parse({"algorithm": {"name": "ridge"}, "ridge": {"strength": 2.0}})
    run = RunStore(tmp_path / "runs").create(settings)
    known = RunStore(tmp_path / "runs").summaries()[0]
    assert (known.settings, known.problem) == (settings, None)
    with monkeypatch.context() as without:
        without.delitem(ALGORITHMS._classes, "ridge")
        without.setenv(PLUGINS_VARIABLE, "")
        missing = RunStore(tmp_path / "runs").summaries()[0]
        assert missing.settings is None
        assert "algorithm.name is 'ridge'" in (missing.problem or "")
        with pytest.raises(SettingsError, match="loaded with --plugin"):
            run.settings()
    again = RunStore(tmp_path / "runs").summaries()[0]
    assert (again.settings, again.problem) == (settings, None)
