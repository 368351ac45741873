"""Reading settings from YAML files, plain data and databases: every mistake is one line that says where it is."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple, TypeVar, get_args

import yaml
from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from programs.errors import InputError
from programs.text_file import read_text

from proxy_tasks.named import is_users

from search.settings.language import as_language
from search.settings.settings import Dedup, Settings
from search.settings.tasks import as_choices
from search.settings.yaml_text import read_yaml, shortened

Model = TypeVar("Model", bound=BaseModel)


class SettingsFile:
    """A YAML file of settings, whose `name` is that of the file unless it says another.

    Functions that it names are looked for in its folder, too.

    Args:
        path: the file.
        overrides: changes such as `a.b=c`, applied in order.

    Raises:
        InputError: it cannot be read, is not YAML, or an override does not fit it.
    """

    def __init__(self, path: Path, overrides: Sequence[str] = ()) -> None:
        self.path = path
        self._changes: dict[str, str] = {}
        self._tree, self.data = read_yaml(read_text(path, "a YAML file of settings"), str(path))
        if not isinstance(self.data, dict):
            found = "nothing" if self.data is None else type(self.data).__name__
            raise InputError(f"{path}: expected settings such as 'name: quickstart', found {found}")
        self.data.setdefault("name", re.sub(r"[^\w.-]", "_", path.stem))
        if (folder := str(path.resolve().parent)) not in sys.path:
            sys.path.append(folder)
        for override in overrides:
            self._override(override)

    def change(self, key: str, value: Any, what: str) -> None:
        """Set one setting.

        Args:
            key: such as `a.b`; items of lists by number.
            value: its new value.
            what: the change, for messages.

        Raises:
            InputError: the key does not fit the settings.
        """
        self._changes[set_value(self.data, key, value, what)] = what

    def _override(self, override: str) -> None:
        what = f"--set {shortened(override)}"
        key, separator, text = override.partition("=")
        if not separator:
            raise InputError(f"{what}: expected key=value, such as --set budget.programs=1000")
        self.change(key, read_yaml(text, what, has_lines=False).data, what)

    def read(self, model: type[Model], data: Mapping[str, Any] | None = None, place: Sequence[str] = ()) -> Model:
        """Return the settings that the file holds.

        Args:
            model: the class of the settings.
            data: a variant of what the file holds, to be read instead.
            place: where in the file that is which makes it a variant.

        Raises:
            InputError: a setting is wrong; says its file, line and key.
        """
        try:
            return model.model_validate(
                self.data if data is None else data, context={"folder": self.path.resolve().parent}
            )
        except ValidationError as error:
            source = _Source(str(self.path), self._tree, self._changes, place)
            raise InputError(_first_error(error, model, source)) from None

    def where(self, *location: str | int) -> str:
        """Return where a setting was set, and its key, for messages."""
        return _Source(str(self.path), self._tree, self._changes).of(location)


def load_settings(path: Path, overrides: Sequence[str] = ()) -> Settings:
    """Read a YAML file of settings and apply `a.b=c` overrides.

    Raises:
        InputError: a setting is wrong; says its file, line and key.
    """
    return SettingsFile(path, overrides).read(Settings)


def check_settings(data: Mapping[str, Any]) -> Settings:
    """Return the settings that are given as plain data.

    Raises:
        InputError: a setting is wrong; says its key.
    """
    try:
        return Settings.model_validate(dict(data))
    except ValidationError as error:
        raise InputError(_first_error(error, Settings, _Source("settings"))) from None


def stored_settings(data: dict[str, Any], search: str) -> Settings:
    """Return settings that a database holds.

    Raises:
        InputError: they are not settings of this version, or name user-defined tasks, which are never imported because
            a database names them.
    """
    try:
        settings = Settings.model_validate({key: value for key, value in data.items() if key != "versions"})
    except ValidationError as error:
        raise _not_of_this_version(search, error) from None
    for choice in settings.tasks:
        if is_users(choice.name):
            raise InputError(
                f"search '{search}' has a user-defined task, '{choice.name}', and nothing is loaded because a database"
                " names it: give the config with --config"
            )
    return settings


def stored_dedup(data: Mapping[str, Any], search: str) -> Dedup:
    """Return the settings of a search, in a database, that decide which programs are the same.

    Raises:
        InputError: they are not settings of this version.
    """
    try:
        return Dedup.model_validate(data.get("dedup", {}))
    except ValidationError as error:
        raise _not_of_this_version(search, error, "dedup") from None


def _not_of_this_version(search: str, error: ValidationError, *above: str) -> InputError:
    first = error.errors()[0]
    key = ".".join(map(str, [*above, *_location(first["loc"])])) or "settings"
    return InputError(
        f"search '{search}': its settings in the database are not those of this version ({key}: {first['msg']})"
    )


def _as_hurdles(value: Any) -> Any:
    return {} if value is None or value is False or value == "off" else value


# What stands for a group of settings, wherever they are, in the form in which one of them can be set.
_SHORT_FORMS: dict[str, Callable[[Any], Any]] = {
    "tasks": as_choices, "language": as_language, "hurdles": _as_hurdles,
}  # fmt: skip


def set_value(data: dict[str, Any], key: str, value: Any, what: str) -> str:
    """Set one setting in plain data.

    Args:
        data: the settings, which are changed.
        key: such as `a.b`; items of lists by number.
        value: its new value.
        what: the change, for messages.

    Returns:
        The key, or the beginning of it that was not there before.

    Raises:
        InputError: the key does not fit the settings.
    """
    *parents, last = key.split(".") if isinstance(key, str) else [""]
    if "" in (*parents, last):
        raise InputError(f"{what}: expected a key such as budget.programs")
    node: Any = data
    new = key
    try:
        for depth, name in enumerate(parents, start=1):
            if new == key and isinstance(node, dict) and name not in node:
                new = ".".join(parents[:depth])
            if isinstance(node, dict) and name in node and name in _SHORT_FORMS:
                node[name] = _SHORT_FORMS[name](node[name])
            node = node[int(_place(node, name))] if isinstance(node, list) else node.setdefault(name, {})
        node[_place(node, last)] = value
    except (TypeError, AttributeError, ValueError, IndexError):
        raise InputError(f"{what}: the settings have no key '{shortened(key)}'") from None
    return new


def _place(node: Any, name: str) -> int | str:
    """Return the name itself, or for a list the number that it is, counted from 0."""
    if not isinstance(node, list):
        return name
    if not name.isdecimal():
        raise ValueError(name)
    return int(name)


class _Source(NamedTuple):
    """Where settings come from: what it is called, its nodes, changes by key, and the place of a variant in it."""

    name: str
    tree: yaml.Node | None = None
    changes: Mapping[str, str] = MappingProxyType({})
    place: Sequence[str] = ()

    def of(self, location: Sequence[str | int]) -> str:
        """Return where a setting was set, and its key."""
        whole = [*self.place, *location]
        key = ".".join(map(str, whole)) or "settings"
        change = next((what for changed, what in self.changes.items() if f"{key}.".startswith(f"{changed}.")), None)
        return f"{change or self.name + _line(self.tree, whole)}: {shortened(key, 100)}"


def _first_error(error: ValidationError, model: type[BaseModel], source: _Source) -> str:
    """Return what is wrong with the first wrong setting, where it was set, and how many others are wrong."""
    details = _of_meant_branches(error.errors())
    unknown = [detail for detail in details if detail["type"] == "extra_forbidden"]
    first = unknown[0] if unknown and details[0]["type"] == "missing" else details[0]  # which may be misspelt
    location = _location(first["loc"])
    message = first["msg"].removeprefix("Value error, ")
    if first["type"] == "extra_forbidden":
        message = "unknown setting; " + _known_settings(model, location[:-1])
    elif first["type"] in _WANTED:
        message = f"expected {_WANTED[first['type']]}, {_written_short(first['input'])}"
        message += f"; {_known_settings(model, location)}" if first["type"] == "model_type" else ""
    elif "input" in first and not isinstance(first["input"], dict | list) and first["type"] != "missing":
        message = f"{message}, got {_written(first['input'])}"
    wrong = {tuple(_location(d["loc"])) for d in details}
    # A list whose only item is wrong also counts as too short: what holds a wrong setting is not counted itself.
    others = sum(not any(other[: len(loc)] == loc for other in wrong if other != loc) for loc in wrong) - 1
    more = f" (and {others} more)" if others else ""
    return f"{source.of(location)}: {shortened(message, 400)}{more}"


_WANTED = {"tuple_type": "a list, such as [a, b]", "model_type": "settings, such as {a: 1}", "dict_type": "settings"}
"""What to give where pydantic wants a type of Python's."""


