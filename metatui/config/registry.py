"""Registries of algorithms, models and data sets: the built-in ones, installed plugins, and files given by the user.

A built-in component is a module in a package of `metatui.learning` and is found by the name of the module. A plugin is
either an entry point of an installed distribution (`metatui.algorithms`, `metatui.models` or `metatui.data`), or a file
that the user gives on the command line (`--plugin FILE.py`). Settings select components by name, but never load a file.

Built-in components do not import torch at module level, because the app reads their declarations at start-up.
"""

from __future__ import annotations

import logging
import os
import pkgutil
import re
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from functools import cache
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, ClassVar, Generic, Literal, TypeVar, get_args

from pydantic import ValidationError

from metatui.config.declarations import Group, Scalar, SettingField, When, group_fields
from metatui.utils.errors import BadInput, class_and_message, did_you_mean, quote

if TYPE_CHECKING:
    from metatui.config.settings import Settings
    from metatui.learning.algorithm import Algorithm
    from metatui.learning.data.data_set import DataSet
    from metatui.learning.model import Model

PLUGINS_VARIABLE = "METATUI_PLUGINS"
"""Environment variable with the paths of the plugin files, so that child processes load the same plugins."""

NAME = re.compile(r"[a-z][a-z0-9_]{0,31}")
"""Pattern of the names of components."""

Kind = Literal["regression", "classification"]

Usual = dict[Kind, dict[str, Scalar]]
"""Usual values of settings, keyed by the kind of task and then by the path of the setting."""

log = logging.getLogger(__name__)


class Component:
    """Declaration of an algorithm, a model or a data set."""

    registry: ClassVar[Registry[Any]]
    """Registry of all components of this kind. The base classes `Algorithm`, `Model` and `DataSet` define it."""
    name: ClassVar[str]
    """Name in settings and on the command line; for a built-in component, also the name of its module."""
    title: ClassVar[str]
    """Name for display, as written in the literature."""
    Options: ClassVar[type[Group]] = Group
    """Settings that only this component has. They form a group of settings with the component's name."""
    uses: ClassVar[frozenset[str]] = frozenset()
    """Paths of the common settings that this component reads, except those that every component reads."""
    usual: ClassVar[Usual] = {}
    """Usual values of settings for this algorithm. The app offers them when the algorithm is selected."""
    default_for: ClassVar[frozenset[Kind]] = frozenset()
    """Kinds of tasks for which the value `auto` selects this component."""

    @classmethod
    def violations(cls, settings: Settings) -> Iterator[tuple[str, str]]:
        """Yield the path of each setting that does not fit this component, and what the setting must be instead."""
        yield from ()


AnyComponent = TypeVar("AnyComponent", bound=Component)


