"""The page of settings, from their models: what each may be, its default, and its meaning."""

from __future__ import annotations

import inspect
import json
from collections.abc import Iterator, Mapping
from typing import Any

from search.evidence import comparison
from search.settings.fields import Immutable
from search.settings.funnel import Funnel
from search.settings.settings import Settings

from scripts.docs_site.source import attribute_docs, one_line

HEAD = """\
# Settings

A search is one YAML file. `optsearch run FILE --set KEY=VALUE` overrides a setting; in keys, parts are separated by
dots and items of lists counted from 0: `--set tasks.0.steps=100`. What is unknown or out of range is refused in one
line, with its place in the file. In [Python](python.md) the same settings are a dictionary.

Values are read as in YAML 1.2 and JSON: `1e-1` is a number, `2026-11-28` is a text, and only `true` and `false` are
truth values; numbers may also be written `1_000` or `0x1f`. Options of commands read numbers in the same way. In
arguments of data sets and models, words that programs read in different ways, such as `no` or `010`, are refused:
`'no'` is the text.
"""
COMPARISON = """\
## Comparisons

`optsearch compare` reads settings of a search with `arms`. Under `arms` stands {about}

An arm may have `{seeds}`, which replaces the seeds of all its tasks. An arm of random programs may have `{lengths_of}`,
the name of an arm above it: random programs are then as long as the last programs of that arm. What it is for:
[Does it discover?](../discovery.md)
"""
FUNNEL = """\
## Funnels

`optsearch select` reads a file of these. What they do: [Does it discover?](../discovery.md#the-funnel)
"""


def _models(kind: type[Immutable]) -> Iterator[type[Immutable]]:
    """Yield the models below one, those of several generations too."""
    for below in kind.__subclasses__():
        yield below
        yield from _models(below)


_KINDS = {kind.__name__: kind for kind in _models(Immutable)}
_TYPES = {
    "integer": "whole number",
    "number": "number",
    "boolean": "true or false",
    "string": "text",
    "object": "mapping",
}
_BOUNDS = (
    (("minimum", "ge"), "from {}"), (("exclusiveMinimum", "gt"), "above {}"),
    (("maximum", "le"), "to {}"), (("exclusiveMaximum", "lt"), "below {}"),
)  # fmt: skip


def settings_page() -> str:
    """Return the page as Markdown.

    Raises:
        ValueError: a setting has no meaning written under it.
    """
    about = inspect.cleandoc(str(comparison.__doc__)).split("\n\n")[1].partition(": ")[2]
    described: dict[str, str] = {}
    parts = [
        HEAD,
        *_sections(Settings, "", described),
        COMPARISON.format(about=about, seeds=comparison.SEEDS, lengths_of=comparison.LENGTHS_OF),
        FUNNEL,
        *_sections(Funnel, "funnel", described),
    ]
    return "\n".join(parts)


def _sections(kind: type[Immutable], place: str, described: dict[str, str]) -> Iterator[str]:
    """Yield the settings of a model, then those of the models within it that are not described yet.

    Args:
        kind: the model.
        place: where it stands, such as `strategy`; "" for a search itself.
        described: anchors by the names of models; added to.
    """
    schema = kind.model_json_schema()["properties"]
    inner = {name: _refs(part) for name, part in schema.items()}
    taken = {*described.values()}
    new = {
        ref: f"{place}-{name}" if name in taken else name
        for name, refs in inner.items() for ref in refs if ref not in described
    }  # fmt: skip
    described |= new
    if place and place != "funnel":
        yield f"## {place}\n"
    about = inspect.getdoc(kind)
    if about and place != "funnel":
        yield f"{about}\n"
    yield _table(kind, schema, described)
    for ref, name in new.items():
        yield from _sections(_KINDS[ref], name, described)


def _table(kind: type[Immutable], schema: Mapping[str, Any], described: Mapping[str, str]) -> str:
    docs = attribute_docs(kind)
    if missing := [name for name in schema if name not in docs]:
        raise ValueError(f"{kind.__name__} has settings without a docstring under them: {', '.join(missing)}")
    rows = ["| setting | what it may be | default | meaning |", "|---|---|---|---|"]
    for name, part in schema.items():
        rows.append(f"| `{name}` | {one_line(_kinds(part, described))} | {_default(part)} | {docs[name]} |")
    return "\n".join(rows) + "\n"


def _refs(part: Mapping[str, Any]) -> list[str]:
    """Return the names of the models that a setting holds."""
    if "$ref" in part:
        return [str(part["$ref"]).rpartition("/")[2]]
    inner = [*part.get("anyOf", ()), *([part["items"]] if "items" in part else [])]
    return [ref for one in inner for ref in _refs(one)]


def _kinds(part: Mapping[str, Any], described: Mapping[str, str]) -> str:
    if "$ref" in part:
        name = described[_refs(part)[0]]
        return f"[settings of its own](#{name})"
    if "anyOf" in part:
        return " or ".join(_kinds(one, described) for one in part["anyOf"])
    if "enum" in part or "const" in part:
        return " or ".join(f"`{value}`" for value in part.get("enum", [part.get("const")]))
    if part["type"] == "null":
        return "`null`"
    if "prefixItems" in part:
        return f"list of {len(part['prefixItems'])} numbers"
    if part["type"] == "array":
        return f"list of {_kinds(part['items'], described)}"
    bounds = [form.format(_number(part[key])) for keys, form in _BOUNDS for key in keys if key in part]
    return " ".join([_TYPES[part["type"]], *bounds])


def _number(value: float) -> str:
    return "2^63" if value == 2**63 else f"{value:.15g}"


def _default(part: Mapping[str, Any]) -> str:
    if "default" not in part:
        return "required"
    value = part["default"]
    if value is None or (isinstance(value, dict) and (value == {} or _refs(part))):
        return ""
    return f"`{value if isinstance(value, str) else json.dumps(value)}`"
