"""The function of a generated optimizer that takes one parameter after another, written as people would write it."""

from __future__ import annotations

from collections.abc import Iterator

from programs.export.function import Function, inputs, loop_over_entries, loop_over_lists, shares, tidy
from programs.export.parts import Parts
from programs.export.variables import Scope
from programs.graph import INPUTS, G, M, V, W
from programs.lowering import LoweredRule
from programs.phases import CONSTANT, RATE, SUM, Phase, Value

WIDEST_INLINED = 44  # characters: an expression above this gets a line and a name of its own

_WRITE = "<write>"  # in place of the name of a function, and no name that a user may give to one
_PLAIN = ("add", "sub", "negative")  # functions whose arguments autograd does not keep


def single_tensor(parts: Parts) -> list[str]:
    """Return the body of the function."""
    return list(_SingleTensor(parts).lines())


def kept_by_autograd(rule: LoweredRule, slot: int) -> bool:
    """Return whether a backward pass would read the state as it was before the step, which overwrites it."""
    return any(not _is_linear(rule, rule.values[user], place) for user, place in rule.users[slot])


def _is_linear(rule: LoweredRule, value: Value, place: int) -> bool:
    others = [rule.values[a].rank for i, a in enumerate(value.args) if i != place]
    if value.function == "interp":
        return place < 2 and others[-1] == CONSTANT
    return value.function in _PLAIN or (value.function == "mul" and others == [CONSTANT])


class _SingleTensor(Function):
    def __init__(self, parts: Parts) -> None:
        given = inputs(parts.rule)
        scope = Scope([*parts.constants().values(), *(name for n, name in given.items() if n not in (W, G))], "wg")
        copied = {slot: f"{INPUTS[slot]}_in" for slot in (M, V) if kept_by_autograd(parts.rule, slot)}
        super().__init__(parts, dict(enumerate(INPUTS)) | given | copied, scope)
        self.hoisted: set[int] = set()

    def lines(self) -> Iterator[str]:
        if self.rule.needs_tensor_lr and not self.rule.is_global:
            yield "lr = torch.as_tensor(lr, dtype=torch.float64)"
        yield from self.steps_as_tensor()
        yield from self._numbers_first()
        for number, phase in enumerate(self.phases):
            yield from self._loop(number, phase)

    def _numbers_first(self) -> Iterator[str]:
        """Yield functions of the learning rate, which are the same for all parameters of a group."""
        if self.rule.is_global:
            return
        for n in self.phases[0].order:
            value = self.rule.values[n]
            if value.rank == RATE:
                self.texts[n] = self.scope.fix(value.name)
                self.hoisted.add(n)
                yield f"{self.texts[n]} = {self.code(value)}"

    def _loop(self, number: int, phase: Phase) -> Iterator[str]:
        self.scope.next_loop()
        sums = self.sums_of(phase)
        yield from (f"{name}: list[Tensor] = []" for name in [*map(shares, sums), *(self.kept[n] for n in phase.kept)])
        body = list(_Body(self, number, phase).lines())
        names = ["param", *inputs(self.rule).values()]
        yield loop_over_entries(names, body) if self.rule.is_global else loop_over_lists(self.rule)
        yield from (f"    {line}" for line in body)
        yield from (f"{name} = _totals({shares(name)})" for name in sums)


