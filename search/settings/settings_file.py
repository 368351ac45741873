"""Reading settings from YAML files, plain data and databases: every mistake is one line that says where it is."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar, get_args

import yaml
from pydantic import BaseModel, ValidationError

from programs.errors import InputError

from proxy_tasks.named import is_users

from search.settings.settings import Dedup, Settings

Model = TypeVar("Model", bound=BaseModel)


class SettingsFile:
    """A YAML file of settings. Functions that it names are looked for in its folder, too.

    Args:
        path: the file.
        overrides: changes such as `a.b=c`, applied in order.

    Raises:
        InputError: it cannot be read, is not YAML, or an override does not fit it.
    """

    def __init__(self, path: Path, overrides: Sequence[str] = ()) -> None:
        self.path = path
        self._overrides = overrides
        self._tree, self.data = _read_yaml(_text(path), path)
        if (folder := str(path.resolve().parent)) not in sys.path:
            sys.path.append(folder)
        for override in overrides:
            _override(self.data, override)

    def read(self, model: type[Model], data: Mapping[str, Any] | None = None) -> Model:
        """Return the settings that the file holds.

        Args:
            model: the class of the settings.
            data: a variant of what the file holds, to be read instead.

        Raises:
            InputError: a setting is wrong; says its file, line and key.
        """
        try:
            return model.model_validate(self.data if data is None else data)
        except ValidationError as error:
            raise InputError(_first_error(error, model, str(self.path), self._tree, self._overrides)) from None


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
        raise InputError(_first_error(error, Settings, "settings", None, ())) from None


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
                " names it: give the config with --config, or the task with --task"
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


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise InputError(
            f"{path}: cannot be read ({error.strerror}); give the path of a YAML file of settings"
        ) from None
    except UnicodeDecodeError:
        raise InputError(f"{path}: is not text; expected a YAML file of settings") from None


def _read_yaml(text: str, path: Path) -> tuple[yaml.Node | None, dict[str, Any]]:
    """Return the settings twice: as nodes that know their lines, and as plain data."""
    try:
        tree = yaml.compose(text, Loader=yaml.SafeLoader)
        data = yaml.safe_load(text)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        mark = getattr(error, "problem_mark", None)
        where = f":{mark.line + 1}" if mark else ""
        problem = getattr(error, "problem", None) or str(error).splitlines()[0]
        raise InputError(f"{path}{where}: not valid YAML: {problem}") from None
    if not isinstance(data, dict):
        raise InputError(f"{path}: expected settings such as 'name: quickstart', found {type(data).__name__}")
    _refuse_repeated_keys(tree, path)
    return tree, data


def _refuse_repeated_keys(node: yaml.Node | None, path: Path) -> None:
    if isinstance(node, yaml.SequenceNode):
        for item in node.value:
            _refuse_repeated_keys(item, path)
    elif isinstance(node, yaml.MappingNode):
        seen = set()
        for key, value in node.value:
            if str(key.value) in seen:
                raise InputError(f"{path}:{key.start_mark.line + 1}: {key.value}: given twice; remove one")
            seen.add(str(key.value))
            _refuse_repeated_keys(value, path)


def _override(data: dict[str, Any], override: str) -> None:
    key, separator, text = override.partition("=")
    if not separator:
        raise InputError(f"--set {override}: expected key=value, such as --set budget.programs=1000")
    try:
        value = yaml.safe_load(text)
    except (ValueError, yaml.YAMLError):
        raise InputError(f"--set {override}: '{text}' is not a YAML value") from None
    set_value(data, key, value, f"--set {override}")


def set_value(data: dict[str, Any], key: str, value: Any, what: str) -> None:
    """Set one setting in plain data.

    Args:
        data: the settings, which are changed.
        key: such as `a.b`; items of lists by number.
        value: its new value.
        what: the change, for messages.

    Raises:
        InputError: the key does not fit the settings.
    """
    *parents, last = key.split(".")
    if "" in (*parents, last):
        raise InputError(f"{what}: expected a key such as budget.programs")
    node: Any = data
    try:
        for name in parents:
            node = node[int(_place(node, name))] if isinstance(node, list) else node.setdefault(name, {})
        node[_place(node, last)] = value
    except (TypeError, AttributeError, ValueError, IndexError):
        raise InputError(f"{what}: the settings have no key '{key}'") from None


def _place(node: Any, name: str) -> int | str:
    """Return the name itself, or for a list the number that it is, counted from 0."""
    if not isinstance(node, list):
        return name
    if not name.isdecimal():
        raise ValueError(name)
    return int(name)


def _first_error(
    error: ValidationError, model: type[BaseModel], source: str, tree: yaml.Node | None, overrides: Sequence[str]
) -> str:
    """Return what is wrong with the first wrong setting, where it was set, and how many others are wrong."""
    details = error.errors()
    first, location = details[0], _location(details[0]["loc"])
    key = ".".join(map(str, location)) or "settings"
    message = first["msg"].removeprefix("Value error, ")
    if first["type"] == "extra_forbidden":
        message = "unknown setting; " + _known_settings(model, location[:-1])
    elif "input" in first and not isinstance(first["input"], dict | list) and first["type"] != "missing":
        message = f"{message}, got {first['input']!r}"
    wrong = {tuple(_location(d["loc"])) for d in details}
    # A list whose only item is wrong also counts as too short: what holds a wrong setting is not counted itself.
    others = sum(not any(other[: len(loc)] == loc for other in wrong if other != loc) for loc in wrong) - 1
    more = f" (and {others} more)" if others else ""
    culprit = next((o for o in overrides if o.partition("=")[0] == key), None)
    where = f"--set {culprit}: {key}" if culprit else f"{source}{_line(tree, location)}: {key}"
    return f"{where}: {message}{more}"


def _location(loc: Sequence[str | int]) -> list[str | int]:
    """Return the path to a setting, without the branches of unions that pydantic appends."""
    branches = ("constrained", "literal", "function", "int", "float")
    return [part for part in loc if isinstance(part, int) or not part.startswith(branches)]


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
