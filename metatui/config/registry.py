"""Registries of algorithms, models and data sets: the built-in ones, installed plugins, and files given by the user.

A built-in component is a module of a package of `metatui.learning`; no list names it. A plugin is either an entry point
of an installed distribution (`metatui.algorithms`, `metatui.models` or `metatui.data`), or a file that the user names
on the command line (`--plugin FILE.py`). Settings can select components by name, but cannot load a file.

Built-in components do not import torch at module level, because the app reads their declarations at start-up.
"""

from __future__ import annotations

import os
import pkgutil
from collections.abc import Callable, Iterator, Set
from functools import cache
from importlib import import_module
from importlib.metadata import EntryPoint, EntryPoints, entry_points
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, ClassVar, Literal, cast

from metatui.config.declarations import Group
from metatui.utils.errors import BadInput, class_and_message, quote

if TYPE_CHECKING:
    from metatui.config.settings import Settings

PLUGINS_VARIABLE = "METATUI_PLUGINS"
"""Environment variable with the paths of the plugin files, by which child processes load the same plugins."""

Kind = Literal["regression", "classification"]


class Component:
    """Declaration of an algorithm, a model or a data set."""

    registry: ClassVar[Registry]
    """Set by the base class of each kind of component."""
    name: ClassVar[str]
    """Name in settings and on the command line. That of a built-in component is the name of its module."""
    title: ClassVar[str]
    """Name as written in the literature."""
    Options: ClassVar[type[Group]] = Group
    """Settings that only this component has. They form the settings group called `name`."""
    uses: ClassVar[frozenset[str]] = frozenset()
    """Paths of the common settings that this component reads, out of those that not every component reads."""

    @classmethod
    def violations(cls, settings: Settings) -> Iterator[tuple[str, str]]:
        """Yield the path of each setting that does not fit this component, and its requirement after "must be"."""
        yield from ()


class Registry:
    """The components of one kind by name."""

    def __init__(self, kind: str, package: str, *, group: str) -> None:
        """Create an empty registry.

        Args:
            kind: the word for one component in messages, such as "algorithm".
            package: the package with the modules of built-in components.
            group: the entry-point group of installed plugins.
        """
        self.kind = kind
        self._package = package
        self._group = group
        self._classes: dict[str, type[Component]] = {}

    def __contains__(self, name: object) -> bool:
        return name in self._classes or name in self.names()

    def __getitem__(self, name: str) -> type[Component]:
        """Return the component called `name`, loading its module if necessary.

        Raises:
            BadInput: if there is none, or a plugin cannot be loaded.
        """
        if name not in self._classes:
            if name in self._built_in():
                self._add_all(import_module(f"{self._package}.{name}"))
            elif name in self._installed():
                self.add(_load(self._installed()[name]))
        if name not in self._classes:
            raise BadInput(f"{self.kind} is {quote(name)}, but must be one of {', '.join(self.names())}")
        return self._classes[name]

    def names(self) -> tuple[str, ...]:
        """Return the names of all components: built-in ones, then those of plugins."""
        load_plugin_files()
        return tuple(dict.fromkeys((*self._built_in(), *self._installed(), *self._classes)))

    def components(self) -> Iterator[type[Component]]:
        """Yield all components in the order of `names`."""
        return map(self.__getitem__, self.names())

    def add(self, component: type[Component]) -> None:
        """Add the component of a plugin.

        Raises:
            BadInput: if its name is already used.
        """
        known = self._classes.setdefault(component.name, component)
        if known is not component:
            raise BadInput(f"two plugins define the {self.kind} {quote(component.name)}: load only one of them")

    def _add_all(self, module: ModuleType) -> list[type[Component]]:
        """Add the components that `module` defines, and return them."""
        found = [
            value
            for value in vars(module).values()
            if isinstance(value, type)
            and issubclass(value, Component)
            and value.__module__ == module.__name__
            and "name" in vars(value)
        ]
        for component in found:
            component.registry.add(component)
        return found

    @cache  # noqa: B019 - registries live as long as the process
    def _built_in(self) -> tuple[str, ...]:
        path = import_module(self._package).__path__
        return tuple(module.name for module in pkgutil.iter_modules(path) if not module.ispkg)

    @cache  # noqa: B019
    def _installed(self) -> dict[str, EntryPoint]:
        return {point.name: point for point in _entry_points().select(group=self._group)}


@cache
def _entry_points() -> EntryPoints:
    """Return the entry points of all installed distributions, which take milliseconds to read."""
    return cast(EntryPoints, entry_points())  # in Python 3.11, SelectableGroups, which also has `select`


ALGORITHMS = Registry("algorithm", "metatui.learning.algorithms", group="metatui.algorithms")
MODELS = Registry("model", "metatui.learning.models", group="metatui.models")
DATA = Registry("data set", "metatui.learning.data.sources", group="metatui.data")
REGISTRIES = (ALGORITHMS, MODELS, DATA)


class Names(Set[str]):
    """The components of a registry for which a condition holds, evaluated when it is needed."""

    def __init__(self, registry: Registry, condition: Callable[[type[Component]], bool]) -> None:
        self._registry = registry
        self._condition = condition

    def __contains__(self, name: object) -> bool:
        return name in self._registry and self._condition(self._registry[str(name)])

    def __iter__(self) -> Iterator[str]:
        return (component.name for component in self._registry.components() if self._condition(component))

    def __len__(self) -> int:
        return sum(1 for _ in self)


def use_plugin_files(files: list[str]) -> None:
    """Load plugin files, in this process and in its children.

    Raises:
        BadInput: if a file cannot be loaded.
    """
    paths = [str(Path(file).expanduser().absolute()) for file in files]
    os.environ[PLUGINS_VARIABLE] = os.pathsep.join(paths)
    load_plugin_files.cache_clear()
    load_plugin_files()


@cache
def load_plugin_files() -> None:
    """Load the plugin files that the user has named.

    Raises:
        BadInput: if a file cannot be loaded, or defines no component.
    """
    for path in filter(None, os.environ.get(PLUGINS_VARIABLE, "").split(os.pathsep)):
        module_name = f"metatui_plugin_{Path(path).stem}"
        spec = spec_from_file_location(module_name, path)
        if spec is None or spec.loader is None:
            raise BadInput(f"--plugin is {quote(path)}, but must be a Python file")
        module = module_from_spec(spec)
        try:
            spec.loader.exec_module(module)
        except Exception as error:
            raise BadInput(f"--plugin {quote(path)} cannot be loaded: {class_and_message(error)}") from error
        if not ALGORITHMS._add_all(module):
            raise BadInput(f"--plugin {quote(path)} defines no algorithm, model or data set")


def _load(point: EntryPoint) -> type[Component]:
    try:
        component: type[Component] = point.load()
    except Exception as error:
        raise BadInput(f"the plugin {quote(point.value)} cannot be loaded: {class_and_message(error)}") from error
    return component