class Registry(Generic[AnyComponent]):
    """The components of one kind, keyed by name."""

    def __init__(self, kind: str, package: str, *, group: str, setting: str) -> None:
        """Create an empty registry.

        Args:
            kind: the word for one component in messages, such as "algorithm".
            setting: the path of the setting that selects a component.
            package: the package with the modules of built-in components.
            group: the entry-point group of installed plugins.
        """
        self.kind = kind
        self.one = f"an {kind}" if kind[0] in "aeiou" else f"a {kind}"
        """`kind` with its article, such as "an algorithm"."""
        self.or_plugin = f", or {self.one} of a plugin that is installed or loaded with --plugin FILE.py"
        """Text that follows the list of allowed names in messages."""
        self.setting = setting
        self._package = package
        self._group = group
        self._classes: dict[str, type[AnyComponent]] = {}
        self._broken: dict[str, str] = {}
        """Reasons why installed plugins cannot be used, keyed by the name of the plugin."""

    def __contains__(self, name: object) -> bool:
        return name in self._classes or name in self.names()

    def __getitem__(self, name: str) -> type[AnyComponent]:
        """Return the component called `name`, loading its module if necessary.

        Raises:
            BadInput: if no component has this name, or a plugin cannot be loaded.
        """
        if name not in self._classes:
            if name in self._built_in():
                self._classes[name] = self._load_built_in(name)
            elif name in self._installed():
                self._load_installed(name)
        if name not in self._classes:
            load_plugin_files()
        if name not in self._classes:
            raise BadInput(f"{self.kind} is {quote(name)}, but {self.requirement(name)}")
        return self._classes[name]

    def names(self) -> tuple[str, ...]:
        """Return the names of all components: built-in ones, then those of plugins."""
        load_plugin_files()
        names = dict.fromkeys((*self._built_in(), *self._installed(), *self._classes))
        return tuple(name for name in names if name not in self._broken)

    def requirement(self, name: str, *others: str) -> str:
        """Return the reason why `name` does not select a usable component, worded to follow "but".

        Args:
            others: further names that are allowed.
        """
        if name in self._broken:
            return self._broken[name]
        names = (*others, *self.names())
        allowed = f"must be one of {', '.join(names)}{self.or_plugin}"
        return ": ".join(filter(None, (allowed, did_you_mean(name, names, otherwise=""))))

    def components(self) -> Iterator[type[AnyComponent]]:
        """Yield all components in the order of `names`, except installed plugins that cannot be loaded."""
        for name in self.names():
            try:
                yield self[name]
            except BadInput:
                if name not in self._broken:
                    raise

    def loaded(self) -> tuple[type[AnyComponent], ...]:
        """Return the components whose modules have been loaded."""
        return tuple(self._classes.values())

    def plugins(self) -> dict[str, str]:
        """Return the file of each plugin, keyed by name. If a plugin cannot be used, the value is the reason."""
        plugins = (component for component in self.components() if not self.is_built_in(component))
        return {each.name: str(sys.modules[each.__module__].__file__) for each in plugins} | self._broken

    def add(self, component: type[AnyComponent]) -> None:
        """Add a component that was defined in a file or in Python code, not in an installed plugin.

        Raises:
            BadInput: if another component of this registry already has the same name.
        """
        name = component.name
        if name in self._built_in():
            raise BadInput(
                f"a plugin defines the {self.kind} {quote(name)}, but a built-in {self.kind} has this name: choose "
                "another name"
            )
        if name in self._installed() or self._classes.setdefault(name, component) is not component:
            raise BadInput(f"two plugins define the {self.kind} {quote(name)}: load only one of them")

    def remove(self, component: type[AnyComponent]) -> None:
        del self._classes[component.name]

    def exclude(self, component: type[AnyComponent], reason: str) -> None:
        """Remove the component of an unusable plugin.

        Raises:
            BadInput: if the plugin was loaded from a file or defined in Python code. For a plugin of an installed
                package, the reason is only recorded and logged.
        """
        self.remove(component)
        if component.name not in self._installed():
            raise BadInput(reason)
        self._broken[component.name] = reason
        log.warning("%s", reason)

    def is_built_in(self, component: type[AnyComponent]) -> bool:
        return component.name in self._built_in()

    def _load_built_in(self, name: str) -> type[AnyComponent]:
        module = import_module(f"{self._package}.{name}")
        component: type[AnyComponent] = next(each for each in _defined_in(module) if each.registry is self)
        return component

    def _load_installed(self, name: str) -> None:
        if name not in self._broken:
            try:
                self._classes[name] = _installed_component(self._installed()[name])
            except BadInput as error:
                self._broken[name] = str(error)
                log.warning("%s", error)
        if name in self._broken:
            raise BadInput(self._broken[name])

    @cache  # noqa: B019 - registries live as long as the process
    def _built_in(self) -> tuple[str, ...]:
        path = import_module(self._package).__path__
        return tuple(module.name for module in pkgutil.iter_modules(path) if not module.ispkg)

    @cache  # noqa: B019
    def _installed(self) -> dict[str, EntryPoint]:
        return {point.name: point for point in _entry_points().select(group=self._group)}


