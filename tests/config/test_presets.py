"""Tests of presets and settings files: writing and reading them, and error messages for invalid files."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

import hypothesis
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from metatui.cli.main import main
from metatui.config import presets
from metatui.config.constraints import violations
from metatui.config.declarations import SettingField
from metatui.config.fields import FIELDS, change
from metatui.config.schedule import MAX_ENTRIES, PlannedChange, PlannedValidation
from metatui.config.settings import Settings, common_fields
from metatui.config.toml import MAX_BYTES, parse_tables, settings_toml
from metatui.utils import paths
from metatui.utils.errors import BadInput, MetatuiError, SettingsError


@pytest.fixture(autouse=True)
def own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "config" / "presets"
    monkeypatch.setattr(paths, "user_presets_dir", lambda: folder)
    return folder


def values(field: SettingField) -> st.SearchStrategy[Any]:
    group, name = field.path.split(".")
    limits: dict[str, Any] = {}
    for item in type(Settings().group(group)).model_fields[name].metadata:
        for key in ("ge", "gt", "le"):
            if getattr(item, key, None) is not None:
                limits[key] = getattr(item, key)
    match field.kind:
        case "int":
            return st.integers(limits["ge"], limits["le"])
        case "float":
            low = limits.get("ge", limits.get("gt"))
            return st.floats(low, limits["le"], exclude_min="gt" in limits)
        case "bool":
            return st.booleans()
        case "choice":
            return st.sampled_from(field.choices)
        case "ints":
            return st.lists(st.integers(1, 4096), min_size=1, max_size=8).map(tuple)
        case "text":
            texts = {
                "compute.device": ["auto", "cpu", "mps", "cuda", "cuda:7"],
                "algorithm.adapt": ["all", "head", "body", "0.*, 2.weight", "*.bias"],
                "algorithm.freeze": ["", "0.*", "*.weight,*.bias"],
                "task.ways_range": ["", "2-9"],
                "task.shots_range": ["", "1-20"],
                "mixed.folders": ["", "/a:~/b"],
            }
            return st.sampled_from(texts.get(field.path, [str(field.default)]))
        case "path":
            return st.sampled_from(["", "/nowhere/images"])


@st.composite
def any_settings(draw: st.DrawFn) -> Settings:
    paths_changed = draw(st.lists(st.sampled_from(sorted(FIELDS)), unique=True, max_size=12))
    try:
        settings = change(Settings(), {path: draw(values(FIELDS[path])) for path in paths_changed})
    except SettingsError:
        assume(False)
        raise
    assert not violations(settings)
    return settings


@hypothesis.settings(max_examples=40)
@given(settings=any_settings(), whole=st.booleans(), title=st.text(st.characters(exclude_categories=["Cs"])))
def test_any_settings_read_back_equal(settings: Settings, whole: bool, title: str) -> None:
    tables = tomllib.loads(settings_toml(settings, {"title": title}, whole=whole))
    assert tables.pop("preset") == {"title": title}
    assert tables.pop("format", None) == (1 if whole else None)
    assert parse_tables(tables, Path("x.toml")) == settings


def test_run_files_are_complete_and_presets_short() -> None:
    whole = tomllib.loads(settings_toml(Settings(), {}, whole=True))
    assert whole.pop("format") == 1
    assert {f"{group}.{name}" for group, table in whole.items() for name in table} == {
        field.path for field in common_fields()
    }
    text = settings_toml(Settings(), {}, whole=False)
    assert "ways" not in text  # not relevant for sinusoids
    assert f"inner_lr = 0.01 # {FIELDS['algorithm.inner_lr'].help}" in text


@pytest.mark.parametrize("path", sorted(presets.bundled_dir().glob("*.toml")), ids=lambda path: path.stem)
def test_bundled_presets_have_descriptions(path: Path) -> None:
    preset = presets.load(path.stem)
    assert preset.bundled
    assert preset.name == path.stem
    assert preset.title
    assert preset.source
    assert preset.protocol
    assert bool(preset.published_protocol) == bool(preset.published)
    assert not preset.published or re.search(r"\b(Comparable|Not comparable)\b", preset.published_protocol)


def test_published_protocol_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["presets", "show", "omniglot-20way-1shot-cpu-anil"]) == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert "published_protocol Raghu et al. 2020, Table 2; ± is the standard deviation over 3 init" in shown
    assert "Not comparable: the training here is far shorter" in shown


def test_data_of_a_preset_are_described(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["presets", "show", "sinusoid-maml"]) == 0
    assert "y = A sin(x - φ), with A from 0.1 to 5, φ from 0 to π and x from -5 to 5" in capsys.readouterr().out


def test_save_load_list_and_delete(own_folder: Path) -> None:
    settings = change(Settings(), {"training.seed": 7, "model.hidden": (8, 8)})
    saved = presets.save("mine", settings, title="My first")
    assert saved == presets.load("mine") == presets.load(own_folder / "mine.toml")
    assert (saved.settings, saved.title, saved.bundled) == (settings, "My first", False)
    assert presets.user() == ([saved], [])
    with pytest.raises(BadInput, match="'mine' is already one of your presets"):
        presets.save("mine", Settings())
    assert presets.save("mine", Settings(), overwrite=True).settings == Settings()
    presets.delete("mine")
    assert presets.user() == ([], [])
    assert list(own_folder.iterdir()) == []


def test_scheduled_changes_read_back_equal() -> None:
    changes = (
        PlannedChange(0, "training.iterations", 300), PlannedChange(15, "algorithm.inner_lr", 0.1),
        PlannedValidation(15), PlannedChange(15, "algorithm.outer_lr", 1.0),
    )  # fmt: skip
    saved = presets.save("mine", Settings(), changes=changes)
    assert saved.changes == presets.load("mine").changes == changes
    assert presets.load("quick").changes == ()
    with pytest.raises(BadInput, match=r"change 1: algorithm\.inner_lr is 0, but must be a number above 0"):
        presets.save("other", Settings(), changes=[PlannedChange(1, "algorithm.inner_lr", 0)])
    assert "other" not in presets.names()


def test_readme_shows_how_to_schedule_changes(tmp_path: Path) -> None:
    (example,) = re.findall(r"```toml\n(.*?)```", (presets.bundled_dir() / "README.md").read_text(), re.DOTALL)
    (tmp_path / "mine.toml").write_text(example)
    own = presets.load(tmp_path / "mine.toml")
    assert own.settings == change(Settings(), {"training.iterations": 3000})
    assert own.changes == (PlannedChange(2000, "algorithm.inner_lr", 0.005), PlannedValidation(2500))


def test_bundled_presets_are_protected() -> None:
    with pytest.raises(BadInput, match="'quick' is a bundled preset: choose another name"):
        presets.save("quick", Settings(), overwrite=True)
    with pytest.raises(BadInput, match="'quick' is a bundled preset and cannot be deleted"):
        presets.delete("quick")


@pytest.mark.parametrize("name", ["", "a/b", "../x", "a b", "é", "x" * 65, "a\n", ".hidden"])
def test_invalid_names_are_refused(name: str) -> None:
    with pytest.raises(BadInput, match="must be 1 to 64 letters, digits, '-' or '_'"):
        presets.save(name, Settings())


def test_unknown_name_suggests_the_nearest() -> None:
    with pytest.raises(BadInput, match=r"'quik' is neither a preset nor a TOML file: did you mean quick\?"):
        presets.load("quik")


def plan(*changes: str) -> str:
    return "\n".join(f"[[changes]]\n{each}" for each in changes)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("[task]\nshotz = 1", "'task.shotz' is not a setting: did you mean task.shots?"),
        ("[task]\nshots = 1.5", "task.shots is 1.5, but must be a whole number from 1 to 1,000"),
        ("[task]\nshots = '5'", "task.shots is '5', but must be a whole number from 1 to 1,000"),
        ("[algorithm]\ninner_lr = nan", "algorithm.inner_lr is nan, but must be a number above 0 and up to 100"),
        ("[preset]\ntitel = 'x'", "'preset.titel' is unknown: did you mean preset.title?"),
        ("[preset]\ntitle = 5", "preset.title is 5, but must be text"),
        ("preset = 5", "preset is 5, but must be a table of strings"),
        ("task = 5", "task is 5, but must be a table of settings"),
        ("[task", "is not TOML"),
        ("a = " + "[" * 5000, "is nested too deeply"),
        ("training.seed" + ".a" * 3000 + " = 1", "is nested too deeply|too deep|too large|must be a whole number"),
        ("training.seed = 0x" + "f" * 20000, "too large|must be a whole number"),
        ("training.seed = " + "9" * 20000, "is not TOML"),
        ("changes = 5", r"changes is 5, but must be a list of tables, each under \[\[changes\]\]"),
        ("changes = [5]", r"changes is \[5\], but must be a list of tables"),
        (plan("value = 1"), "change 1: iteration is missing"),
        (plan("iteration = -1\nsetting = 'algorithm.inner_lr'\nvalue = 1"), "change 1: iteration is -1, but must be a"),
        (plan("iteration = true\nsetting = 'algorithm.inner_lr'\nvalue = 1"), "change 1: iteration is True, but must"),
        (
            plan("iteration = 1\nsetting = 5\nvalue = 1"),
            "change 1: setting is 5, but must be one of algorithm.inner_lr",
        ),
        (plan("iteration = 1\nsetting = 'x.y'\nvalue = 1"), "change 1: 'x.y' is not a setting"),
        (
            plan("iteration = 1\nsetting = 'task.shots'\nvalue = 1"),
            "change 1: task.shots cannot be changed during a run, but",
        ),
        (
            plan("iteration = 1\nsetting = 'algorithm.inner_lr'\nvalue = 0"),
            "change 1: algorithm.inner_lr is 0, but must",
        ),
        (
            plan("iteration = 1\nsetting = 'algorithm.inner_lr'\nvalue = []"),
            r"change 1: algorithm.inner_lr is \[\], but",
        ),
        (plan("iteration = 1\nsetting = 'algorithm.inner_lr'\nvalu = 1"), "change 1: 'valu' is unknown"),
        (
            plan("iteration = 100_000_000\nvalidate = true"),
            "is 100000000, but must be a whole number of meta-steps from 0",
        ),
        (plan("iteration = 1\nvalidate = false"), "change 1: validate is False, but must be true"),
        (plan("iteration = 1\nvalidate = true\nvalue = 1"), "change 1: 'value' is unknown"),
        (
            plan("iteration = 9\nvalidate = true", "iteration = 8\nvalidate = true"),
            "change 2: iteration is 8, but must be at least 9, the iteration of the previous change",
        ),
        (
            plan(*["iteration = 9\nvalidate = true"] * (MAX_ENTRIES + 1)),
            "there are 1,001 changes, but at most 1,000 are allowed",
        ),
        (
            "algorithm = {outer_schedule = 'linear', outer_lr_final = 0.001}\n"
            + plan("iteration = 1\nsetting = 'algorithm.outer_lr'\nvalue = 0.0001"),
            "change 1: algorithm.outer_lr_final is 0.001, but must be at most",
        ),
        ("#" * (MAX_BYTES + 1), "is too large: at most 262,144 bytes are read"),
    ],
)
def test_invalid_files_are_refused(tmp_path: Path, text: str, sentence: str) -> None:
    path = tmp_path / "bad.toml"
    path.write_text(text)
    with pytest.raises(BadInput, match=sentence) as caught:
        presets.load(path)
    assert "bad.toml" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_maximum_number_of_changes(tmp_path: Path) -> None:
    (tmp_path / "many.toml").write_text(plan(*["iteration = 99_999_999\nvalidate = true"] * MAX_ENTRIES))
    assert presets.load(tmp_path / "many.toml").changes == (PlannedValidation(99_999_999),) * MAX_ENTRIES


def test_invalid_preset_does_not_hide_others(own_folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    presets.save("good", Settings())
    (own_folder / "bad.toml").write_bytes(b"\xff")
    (preset,), (problem,) = presets.user()
    assert preset.name == "good"
    assert problem.endswith("not TOML: not UTF-8 text")
    assert main(["presets"]) == 0
    out, err = capsys.readouterr()
    assert "good (own)" in out
    assert err == f"warning: {problem}\n"


def test_texts_are_sanitized(tmp_path: Path) -> None:
    path = tmp_path / "x.toml"
    path.write_text('[preset]\ntitle = "\\u001b[31mred\\nnext"')
    assert presets.load(path).title == "�[31mred next"


SETTINGS = b"[training]\niterations = 5\n"


def test_byte_order_mark_is_skipped(own_folder: Path) -> None:
    own_folder.mkdir(parents=True)
    (own_folder / "bom.toml").write_bytes(b"\xef\xbb\xbf" + SETTINGS)
    assert presets.load("bom").settings.training.iterations == 5
    assert presets.load(own_folder / "bom.toml").settings.training.iterations == 5


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-32"])
def test_other_encodings_are_refused(encoding: str, tmp_path: Path) -> None:
    path = tmp_path / "wide.toml"
    path.write_bytes(SETTINGS.decode().encode(encoding))
    with pytest.raises(BadInput, match="is not TOML: it looks like UTF-16 text; save it as UTF-8"):
        presets.read(path)


@pytest.mark.parametrize(
    "data", [b"\x7fELF\x02\x01\x01" + bytes(9) + b"\x03\x00\xd0\x61", b"\xff\xfe\x00\xd8\x0b", bytes(40)]
)
def test_binary_files_are_not_called_text(data: bytes, tmp_path: Path) -> None:
    path = tmp_path / "binary.toml"
    path.write_bytes(data)
    with pytest.raises(BadInput, match="is not TOML: ") as caught:
        presets.read(path)
    assert "UTF-16" not in str(caught.value)


@pytest.mark.parametrize("file", ["UP.TOML", "my preset.toml", "v1.2.Toml", "déjà vu.toml"])
def test_printable_file_names_are_preset_names(
    file: str, own_folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    own_folder.mkdir(parents=True)
    (own_folder / file).write_bytes(SETTINGS)
    name = Path(file).stem
    assert [preset.name for preset in presets.user()[0]] == [name]
    assert name in presets.names()
    assert presets.load(name).settings.training.iterations == 5
    monkeypatch.chdir(own_folder)
    assert presets.load(file).settings.training.iterations == 5
    assert main(["presets"]) == 0
    assert f"{name} (own)" in capsys.readouterr().out
    presets.delete(name)
    assert presets.user() == ([], [])


def test_unreadable_preset_files_are_reported(own_folder: Path) -> None:
    own_folder.mkdir(parents=True)
    for file in ("a.TOML", "a.toml", "b\x1b.toml", f"{'c' * 65}.toml", ".hidden.toml", "d.txt"):
        (own_folder / file).write_bytes(SETTINGS)
    found, problems = presets.user()
    assert [preset.name for preset in found] == ["a"]
    assert len(problems) == 3
    assert "a.toml' is skipped: a.TOML has the same name" in problems[0]
    assert "is skipped: give it a name of at most 64 printable characters" in problems[1]


def test_overwriting_keeps_the_file_name(own_folder: Path) -> None:
    own_folder.mkdir(parents=True)
    (own_folder / "UP.TOML").write_bytes(SETTINGS)
    with pytest.raises(BadInput, match="already one of your presets"):
        presets.save("UP", Settings())
    presets.save("UP", Settings(), overwrite=True)
    assert [path.name for path in own_folder.iterdir()] == ["UP.TOML"]
    assert presets.load("UP").settings == Settings()


def test_inaccessible_folder_is_reported(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(paths, "user_presets_dir", lambda: tmp_path / ("x" * 300))
    with pytest.raises(MetatuiError, match="cannot be written: file name too long"):
        presets.save("mine", Settings())
