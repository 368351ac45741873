"""The function of a generated optimizer that takes many parameters at once with `torch._foreach_*`, in place if it can.

The torch code of each value is read as an expression and turned inside out into calls on lists of tensors. What has no
such form becomes a list comprehension over the single-tensor expression.
"""

from __future__ import annotations

import ast
import math
import re
from collections.abc import Iterator
from typing import NamedTuple

import torch

from programs.export.function import Function, comprehension, input_lists, loop_over_entries, shares, tidy
from programs.export.parts import Parts
from programs.export.variables import Scope
from programs.graph import N_INPUTS
from programs.phases import LEAF, RATE, ROW, STEP, SUM, TOTAL, Phase, Value

_BINARY = {ast.Add: "add", ast.Sub: "sub", ast.Mult: "mul", ast.Div: "div", "maximum": "maximum", "minimum": "minimum"}
_COMMUTE = ("add", "mul", "maximum", "minimum")


class _UnsupportedError(Exception):
    """An expression has no foreach form."""


class _Operand(NamedTuple):
    """Text of a list or of a number.

    `owned`: a list that may be overwritten; `tensor`: a number that is a tensor; `of_step`: a list of numbers.
    """

    text: str
    is_list: bool
    owned: bool = False
    tensor: bool = False
    of_step: bool = False


def multi_tensor(parts: Parts) -> list[str]:
    """Return the body of the function."""
    return list(_MultiTensor(parts).lines())


class _MultiTensor(Function):
    def __init__(self, parts: Parts) -> None:
        self.lists = input_lists(parts.rule)
        of_step = [name for n, name in self.lists.items() if n == parts.rule.step]
        super().__init__(parts, self.lists, Scope([*parts.constants().values(), *of_step]))
        self.positions = {n: now for now, n in enumerate(n for phase in self.phases for n in phase.order)}
        self.last_use = self._last_uses()
        self.chain = {n: slot for slot in self.rule.states for n in self._chain(slot)}

    def lines(self) -> Iterator[str]:
        if self.rule.needs_tensor_lr and not self.rule.is_global:
            yield "lr = torch.as_tensor(lr, dtype=torch.float64, device=params[0].device)"
        yield from self.steps_as_tensor(", device=params[0].device")
        for number, phase in enumerate(self.phases):
            yield from self._loop(number, phase)

    def _loop(self, number: int, phase: Phase) -> Iterator[str]:
        self.scope.next_loop()
        body = [*_Body(self, phase).lines(), *(self._writes() if number == len(self.phases) - 1 else ())]
        if not self.rule.is_global:
            yield from body
            return
        sums = self.sums_of(phase)
        yield from (f"{name}: list[Tensor] = []" for name in map(shares, sums))
        yield from (f"{self.kept[n]}: list[Any] = []" for n in phase.kept)
        yield loop_over_entries(["params", *self.lists.values()], body)
        yield from (f"    {line}" for line in body)
        yield from (f"{name} = _totals({shares(name)})" for name in sums)

    def _writes(self) -> Iterator[str]:
        for slot, n in self.rule.states.items():
            if self.texts[n] != self.lists[slot]:
                yield f"torch._foreach_copy_({self.lists[slot]}, {self.texts[n]})"
        yield f"torch._foreach_sub_(params, {self.texts[self.rule.update]})"

    # --- which lists may be overwritten ----------------------------------------------------------------------------

    def _last_uses(self) -> dict[int, float]:
        """Return the position of the last reader of each value; infinity for what the step returns."""
        last: dict[int, float] = {}
        for n, now in self.positions.items():
            for arg in self.rule.values[n].args:
                last[arg] = max(last.get(arg, -1), now)
        return last | dict.fromkeys([self.rule.update, *self.rule.states.values(), *self.kept], math.inf)

    def _chain(self, slot: int) -> list[int]:
        """Return the values that may be computed in the memory of a state: from its first change to its next value."""
        chain, n = [self.rule.states[slot]], self.rule.states[slot]
        while slot not in self.rule.values[n].args:
            links = [a for a in self.rule.values[n].args if self._feeds_only(a, n, slot)]
            if not links:
                return []
            n = links[0]
            chain.append(n)
        return chain if self.last_use[slot] == self.positions[n] else []

    def _feeds_only(self, n: int, user: int, slot: int) -> bool:
        is_like_slot = self.rule.values[n].rank == self.rule.values[slot].rank
        is_temporary = is_like_slot and n >= N_INPUTS and n not in self.kept
        return is_temporary and {u for u, _ in self.rule.users[n]} == {user} and self.last_use[n] < math.inf


