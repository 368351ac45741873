"""What the sections of an exported file are written from."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass

from programs.dataflow import LR, N_INPUTS
from programs.export.lowering import Rule, lower
from programs.export.naming import Hyperparameter, hyperparameters
from programs.liveness import live
from programs.program import Program, Statement

STATE_NAMES = {2: "m", 3: "v"}


@dataclass(frozen=True)
class Parts:
    """A program, its lowered rule, the name of the class, hyperparameters by value, and the program's provenance."""

    program: Program
    rule: Rule
    name: str
    hypers: dict[int, Hyperparameter]
    provenance: Mapping[str, str]

    @staticmethod
    def of(program: Program, name: str, provenance: Mapping[str, str] | None) -> Parts:
        rule = lower(program)
        return Parts(program, rule, name, hyperparameters(rule), provenance or {})

    @property
    def snake_name(self) -> str:
        return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", self.name).lower()

    @property
    def reads_lr(self) -> bool:
        return self.rule.is_read(LR)

    def functions(self) -> set[str]:
        """The functions of the live statements."""
        flow = self.program.dataflow
        return {flow.ops[n - N_INPUTS].name for n in live(flow).nodes if n >= N_INPUTS}

    def constants(self) -> dict[int, str]:
        """The constants in code: names of hyperparameters, or numbers."""
        return {n: self.hypers[n].name if n in self.hypers else number(c) for n, c in self.rule.constants.items()}

    def equations(self) -> list[str]:
        """The live statements with hyperparameters in place of their constants."""
        flow, constants = self.program.dataflow, self.constants()
        shown = dict(enumerate(("w", "g", "m", "v", "lr")))
        lines = []
        for node in live(flow).nodes:
            if node < N_INPUTS:
                continue
            value, statement = self.rule.of_node[node], self.program.statements[node - N_INPUTS]
            if value == LR or value in constants:  # lr * c, or what constants come to
                shown[node] = constants.get(value, "lr")
                continue
            literals = (constants[n] for n in self.rule.literals[node])
            args = [next(literals) if type(a) is float else shown[int(a)] for a in flow.args[node - N_INPUTS]]
            shown[node] = self._shown_target(statement.target)
            lines.append(str(Statement(shown[node], statement.function, tuple(args))))
        return [*lines, f"w = w - {shown[flow.update]}"]

    def _shown_target(self, target: str) -> str:
        names = {"lr", *(h.name for h in self.hypers.values())}
        while target in names:
            target += "_"
        return target


def number(value: float) -> str:
    """A number as Python source."""
    return repr(value) if math.isfinite(value) else f'float("{value!r}")'
