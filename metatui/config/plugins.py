"""Selection of plugin files, and detection of conflicts between plugins, and between plugins and settings."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from traceback import walk_tb
from typing import cast

from pydantic import ValidationError

from metatui.config.declarations import Group, Scalar, SettingField
from metatui.config.registry import (
    PLUGINS_VARIABLE,
    REGISTRIES,
    Component,
    all_components,
    fields_of,
    forget_plugin_files,
    load_plugin_files,
    plugin_files,
)
from metatui.config.settings import RESERVED, Settings, common_fields
from metatui.utils.errors import BadInput, class_and_message, quote
from metatui.utils.paths import absolute


def select_plugin_files(files: Sequence[str]) -> None:
    """Add `files` to the plugin files that this process and its children load when they look up a component.

    Raises:
        BadInput: if a path contains the character that separates paths, or cannot be made absolute.
    """
    for file in files:
        if os.pathsep in file:
            raise BadInput(f"--plugin is {quote(file, 200)}, but must be a path without '{os.pathsep}'")
    paths = [str(absolute(file)) for file in files]
    os.environ[PLUGINS_VARIABLE] = os.pathsep.join(dict.fromkeys((*plugin_files(), *paths)))


def load_plugin(file: str | Path) -> None:
    """Load an algorithm, a model or a data set from a Python file, as `metatui --plugin FILE.py` does.

    Afterwards, settings can select the loaded component, and `load_model` can open runs that used it. A file is loaded
    once per process.

    Raises:
        BadInput: if the file cannot be used.

    Example:
        >>> from importlib.resources import files
        >>> template = files("metatui.cli.templates").joinpath("model.py")  # printed by metatui plugin model
        >>> _ = pathlib.Path("my_model.py").write_text(template.read_text())
        >>> metatui.load_plugin("my_model.py")
        >>> metatui.Settings(model={"name": "my_model"}).model.name
        'my_model'
    """
    before = os.environ.get(PLUGINS_VARIABLE, "")
    try:
        select_plugin_files([os.fspath(file)])
        load_plugins()
    except BadInput as error:
        selected = set(plugin_files())
        os.environ[PLUGINS_VARIABLE] = before  # later look-ups would load the file again and fail
        forget_plugin_files(selected - set(plugin_files()))
        raise BadInput(re.sub("^--plugin", "the plugin", str(error))) from error


def load_plugins() -> None:
    """Load the selected plugin files and check them.

    Raises:
        BadInput: if a file cannot be used.
    """
    load_plugin_files()
    exclude_conflicts()


def exclude_conflicts() -> None:
    """Exclude the installed plugins whose declarations conflict with other settings.

    Raises:
        BadInput: if a plugin with a conflict was loaded from a file or defined in Python code.
    """
    common = {field.path: field for field in common_fields()}
    groups = dict.fromkeys(RESERVED, "a name that metatui uses")
    for component in sorted(all_components(), key=lambda each: not each.registry.is_built_in(each)):
        registry, name = component.registry, component.name
        here = f"the {registry.kind} {quote(name)} of a plugin cannot be used"
        usual = {path for values in component.usual.values() for path in values} - common.keys()
        if unknown := sorted(component.uses - common.keys()):
            registry.exclude(component, f"{here}: `uses` contains {quote(unknown[0])}, which is not a setting")
        elif usual and (unknown := sorted(usual - {field.path for field in fields_of(component)})):
            registry.exclude(component, f"{here}: `usual` contains {quote(unknown[0])}, which is not a setting")
        elif problem := _invalid_usual_value(component, common):
            registry.exclude(component, f"{here}: in `usual`, {problem}")
        elif component.Options.model_fields:
            if name in groups:
                registry.exclude(
                    component, f"{here}, because it has options and {quote(name)} is {groups[name]}: rename it"
                )
            else:
                groups[name] = f"the name of {registry.one} that has options"


def _invalid_usual_value(component: type[Component], common: Mapping[str, SettingField]) -> str:
    """Return the reason why a value in `usual` of a plugin is not allowed, or an empty string if all are allowed.

    Args:
        common: the fields of all settings except the options of components, keyed by path.
    """
    if component.registry.is_built_in(component):  # checked by a test, so that the app starts faster
        return ""
    for values in component.usual.values():
        groups: dict[str, dict[str, Scalar]] = {}
        for path, value in values.items():
            group, key = path.split(".")
            groups.setdefault(group, {})[key] = value
        for group, part in groups.items():
            info = Settings.model_fields.get(group)
            kind = cast(type[Group], info.annotation) if info else component.Options
            try:
                kind.model_validate(part)
            except ValidationError as error:
                key = str(error.errors()[0]["loc"][0])
                fields = {**common, **{field.path: field for field in fields_of(component)}}
                return fields[f"{group}.{key}"].problem(part[key]).sentence
    return ""


def plugin_failure(error: Exception) -> str:
    """Return a description of an error that was raised in a plugin's code, or in a function called by this code.

    Return an empty string if no plugin is involved.
    """
    files = {
        sys.modules[component.__module__].__file__
        for registry in REGISTRIES
        for component in registry.loaded()
        if not registry.is_built_in(component)
    }
    places = [
        (frame.f_code.co_filename, line)
        for frame, line in walk_tb(error.__traceback__)
        if frame.f_code.co_filename in files
    ]
    if not places:
        return ""
    file, line = places[-1]
    return f"the plugin {quote(file, 200)} failed on line {line} ({class_and_message(error, 200)})"
