"""What the sections of an exported file are written from."""

from __future__ import annotations

import builtins
import keyword
import math
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import cached_property

from programs.analysis.bounds import per_weight_states
from programs.errors import InputError
from programs.export.named_constants import NamedConstant, named_constants
from programs.graph import INPUTS, LR
from programs.liveness import live
from programs.lowering import LoweredRule, lower
from programs.program import Program, Statement
from programs.schedules import Schedule


@dataclass(frozen=True)
class Parts:
    """A program, its lowered rule, the name of the class, hyperparameters by value, provenance and schedule."""

    program: Program
    rule: LoweredRule
    name: str
    hyperparameters: dict[int, NamedConstant]
    provenance: Mapping[str, str]
    schedule: Schedule

    @staticmethod
    def of(
        program: Program, name: str, provenance: Mapping[str, str] | None, total_steps: int | None, schedule: Schedule
    ) -> Parts:
        rule = lower(program, total_steps)
        return Parts(program, rule, name, named_constants(rule), provenance or {}, schedule)

    @property
    def snake_name(self) -> str:
        return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", self.name).lower()

    @property
    def arguments(self) -> list[NamedConstant]:
        """The hyperparameters, each once."""
        return list(dict.fromkeys(self.hyperparameters.values()))

    @property
    def betas(self) -> list[NamedConstant]:
        """The two hyperparameters that a class takes as one argument, or none."""
        return [h for h in self.arguments if h.in_betas]

    @property
    def settings(self) -> list[NamedConstant]:
        """The hyperparameters that are arguments of their own of a class."""
        return [h for h in self.arguments if not (h.in_betas or h.is_required)]

    @property
    def required(self) -> list[NamedConstant]:
        """The hyperparameters without a default: the length of the training, where none is known."""
        return [h for h in self.arguments if h.is_required]

    def of_group(self) -> dict[str, str]:
        """Return the code that reads each hyperparameter from a parameter group."""
        betas = {h.name: f'group["betas"][{place}]' for place, h in enumerate(self.betas)}
        return {h.name: betas.get(h.name, f'group["{h.name}"]') for h in self.arguments}

    @property
    def reads_lr(self) -> bool:
        return self.rule.is_read(LR)

    @property
    def has_norms(self) -> bool:
        """Whether there are norms of each parameter tensor."""
        return "_norm" in self.rule.helpers

    @property
    def reduces(self) -> bool:
        """Whether numbers of more than one weight meet."""
        return bool(self.rule.helpers)

    @cached_property
    def packable(self) -> dict[int, bool]:
        """The states that may be kept in 8 bits, those with a number for each weight, and if none is ever negative."""
        return per_weight_states(self.program.dataflow)

    def constants(self) -> dict[int, str]:
        """Return the constants in code: names of hyperparameters, or numbers."""
        return {
            n: self.hyperparameters[n].name if n in self.hyperparameters else number(c)
            for n, c in self.rule.constants.items()
        }

    def equations(self) -> list[str]:
        """Return the live statements with hyperparameters in place of their constants."""
        flow, constants = self.program.dataflow, self.constants()
        statements = dict(zip(flow.statements, self.program.statements, strict=True))
        hidden = {"lr", *constants.values(), *["step"] * (self.rule.step is not None)}
        shown = dict(enumerate(INPUTS))
        lines = []
        for n in live(flow).nodes:
            value = self.rule.of_node.get(n)
            if value in constants:
                shown[n] = constants[value]
            elif value == LR:  # lr, or lr * c
                shown[n] = "lr"
            elif value is not None and value == self.rule.step:
                shown[n] = "step"
            elif n in statements:
                args = tuple(shown[a] for a in flow.nodes[n].args)
                shown[n] = statements[n].target
                while shown[n] in hidden:
                    shown[n] += "_"
                lines.append(str(Statement(shown[n], statements[n].function, args)))
        return [*lines, f"w = w - {shown[flow.update]}"]


def check_name(name: str, what: str, example: str, reserved: Collection[str]) -> None:
    """Raise an InputError if a generated class or function cannot have this name."""
    if not name.isidentifier() or not name.isascii() or keyword.iskeyword(name) or name.startswith("_"):
        raise InputError(f"'{name}' cannot name a {what}; expected letters, digits and '_', such as '{example}'")
    if name in reserved or hasattr(builtins, name):
        whose = "the exported file uses itself" if name in reserved else "Python has given to something else"
        raise InputError(f"'{name}' is a name that {whose}; choose another one")


def default(hyperparameter: NamedConstant) -> str:
    """Return the default of a hyperparameter as Python source."""
    value = hyperparameter.default
    return str(int(value)) if hyperparameter.is_count else number(value)


def number(value: float) -> str:
    """Return a number as Python source."""
    return repr(value) if math.isfinite(value) else f'float("{value!r}")'