def _is_literal(text: str) -> bool:
    try:
        return isinstance(ast.literal_eval(text), float)
    except ValueError:
        return False


class _Body:
    """The statements of one phase."""

    def __init__(self, function: _MultiTensor, phase: Phase) -> None:
        self._function, self._rule, self._phase = function, function.rule, phase
        self._texts, self._scope = function.texts, function.scope
        self._out: list[str] = []
        self._owned: set[str] = set()  # lists made here

    def lines(self) -> list[str]:
        if self._rule.is_global:
            self._open()
        for n in self._phase.order:
            self._unit(n)
        return self._out

    def _open(self) -> None:
        values = [self._rule.values[n] for n in self._phase.order]
        self._out += self._function.group_values(values)
        read = {arg for value in values for arg in value.args}
        totals = read & set(self._function.sums)
        self._texts |= {n: f"{self._function.sums[n]}[device]" for n in totals}
        self._out += ["device = params[0].device"] * bool(totals)
        if self._phase is self._function.phases[-1]:
            read |= {self._rule.update, *self._rule.states.values()}
        for n in sorted((read & set(self._function.kept)) - set(self._phase.order)):
            if self._texts[n] not in self._function.lists.values():
                self._texts[n] = self._scope.assign(self._rule.values[n].name, -1, math.inf)
                self._out.append(f"{self._texts[n]} = {self._function.kept[n]}[i]")

    def _unit(self, n: int) -> None:
        value, now = self._rule.values[n], self._function.positions[n]
        if value.function == SUM:
            self._out.append(f"{shares(self._function.sums[n])}.extend({self._comprehension(value)})")
            return
        if value.rank <= TOTAL:
            self._texts[n] = self._scope.assign(value.name, now, self._function.last_use.get(n, now), "number")
            self._out.append(f"{self._texts[n]} = {self._function.code(value)}")
            return
        self._texts[n] = self._list(n, value, now)
        self._scope.hold(self._texts[n], self._function.last_use.get(n, now))
        if n in self._phase.kept:
            self._out.append(f"{self._function.kept[n]}.append({self._texts[n]})")

    def _list(self, n: int, value: Value, now: int) -> str:
        """Emit the code of a list and return its name."""
        ranks = [self._rule.values[a].rank for a in value.args]
        if value.rank >= ROW and all(rank < LEAF or rank == value.rank for rank in ranks):
            lowering = _Foreach(self, n, value, now)
            try:
                result = lowering.lower(ast.parse(self._function.code(value), mode="eval").body)
            except _UnsupportedError:
                self._scope = self._function.scope
            else:
                self._out += lowering.out
                self._owned.add(result.text)
                return result.text
        name = self._new_name(value, now, "list")
        self._out.append(f"{name} = [{self._comprehension(value)}]")
        self._owned.add(name)
        return name

    def _new_name(self, value: Value, now: float, type_name: str) -> str:
        return self._scope.assign(value.name, now - 0.5, now, type_name)

    def _comprehension(self, value: Value) -> str:
        return comprehension(self._rule, value, self._texts, value.template)

    # --- what the lowering of one expression asks for ----------------------------------------------------------------

    def operand(self, name: str, n: int, value: Value, now: int, occurrences: int) -> _Operand:
        """Return a variable of the expression of value n, by its name."""
        arg = next(a for a in value.args if self._texts[a] == name)
        rank = self._rule.values[arg].rank
        if rank < LEAF:
            is_tensor = rank == TOTAL or (rank == RATE and arg in self._rule.tensors)
            return _Operand(name, False, tensor=is_tensor, of_step=rank == STEP)
        return _Operand(name, True, occurrences == 1 and self._may_overwrite(arg, n, now))

    def _may_overwrite(self, arg: int, n: int, now: int) -> bool:
        chain = self._function.chain
        if n in chain and (arg == chain[n] or chain.get(arg) == chain[n]):
            return True
        is_dead = self._function.last_use.get(arg, math.inf) <= now
        return is_dead and arg not in chain and self._texts[arg] in self._owned


