"""The functions that programs of a search may have: sets of the table, and those of a file of the user's."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Annotated, Any

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    PlainSerializer,
    ValidationInfo,
    WithJsonSchema,
    model_validator,
)

from programs.kinds import WEIGHTS
from programs.ops import LANGUAGES, OPS, SETS, Op, functions_of
from programs.text_file import read_text
from programs.user_functions import define, read_functions

from search.settings.fields import Immutable, ShortText, plain


def _sets(value: Any) -> Any:
    return LANGUAGES.get(value, [plain(value)]) if isinstance(value, str) else value


def _known_sets(names: tuple[str, ...]) -> tuple[str, ...]:
    """Return sets of functions in the order of the table."""
    for name, times in Counter(names).items():
        if name not in SETS:
            known = f"{', '.join(LANGUAGES)}, or a list of sets: {', '.join(SETS)}"
            raise ValueError(f"no language and no set of functions is called '{name}'; there are {known}")
        if times > 1:
            raise ValueError(f"'{name}' is named {times} times; name it once")
    if not any(kind in WEIGHTS for op in functions_of(names) for kind in op.results.values()):
        raise ValueError("no function of these sets has a result for each weight, as an update must")
    return tuple(name for name in SETS if name in names)


def _read(value: Any, info: ValidationInfo) -> Any:
    """Return the definitions that a file holds, whose path is relative to the file of settings."""
    if isinstance(value, list):
        raise ValueError("give the path of one file with all your functions, such as mine.py")
    if not isinstance(value, str):
        return value
    path = Path((info.context or {}).get("folder", "."), value)
    return read_functions(read_text(path, "a file of functions, such as mine.py"), str(path))


_SCHEMA_OF_SETS = {"anyOf": [{"enum": [*LANGUAGES]}, {"type": "array", "items": {"enum": [*SETS]}}]}


class Language(Immutable):
    """Written as `language: paper`, or with functions of yours as `language: {set: extended, functions: mine.py}`."""

    set: Annotated[
        tuple[ShortText, ...],
        Field(min_length=1),
        BeforeValidator(_sets),
        AfterValidator(_known_sets),
        WithJsonSchema(_SCHEMA_OF_SETS),
    ] = LANGUAGES["paper"]
    """`paper` for the functions of the paper, `extended` for all, or a list of sets."""
    functions: Annotated[
        dict[ShortText, str], BeforeValidator(_read), WithJsonSchema({"type": "string", "default": {}})
    ] = Field(default={})
    """The path, from the folder of this file, of [functions of yours](../user_functions.md). The search keeps what they
    are; it is not continued with others."""

    @model_validator(mode="after")
    def _known(self) -> Language:
        define(self.functions, "functions")
        return self

    @property
    def ops(self) -> tuple[Op, ...]:
        """The functions, in the order of the table; those of the file come last."""
        return (*functions_of(self.set), *(OPS[name] for name in self.functions))


def as_language(value: Any) -> Any:
    """Return a language that is given by its sets alone in the form of settings."""
    return value if isinstance(value, dict | Language) else {"set": value}


def _short(language: Language) -> Any:
    return language.model_dump(mode="json") if language.functions else list(language.set)


LanguageSetting = Annotated[Language, BeforeValidator(as_language), PlainSerializer(_short)]