ALGORITHMS: Registry[Algorithm] = Registry(
    "algorithm", "metatui.learning.algorithms", group="metatui.algorithms", setting="algorithm.name"
)
MODELS: Registry[Model] = Registry("model", "metatui.learning.models", group="metatui.models", setting="model.name")
DATA: Registry[DataSet] = Registry(
    "data set", "metatui.learning.data.sources", group="metatui.data", setting="task.source"
)
REGISTRIES: tuple[Registry[Any], ...] = (ALGORITHMS, MODELS, DATA)


class Names(Set[str]):
    """Names of the components of a registry that satisfy a condition. The condition is evaluated on each access."""

    def __init__(self, registry: Registry[AnyComponent], condition: Callable[[type[AnyComponent]], bool]) -> None:
        self._registry: Registry[Any] = registry
        self._condition: Callable[[type[Any]], bool] = condition

    def __contains__(self, name: object) -> bool:
        return name in self._registry and self._condition(self._registry[str(name)])

    def __iter__(self) -> Iterator[str]:
        return (component.name for component in self._registry.components() if self._condition(component))

    def __len__(self) -> int:
        return sum(1 for _ in self)


def used(registry: Registry[Any], path: str) -> dict[str, Set[str]]:
    """Return a condition that holds if the selected component of `registry` uses the setting `path`."""
    return {registry.setting: Names(registry, lambda component: path in component.uses)}


_loaded_files: set[str] = set()


def loaded_components() -> tuple[type[Component], ...]:
    """Return all components that have been loaded. The result changes only if a registry changes."""
    load_plugin_files()
    return tuple(component for registry in REGISTRIES for component in registry.loaded())


def components_with_options() -> Mapping[str, type[Component]]:
    """Return the components that have options, keyed by name."""
    return _with_options(all_components())


def load_plugin_files() -> None:
    """Load the selected plugin files that have not been loaded yet.

    Raises:
        BadInput: if a file cannot be loaded, or defines no component.
    """
    for path in plugin_files():
        if path not in _loaded_files:
            _loaded_files.add(path)  # before loading, because a plugin can import modules that look up components
            try:
                _load_file(Path(path))
            except BaseException:
                _loaded_files.remove(path)
                raise


def forget_plugin_files(paths: Set[str]) -> None:
    """Remove the components of plugin files, so that corrected files can be loaded."""
    for registry in REGISTRIES:
        for component in registry.loaded():
            if getattr(sys.modules[component.__module__], "__file__", None) in paths:
                registry.remove(component)
    _loaded_files.difference_update(paths)


def plugin_files() -> list[str]:
    """Return the paths of the selected plugin files."""
    variable = os.environ.get(PLUGINS_VARIABLE)
    return variable.split(os.pathsep) if variable else []


def _load_file(path: Path) -> None:
    origin = f"--plugin {quote(str(path), 200)}"
    if not os.path.isfile(path):  # unlike Path.is_file, this is also False if the path is not accessible
        raise BadInput(f"{origin} is not a file")
    module_name = f"metatui_plugin_{len(_loaded_files)}_{path.stem}"
    spec = spec_from_file_location(module_name, path)
    if spec is None or spec.loader is None:
        raise BadInput(f"{origin} is not a Python file: its name must end in .py")
    module = module_from_spec(spec)
    sys.modules[module_name] = module  # pydantic and dataclasses look up annotations there
    try:
        spec.loader.exec_module(module)
        components = _defined_in(module)
        if not components:
            raise BadInput(
                "it defines no algorithm, model or data set, but must contain a subclass of Algorithm, Model or "
                "DataSet that has a `name`, like the examples that 'metatui plugin' prints"
            )
        add_components(components)
    except BadInput as error:
        raise BadInput(f"{origin} cannot be used: {error}") from error
    except (Exception, SystemExit) as error:
        raise BadInput(f"{origin} cannot be loaded: {class_and_message(error)}") from error


