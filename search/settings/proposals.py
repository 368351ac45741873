"""Who is asked for programs while a search goes on, and how often."""

from __future__ import annotations

import re
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Field, WithJsonSchema, model_validator

from search.settings import limits
from search.settings.fields import Immutable, Number, Text, Within


def _module_and_function(name: str) -> str:
    if not re.fullmatch(r"\w+(\.\w+)*:\w+", name):
        raise ValueError("expected module:function, such as ask_model:propose")
    return name


def _words(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


def _named(words: tuple[str, ...]) -> tuple[str, ...]:
    if words and not words[0].strip():
        raise ValueError("expected a program of this machine with its arguments, such as [python, ask_model.py]")
    return words


class Proposals(Immutable):
    """Programs from outside: every so many births a function or a program of yours is asked for some."""

    call: Annotated[Text, AfterValidator(_module_and_function)] | None = None
    """A function of yours, as module:function, which takes the question and returns a list of texts of programs."""
    command: Annotated[
        tuple[Text, ...],
        BeforeValidator(_words),
        AfterValidator(_named),
        WithJsonSchema({"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}]}),
    ] = ()
    """Or a program of this machine with its arguments, which reads the question as JSON on its standard input and
    writes a JSON list of texts on its standard output."""
    every: Annotated[int, Within(limits.BIRTHS)] = 500
    """Births between two questions, each of which is about one population; populations take turns."""
    most: Annotated[int, Within(limits.PROPOSED)] = 8
    """Texts that are taken of each answer."""
    timeout_s: Annotated[Number, Field(gt=0), Within(limits.TIMEOUT_S)] = 120
    """Seconds to answer. May be changed from run to run."""

    @model_validator(mode="after")
    def _one_of_both(self) -> Proposals:
        if (self.call is None) is not bool(self.command):
            raise ValueError("set either call, to module:function, or command, to a program with its arguments")
        return self
