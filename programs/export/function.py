"""What the two functions of a generated optimizer have in common."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Iterator, Mapping

from programs.export.parts import Parts
from programs.export.variables import Scope
from programs.graph import INPUTS, LR, G, M, V, W
from programs.lowering import LoweredRule
from programs.phases import STEP, SUM, Phase, Value

_POWER = re.compile(r"(?<=\w) \*\* (?=\w+(?![\w.(\[]))")


def shares(total: str) -> str:
    """Return the name of the list of what each parameter adds to a total."""
    return f"{total}_shares"


def loop_over_lists(rule: LoweredRule) -> str:
    """Return the head of a loop over the lists of one group."""
    names, lists = ["param", *inputs(rule).values()], ["params", *input_lists(rule).values()]
    return f"for {', '.join(names)} in zip({', '.join(lists)}, strict=True):"


def loop_over_entries(names: list[str], body: list[str]) -> str:
    """Return the head of a loop over (group, parameter, inputs), which names what its body reads."""
    read = set(re.findall(r"\w+", " ".join(body)))
    entry = ", ".join(name if name in read else "_" for name in ("group", *names))
    return f"for i, ({entry}) in enumerate(entries):" if "i" in read else f"for {entry} in entries:"


def inputs(rule: LoweredRule) -> dict[int, str]:
    """Return what comes with each parameter, by name: w and g if they are read, states in use, the step if it is."""
    found = {n: INPUTS[n] for n in (W, G, M, V) if (n in rule.states or (n in (W, G) and rule.is_read(n)))}
    return found | ({} if rule.step is None else {rule.step: "step"})


def input_lists(rule: LoweredRule) -> dict[int, str]:
    """Return the names of the lists of what comes with parameters."""
    return {n: {"w": "weights", "g": "grads"}.get(name, f"{name}s") for n, name in inputs(rule).items()}


def tidy(expression: str) -> str:
    """Return the expression without parentheses that are not needed, and powers of names as formatters write them."""
    return _POWER.sub("**", ast.unparse(ast.parse(expression, mode="eval")))


def comprehension(
    rule: LoweredRule, value: Value, texts: Mapping[int, str], template: str, first_list: int = STEP
) -> str:
    """Return the expression over the elements of the lists that it reads, with `for` where there are any.

    Values of the rank `first_list` and above are lists.
    """
    lists = sorted({a for a in value.args if rule.values[a].rank >= first_list})
    elements = dict(zip(lists, "xyz", strict=False))
    expression = tidy(template.format(*(f"({elements.get(a) or texts[a]})" for a in value.args)))
    names = [texts[a] for a in lists]
    source = names[0] if len(names) == 1 else f"zip({', '.join(names)}, strict=True)"
    return f"{expression} for {', '.join(elements.values())} in {source}" if lists else expression


class Function:
    """The body of a function: its phases, and the names of values, of sums, and of lists that later phases read.

    Args:
        parts: what the function computes, and the names of its hyperparameters.
        inputs: the names of the inputs.
        scope: the variables of the function.
    """

    def __init__(self, parts: Parts, inputs: Mapping[int, str], scope: Scope) -> None:
        self.rule, self.scope, self.phases = parts.rule, scope, parts.rule.phases()
        self.constants, self._of_group = parts.constants(), parts.of_group()
        if self.rule.steps in self.rule.tensors:
            name = self.constants[self.rule.steps]
            self._of_group[name] = f"torch.as_tensor({self._of_group[name]}, dtype=torch.float64)"
        self.texts = {**inputs, LR: "lr", **self.constants}
        self.kept = {n: scope.fix(f"all_{self.rule.values[n].name}") for phase in self.phases for n in phase.kept}
        self.sums = {n: scope.fix(self.rule.values[n].name) for n in self.rule.sums()}

    def steps_as_tensor(self, device: str = "") -> Iterator[str]:
        """Yield the line that makes a tensor of the length of the training, where the rule of one group needs one."""
        if self.rule.steps in self.rule.tensors and not self.rule.is_global:
            name = self.constants[self.rule.steps]
            yield f"{name} = torch.as_tensor({name}, dtype=torch.float64{device})"

    def sums_of(self, phase: Phase) -> list[str]:
        """Return the names of the sums that are added up in a phase."""
        return [self.sums[n] for n in phase.order if self.rule.values[n].function == SUM]

    def code(self, value: Value) -> str:
        """Return the expression of a value over the names of others."""
        return tidy(value.template.format(*(f"({self.texts[a]})" for a in value.args)))

    def group_values(self, values: Iterable[Value]) -> Iterator[str]:
        """Yield the lines that read the hyperparameters of a group, those that `values` mention."""
        read = {arg for value in values for arg in value.args}
        if LR in read:
            rate = "_rate(group)"
            yield f"lr = torch.as_tensor({rate}, dtype=torch.float64)" if self.rule.needs_tensor_lr else f"lr = {rate}"
        names = [self.constants[n] for n in sorted(read) if self.constants.get(n) in self._of_group]
        if names:
            yield f"{', '.join(names)} = {', '.join(self._of_group[name] for name in names)}"