def _defined_in(module: ModuleType) -> list[type[Any]]:
    return [
        value
        for value in vars(module).values()
        if isinstance(value, type)
        and issubclass(value, Component)
        and value.__module__ == module.__name__
        and "name" in vars(value)
    ]


def add_components(components: Sequence[type[Component]]) -> None:
    """Check components that were defined in a file or in Python code, and add them to their registries.

    Raises:
        BadInput: if a declaration is invalid, or another component of the same registry has the same name.
    """
    for component in components:
        _check(component)
    for component in components:
        component.registry.add(component)


def _check(component: type[Component]) -> None:
    """Check the declaration of a plugin's component.

    Raises:
        BadInput: if the declaration is invalid.
    """
    here = f"class {component.__name__}"
    if getattr(component, "registry", None) not in REGISTRIES:
        raise BadInput(f"{here} must be a subclass of Algorithm, Model or DataSet")
    name = getattr(component, "name", None)
    if not isinstance(name, str) or not NAME.fullmatch(name):
        raise BadInput(
            f"{here}: name is {quote(name)}, but must be 1 to 32 characters from a-z, 0-9 and '_', and must begin "
            "with a letter"
        )
    if not isinstance(getattr(component, "title", None), str):
        raise BadInput(f"{here} must have a title: its name as written in the literature")
    if not isinstance(component.Options, type) or not issubclass(component.Options, Group):
        raise BadInput(f"{here}: Options must be a subclass of Group")
    if not isinstance(component.uses, Set):
        raise BadInput(f"{here}: the attribute 'uses' must be a set of paths of settings")
    kinds = get_args(Kind)
    if not all(kind in kinds and isinstance(values, Mapping) for kind, values in component.usual.items()):
        raise BadInput(
            f"{here}: usual must be a dict whose keys are kinds of tasks ({' or '.join(kinds)}), and whose values are "
            "dicts of settings"
        )
    kind = getattr(component, "kind", None)
    if component.registry is DATA and kind not in kinds:
        raise BadInput(f"{here}: kind is {quote(kind)}, but must be {' or '.join(kinds)}")
    fields = {field.path: field for field in fields_of(component)}
    try:
        # A default that is not allowed would make the settings of runs unreadable.
        component.Options.model_validate(dict(component.Options()))
    except ValidationError as error:
        first = error.errors()[0]
        problem = fields[f"{name}.{first['loc'][0]}"].problem(first["input"])
        raise BadInput(f"{here}: the default of {problem.sentence}") from None


def fields_of(component: type[Component]) -> Iterator[SettingField]:
    """Yield the fields of the options of a component.

    Raises:
        BadInput: if an option is not declared correctly.
    """
    selected: When = {component.registry.setting: frozenset({component.name})}
    return group_fields(component.name, component.Options, selected)


def all_components() -> tuple[type[Component], ...]:
    """Return the components of all registries."""
    return tuple(component for registry in REGISTRIES for component in registry.components())


@cache
def _with_options(components: tuple[type[Component], ...]) -> Mapping[str, type[Component]]:
    return {component.name: component for component in components if component.Options.model_fields}


@cache
def _entry_points() -> Any:  # the type depends on the version of Python
    """Return the entry points of all installed distributions, cached because reading them takes milliseconds."""
    return entry_points()


def _installed_component(point: EntryPoint) -> type[Any]:
    """Load the component of an installed plugin.

    Raises:
        BadInput: if the entry point cannot be loaded, or is not a component of the same name.
    """
    origin = f"the plugin {quote(point.value)}"
    try:
        component = point.load()
    except (Exception, SystemExit) as error:
        raise BadInput(f"{origin} cannot be loaded: {class_and_message(error)}") from error
    if not isinstance(component, type) or not issubclass(component, Component):
        raise BadInput(f"{origin} is not an algorithm, model or data set")
    if (name := getattr(component, "name", None)) != point.name:
        raise BadInput(f"{origin} is installed as {quote(point.name)}, but its name is {quote(name)}")
    _check(component)
    return component