def _of_meant_branches(details: list[ErrorDetails]) -> list[ErrorDetails]:
    """Return what is wrong, without what the other form of a setting would be where it is written as settings."""

    def is_other_form(detail: ErrorDetails) -> bool:
        place = _location(detail["loc"])
        return (
            detail["type"].endswith("_type")
            and isinstance(detail["input"], dict)
            and any(_location(d["loc"])[: len(place)] == place and d["loc"] != detail["loc"] for d in details)
        )

    return [detail for detail in details if not is_other_form(detail)]


def _written_short(value: Any) -> str:
    """Return what was given in place of it."""
    if isinstance(value, dict | list):
        return "found settings" if isinstance(value, dict) else "found a list"
    return "found nothing" if value is None else f"got {_written(value)}"


def _written(value: Any) -> str:
    try:
        return shortened(repr(value))
    except ValueError:  # Python writes no number of thousands of digits
        return "a number of thousands of digits"


def _location(loc: Sequence[str | int]) -> list[str | int]:
    """Return the path to a setting, without the branches of unions that pydantic appends."""
    branch = r"(constrained|function|literal)[-\[].*|int|float|\[key\]"
    return [part for part in loc if isinstance(part, int) or not re.fullmatch(branch, part)]


def _known_settings(model: type[BaseModel], location: Iterable[str | int]) -> str:
    for part in location:
        field = model.model_fields.get(str(part))
        model = (_model_in(field.annotation) if field is not None else None) or model
    return f"known here: {', '.join(model.model_fields)}"


def _model_in(annotation: Any) -> type[BaseModel] | None:
    """Return the class of settings within `X | None`, `tuple[X, ...]` and the like."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((model for inner in get_args(annotation) if (model := _model_in(inner)) is not None), None)


def _line(tree: yaml.Node | None, location: Sequence[str | int]) -> str:
    """Return `:LINE` of the deepest part of the location that the file holds."""
    node, line = tree, None
    for part in location:
        if isinstance(node, yaml.SequenceNode) and isinstance(part, int) and part < len(node.value):
            node = node.value[part]
            line = node.start_mark.line
        elif isinstance(node, yaml.MappingNode):
            found = [(k, v) for k, v in node.value if k.value == part]
            if not found:
                break
            line, node = found[0][0].start_mark.line, found[0][1]
    return "" if line is None else f":{line + 1}"