class _Body:
    """One loop. Values that are read once, nearby, and are short stand inside the expression that reads them."""

    def __init__(self, function: _SingleTensor, number: int, phase: Phase) -> None:
        self._function, self._rule, self._phase, self._number = function, function.rule, phase, number
        self._texts = function.texts
        self._values = {n: self._rule.values[n] for n in phase.order if n not in function.hoisted}
        if number == len(function.phases) - 1:
            self._values |= dict(enumerate(self._writes(), len(self._rule.values)))
        self._inlined = self._choose_inlined()

    def _writes(self) -> list[Value]:
        writes = [Value(_WRITE, f"{INPUTS[s]}.copy_({{0}})", (n,), CONSTANT, "") for s, n in self._rule.states.items()]
        return [*writes, Value(_WRITE, "param.sub_({0})", (self._rule.update,), CONSTANT, "")]

    def lines(self) -> Iterator[str]:
        yield from self._opening()
        units = [n for n in self._values if n not in self._inlined]
        last_use = {arg: now for now, n in enumerate(units) for arg in self._leaves(n)}
        for n, name in inputs(self._rule).items():
            if n in (W, G):
                self._function.scope.hold(name, last_use.get(n, -1))
        for n in self._rule_inputs_of_earlier_loops():
            self._texts[n] = self._function.scope.assign(self._rule.values[n].name, -1, last_use.get(n, 0))
            yield f"{self._texts[n]} = {self._function.kept[n]}[i]"
        for now, n in enumerate(units):
            yield from self._unit(n, now, last_use)

    def _opening(self) -> Iterator[str]:
        """Yield the hyperparameters of the group, and copies of states that autograd keeps."""
        if self._rule.is_global:
            yield from self._group_values()
        for slot in self._rule.states:
            if self._texts[slot].endswith("_in") and any(slot in v.args for v in self._values.values()):
                name = INPUTS[slot]
                yield (
                    f"{name}_in = {name}.clone() if group['differentiable'] else {name}"
                    if self._rule.is_global
                    else (f"{name}_in = {name}.clone() if differentiable else {name}")
                )

    def _group_values(self) -> Iterator[str]:
        yield from self._function.group_values(self._values.values())
        for n in sorted({a for v in self._values.values() for a in v.args if self._rule.values[a].function == SUM}):
            self._texts[n] = f"{self._function.sums[n]}[param.device]"

    def _rule_inputs_of_earlier_loops(self) -> list[int]:
        read = {a for v in self._values.values() for a in v.args}
        return [n for n in self._function.kept if n in read and n not in self._values]

    def _unit(self, n: int, now: int, last_use: dict[int, int]) -> Iterator[str]:
        value = self._values[n]
        if value.function == SUM:
            yield f"{shares(self._function.sums[n])}.append({self._text(value)})"
        elif value.function == _WRITE:
            yield self._write(value)
        else:
            text = self._text(value)
            name = self._function.scope.assign(self._wanted(value), now, last_use.get(n, now))
            self._texts[n] = name
            yield f"{name} = {text}"
            if n in self._phase.kept:
                yield f"{self._function.kept[n]}.append({name})"

    def _write(self, value: Value) -> str:
        (n,) = value.args
        name = value.template.split(".")[0]
        lerp = self._rule.values[n]
        if n in self._inlined and lerp.template.startswith("torch.lerp({1}") and self._texts[lerp.args[1]] == name:
            return tidy(f"{name}.lerp_({self._argument(lerp.args[0])}, 1 - {self._texts[lerp.args[2]]})")
        return self._text(value)

    def _text(self, value: Value) -> str:
        return tidy(value.template.format(*(f"({self._argument(a)})" for a in value.args)))

    def _argument(self, n: int) -> str:
        return self._text(self._values[n]) if n in self._inlined else self._texts[n]

    def _wanted(self, value: Value) -> str:
        """Return the name in the program; for the next value of a state, which is written at the end, a new name."""
        return f"new_{value.name}" if value.name in (INPUTS[s] for s in self._rule.states) else value.name

    # --- what stands inside other expressions ----------------------------------------------------------------------

    def _choose_inlined(self) -> set[int]:
        users = self._rule.users
        self._inlined = set()
        written: set[int] = set()
        for value in self._values.values():
            for n in value.args:
                if n in self._values and self._may_stand_inside(n, value, users, written):
                    self._inlined.add(n)
            if value.function == _WRITE:
                written |= {s for s in (M, V) if value.template.startswith(f"{INPUTS[s]}.")}
        return self._inlined

    def _may_stand_inside(self, n: int, value: Value, users: list[list[tuple[int, int]]], written: set[int]) -> bool:
        inner = self._values[n]
        reads = len(users[n]) + (n == self._rule.update) + (n in self._rule.states.values())
        once = reads == 1 and value.template.count(f"{{{value.args.index(n)}}}") == 1
        return (
            once and inner.function != SUM and len(self._width_text(inner)) <= WIDEST_INLINED
            and not written & self._leaves_of(inner)
        )  # fmt: skip

    def _width_text(self, value: Value) -> str:
        """Return the expression with the names that the program uses, to see how long it is."""
        args = [self._width_text(self._values[a]) if a in self._inlined else self._wanted_name(a) for a in value.args]
        return value.template.format(*args)

    def _wanted_name(self, n: int) -> str:
        return self._texts.get(n) or self._rule.values[n].name

    def _leaves(self, n: int) -> set[int]:
        return self._leaves_of(self._values[n])

    def _leaves_of(self, value: Value) -> set[int]:
        """Return the variables that an expression reads."""
        leaves: set[int] = set()
        for arg in value.args:
            leaves |= self._leaves(arg) if arg in self._inlined else {arg}
        return leaves
