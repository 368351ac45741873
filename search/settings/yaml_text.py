"""YAML as it is read here: one reader for every text and every number, and the writer that goes with it.

What is YAML 1.2 or JSON is read as such, whatever YAML 1.1 makes of it: 1e-1 is a number, 2026-11-28 is a text, and
true and false are the only truth values. Numbers may also be written as Python writes them: 1_000, 0x1f, +1.e3. Words
that other readers take for truth values or numbers (no, 010, 1:30) stay texts, but known as `Unclear`.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, NamedTuple

import yaml

from programs.errors import InputError

DEEPEST = 20  # levels of nesting: far above any settings
MOST_VALUES = 100_000  # of a text, those behind an alias counted at each: far above any settings
LONGEST_NUMBER = 100  # characters

_TOO_DEEP = f"nested more than {DEEPEST} levels deep, or an alias within what it names"
_TAG = "tag:yaml.org,2002:"
_TEXT, _UNCLEAR, _MERGE, _NUMBERS = f"{_TAG}str", "!unclear", f"{_TAG}merge", (f"{_TAG}int", f"{_TAG}float")
_GROUPED = r"\d{1,3}(?:_\d{3})+"
_WHOLE = rf"[-+]?(?:0|[1-9]\d*|(?!0){_GROUPED}|0x[\da-fA-F]+|0o[0-7]+|0b[01]+)"
_EXPONENT = r"[eE][-+]?\d+"
_REAL = rf"[-+]?(?:(?:(?:\d+|{_GROUPED})\.\d*|\.\d+)(?:{_EXPONENT})?|(?:\d+|{_GROUPED}){_EXPONENT}|\.(?:inf|Inf|INF))"
# What YAML 1.1 or Python reads as a truth value or a number and is none above: yes, 010, 1__0, 0x_1, 1:30, inf.
_ELSEWHERE = (
    r"(?i:yes|no|on|off|[-+]?(?:\.?\d[\d_]*\.?[\d_]*(?:e[-+]?[\d_]+)?|0[xob][\da-f_]+|\d[\d_]*(?::[0-5]?\d)+(?:\.[\d_]*)?"
    r"|inf|infinity|nan))"
)


class Unclear(str):
    """A word without quotes that is a text here and a truth value or a number elsewhere."""

    __slots__ = ()


class _Scalar(NamedTuple):
    """A kind of value: how it is written, and what is made of that."""

    pattern: re.Pattern[str]
    make: Callable[[str], Any]


def _real(text: str) -> float:
    return float(text.lower().replace("_", "").replace(".inf", "inf").replace(".nan", "nan"))


_SCALARS = {
    tag: _Scalar(re.compile(pattern, re.ASCII | re.DOTALL), make)
    for tag, pattern, make in (
        (f"{_TAG}null", "~|null|Null|NULL|", lambda _: None),
        (f"{_TAG}bool", "true|True|TRUE|false|False|FALSE", lambda text: text.lower() == "true"),
        (f"{_TAG}int", _WHOLE, lambda text: int(text, 0)),
        (f"{_TAG}float", rf"{_REAL}|\.(?:nan|NaN|NAN)", _real),
        (_UNCLEAR, _ELSEWHERE, Unclear),
        (_MERGE, "<<", str),
        (_TEXT, ".*", str),
    )
}


class _Resolver:
    """What a value is that has no tag, to the reader and to the writer."""

    def resolve(self, kind: type[yaml.Node], value: Any, implicit: tuple[bool, bool]) -> str:
        """Return the tag of a node; `implicit` says first whether it is without quotes."""
        if kind is not yaml.ScalarNode:
            return f"{_TAG}seq" if kind is yaml.SequenceNode else f"{_TAG}map"
        if not implicit[0]:
            return _TEXT
        return next(tag for tag, scalar in _SCALARS.items() if scalar.pattern.fullmatch(value))


class _Loader(_Resolver, yaml.SafeLoader):
    def fetch_flow_collection_start(self, kind: type[yaml.Token]) -> None:
        """Refuse thousands of brackets before they are looked into, which takes seconds."""
        if self.flow_level > DEEPEST:
            raise yaml.scanner.ScannerError(None, None, _TOO_DEEP, self.get_mark())
        super().fetch_flow_collection_start(kind)


class _Dumper(_Resolver, yaml.SafeDumper):
    pass


class Document(NamedTuple):
    """A text: as nodes that know their lines, and as plain data."""

    tree: yaml.Node | None
    data: Any


def read_yaml(text: str, source: str, has_lines: bool = True) -> Document:
    """Read a text.

    Args:
        text: one document.
        source: what to call it in messages, such as its path.
        has_lines: whether messages say the line.

    Raises:
        InputError: it is not YAML, says something twice, has keys that are no texts, or is endless.
    """
    try:
        tree = _Loader(text).get_single_node()
        return Document(tree, None if tree is None else _Values().of(tree))
    except _RefusedError as error:
        line, problem = error.line, error.problem
    except yaml.MarkedYAMLError as error:
        line, problem = error.problem_mark and error.problem_mark.line, f"not valid YAML: {error.problem}"
    except yaml.reader.ReaderError as error:
        line, problem = text.count("\n", 0, error.position), f"not valid YAML: {str(error).splitlines()[0]}"
    except RecursionError:
        line, problem = None, _TOO_DEEP
    except (ValueError, OverflowError):  # \Uffffffff within quotes
        line, problem = None, "not valid YAML: a character that does not exist"
    where = f"{source}:{line + 1}" if has_lines and line is not None else source
    raise InputError(f"{where}: {shortened(problem, 200)}")


def number_of(text: str) -> int | float | None:
    """Return the number that a word is, None if it is none: the same numbers as in files."""
    tag = _Resolver().resolve(yaml.ScalarNode, text, (True, False))
    is_number = tag in _NUMBERS and len(text) <= LONGEST_NUMBER
    return _SCALARS[tag].make(text) if is_number else None


def write_yaml(data: Any) -> str:
    """Return plain data as a text that `read_yaml` reads as the same data."""
    return yaml.dump(data, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=100)


def shortened(text: str, most: int = 60) -> str:
    """Return a text as messages quote it, cut after `most` characters."""
    return text if len(text) <= most else f"{text[:most]}..."


class _RefusedError(Exception):
    """A text that is YAML and yet not taken."""

    def __init__(self, node: yaml.Node, problem: str) -> None:
        super().__init__(problem)
        self.line, self.problem = node.start_mark.line, problem


class _Values:
    """Makes plain data of nodes. What aliases name is made anew at each, so that nothing is in two places."""

    def __init__(self) -> None:
        self._count = 0

    def of(self, node: yaml.Node, depth: int = 0) -> Any:
        self._count += 1
        if self._count > MOST_VALUES:
            raise _RefusedError(node, f"holds more than {MOST_VALUES} values, those that aliases repeat included")
        if depth > DEEPEST:
            raise _RefusedError(node, _TOO_DEEP)
        if isinstance(node, yaml.SequenceNode) and node.tag == f"{_TAG}seq":
            return [self.of(item, depth + 1) for item in node.value]
        if isinstance(node, yaml.MappingNode) and node.tag == f"{_TAG}map":
            return self._mapping(node, depth)
        if isinstance(node, yaml.ScalarNode) and node.tag in _SCALARS:
            return self._scalar(node)
        raise _RefusedError(node, f"not valid YAML: unknown tag '{node.tag}'; leave it out")

    def _scalar(self, node: yaml.ScalarNode) -> Any:
        pattern, make = _SCALARS[node.tag]
        if not pattern.fullmatch(node.value):
            raise _RefusedError(node, f"not valid YAML: '{node.value}' is no {node.tag.removeprefix(_TAG)}")
        if node.tag in _NUMBERS and len(node.value) > LONGEST_NUMBER:
            raise _RefusedError(node, f"a number of {len(node.value)} characters; {LONGEST_NUMBER} are read")
        return make(node.value)

    def _mapping(self, node: yaml.MappingNode, depth: int) -> dict[str, Any]:
        merged: dict[str, Any] = {}
        own: dict[str, Any] = {}
        for key, value in node.value:
            if not isinstance(key, yaml.ScalarNode) or key.tag not in (_TEXT, _UNCLEAR, _MERGE):
                raise _RefusedError(key, f"{_as_written(key)}: the name of a setting must be a text; put it in quotes")
            if key.value in own or (key.tag == _MERGE and merged):
                raise _RefusedError(key, f"{key.value}: given twice; remove one")
            if key.tag == _MERGE:
                merged = self._merged(value, depth)
            else:
                own[key.value] = self.of(value, depth + 1)
        return merged | own

    def _merged(self, node: yaml.Node, depth: int) -> dict[str, Any]:
        """Return what `<<` takes over: of several mappings, the earlier ones count."""
        found = self.of(node, depth + 1)
        mappings = found if isinstance(found, list) else [found]
        if not all(isinstance(one, dict) for one in mappings):
            raise _RefusedError(node, "<<: expected a mapping, or a list of mappings")
        return {key: value for one in reversed(mappings) for key, value in one.items()}


def _as_written(node: yaml.Node) -> str:
    return str(node.value) or "nothing" if isinstance(node, yaml.ScalarNode) else "a list or a mapping"