class _Foreach:
    """One expression, turned into calls on lists. `out` holds the lines."""

    def __init__(self, body: _Body, n: int, value: Value, now: int) -> None:
        self._body, self._n, self._value, self._now = body, n, value, now
        self.out: list[str] = []
        self._counts: dict[str, int] = {}

    def lower(self, node: ast.expr) -> _Operand:
        """Return the operand that an expression comes to; its code is appended to `out`."""
        if not self._counts:
            names = [x.id for x in ast.walk(node) if isinstance(x, ast.Name)]
            self._counts = {name: names.count(name) for name in names}
        if not any(self._is_list(x) for x in ast.walk(node)):
            return self._number(node)
        if isinstance(node, ast.Name):
            return self._named(node.id)
        if isinstance(node, ast.UnaryOp):
            return self._call("neg", self.lower(node.operand))
        if isinstance(node, ast.BinOp):
            return self._binary(_BINARY[type(node.op)], self.lower(node.left), self.lower(node.right))
        if not isinstance(node, ast.Call) or node.keywords or not isinstance(node.func, ast.Attribute):
            raise _UnsupportedError
        return self._function(node.func.attr, node.args)

    def _number(self, node: ast.expr) -> _Operand:
        """Return an expression without lists of tensors: a number, or one for each parameter."""
        lists = dict.fromkeys(x.id for x in ast.walk(node) if isinstance(x, ast.Name) and self._is_of_step(x))
        if not lists:
            return _Operand(ast.unparse(node), False, tensor=any(self._is_tensor(x) for x in ast.walk(node)))
        if isinstance(node, ast.Name):
            return self._named(node.id)
        if len(lists) > 1:
            raise _UnsupportedError
        (numbers,) = lists
        element = re.sub(rf"\b{numbers}\b", "x", ast.unparse(node))
        return _Operand(f"[{element} for x in {numbers}]", False, of_step=True)

    def _is_of_step(self, node: ast.Name) -> bool:
        return self._is_argument(node) and self._named(node.id).of_step

    def _named(self, name: str) -> _Operand:
        return self._body.operand(name, self._n, self._value, self._now, self._counts[name])

    def _is_list(self, node: ast.AST) -> bool:
        return isinstance(node, ast.Name) and self._is_argument(node) and self._named(node.id).is_list

    def _is_tensor(self, node: ast.AST) -> bool:
        """Return whether a part of a number is a tensor; sums are the only things with an index."""
        if isinstance(node, ast.Subscript):
            return True
        return isinstance(node, ast.Name) and self._is_argument(node) and self._named(node.id).tensor

    def _is_argument(self, node: ast.Name) -> bool:
        return any(self._body._texts[a] == node.id for a in self._value.args)

    def _function(self, name: str, args: list[ast.expr]) -> _Operand:
        operands = [self.lower(arg) for arg in args]
        if name == "square":
            return self._call("mul", operands[0]._replace(owned=False), operands[0])
        if name in _BINARY:
            return self._binary(name, *operands)
        if (
            not hasattr(torch, f"_foreach_{name}")
            or any(o.tensor for o in operands[1:])
            or any(o.of_step for o in operands)
        ):
            raise _UnsupportedError
        if name == "pow" and not operands[0].is_list and not _is_literal(operands[0].text):
            raise _UnsupportedError  # a learning rate may be a tensor, which is no base of a list of exponents
        return self._call(name, *operands)

    def _binary(self, name: str, x: _Operand, y: _Operand) -> _Operand:
        if name in _COMMUTE and (not x.is_list or (y.is_list and y.owned and not x.owned)):
            x, y = y, x
        if name == "sub" and not (y.is_list or y.of_step):
            name, y = "add", y._replace(text=tidy(f"-({y.text})"))
        if name == "sub" and not x.is_list:
            name, x, y = "add", self._call("neg", y), x
        if not x.is_list or ((y.tensor or y.of_step) and name not in ("add", "sub", "mul", "div")):
            raise _UnsupportedError
        return self._call(name, x, y)

    def _call(self, name: str, *operands: _Operand) -> _Operand:
        texts = ", ".join(o.text for o in operands)
        if operands[0].is_list and operands[0].owned:
            self.out.append(f"torch._foreach_{name}_({texts})")
            return operands[0]
        target = self._body._new_name(self._value, self._now, "tuple")
        self._body._scope.hold(target, self._now)
        self.out.append(f"{target} = torch._foreach_{name}({texts})")
        return _Operand(target, True, owned=True)
