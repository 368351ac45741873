"""The intermediate form of a program: a graph of values, which everything that interprets programs walks.

Names disappear here. Nodes 0..4 are the inputs w, g, m, v and lr; then come the statements in order, each after the
constants that it reads. The arguments of a node have smaller numbers than the node itself.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from math import isfinite
from typing import NamedTuple

from programs.errors import StatementError
from programs.kinds import COLUMN, KIND_NAMES, ROW, SCALAR, TREE, WEIGHTS
from programs.ops import OPS, largest

W, G, M, V, LR = range(5)
INPUTS = ("w", "g", "m", "v", "lr")
N_INPUTS = len(INPUTS)

# In place of the name of a function; no name that a user may give to one.
INPUT, CONSTANT = "<input>", "<constant>"


class Node(NamedTuple):
    """A `function` of other nodes, given by number, with the kind of its result; `value` is that of a constant."""

    function: str
    args: tuple[int, ...]
    kind: int
    value: float = 0.0

    @property
    def is_constant(self) -> bool:
        """Whether the node is a number."""
        return self.function == CONSTANT

    @property
    def is_call(self) -> bool:
        """Whether the node is the value of a statement."""
        return self.function not in (INPUT, CONSTANT)


INPUT_NODES = tuple(Node(INPUT, (), SCALAR if number == LR else TREE) for number in range(N_INPUTS))

_SCOPE = {name: number for number, name in enumerate(INPUTS)}
_KINDS = [node.kind for node in INPUT_NODES]


class Dataflow(NamedTuple):
    """The graph of a checked program.

    `update` is the node to be subtracted from the weights. `states` maps each slot, `M` and `V`, to the node that it
    holds after the step, which has the kind of the slot. `statements` holds the node of each statement.
    """

    nodes: list[Node]
    update: int
    states: dict[int, int]
    statements: list[int]


def trace(statements: Sequence[tuple[str, str, tuple[str | float, ...]]]) -> Dataflow:
    """Follow the values through `(target, function, args)` statements and check them.

    A state is a tree, unless all that the program ever writes to it is the same along rows, or columns: then it is kept
    so. What it is kept as makes no difference to any value.

    Raises:
        StatementError: an unknown function, a wrong number of arguments, a constant that is no finite float, a variable
            that is read before it is assigned, a call that does not fit its kinds, or an output that is not a tree.
    """
    flow, kinds = _trace(statements)
    if ROW in kinds or COLUMN in kinds:
        states = _state_kinds(flow)
        if states != (TREE, TREE):
            return _kept_as(flow, *states)
    return flow


def _state_kinds(flow: Dataflow) -> tuple[int, int]:
    """Return the smallest kinds of the states that fit what is written to them, for a graph in which they are trees.

    A state that is never written, or of which nothing is found, is a tree.
    """
    (m, parts_of_m), (v, parts_of_v) = _written(flow, M), _written(flow, V)
    return TREE if v == TREE and V in parts_of_m else m, TREE if m == TREE and M in parts_of_v else v


def _written(flow: Dataflow, slot: int) -> tuple[int, list[int]]:
    """Return the kind of what is ever written to a state, and what it depends on place by place, now and before.

    It is the kind of all these parts together. Results of functions that add up are parts whose kind does not depend on
    how states are kept. What is left out is of no interest once a part is a tree.
    """
    nodes, after = flow.nodes, flow.states
    found, parts = SCALAR, [slot]
    for number in parts:
        function, args, kind, _ = nodes[number]
        if number in after:
            if after[number] == number:
                return TREE, parts
            args = (after[number],)
        elif not args or OPS[function].result is not largest:
            if kind in WEIGHTS:
                found = largest((found, kind))
                if found == TREE:
                    return TREE, parts
            continue
        for arg in args:
            if arg < M:  # weights or gradients
                return TREE, parts
            if arg not in parts:
                parts.append(arg)
    return found if found in (ROW, COLUMN) else TREE, parts


def _kept_as(flow: Dataflow, m: int, v: int) -> Dataflow:
    """Return the graph with states of these kinds: in calls, rows and columns fit wherever trees do."""
    nodes = list(flow.nodes)
    nodes[M : V + 1] = (Node(INPUT, (), kind) for kind in (m, v))
    changed = {M, V}
    for number, node in enumerate(nodes):
        if not changed.isdisjoint(node.args):
            kind = OPS[node.function].results[tuple([nodes[a].kind for a in node.args])]
            if kind != node.kind:
                nodes[number] = _call(node.function, node.args, kind)
                changed.add(number)
    return flow._replace(nodes=nodes)


def _trace(statements: Sequence[tuple[str, str, tuple[str | float, ...]]]) -> tuple[Dataflow, list[int]]:
    """Return the graph in which states are trees, and the kinds of its nodes."""
    scope, nodes, kinds = _SCOPE.copy(), list(INPUT_NODES), _KINDS.copy()
    numbers: list[int] = []
    new = tuple.__new__  # what Node(...) calls, in half the time
    for target, function, args in statements:
        refs = []
        for arg in args:
            if type(arg) is str:
                refs.append(scope.get(arg, -1))
            else:
                refs.append(len(nodes))
                nodes.append(new(Node, (CONSTANT, (), SCALAR, arg)))
                kinds.append(SCALAR if type(arg) is float and isfinite(arg) else -1)
        op = OPS.get(function)
        kind = None if op is None or -1 in refs else op.results.get(tuple([kinds[ref] for ref in refs]))
        if kind is None:
            raise _error(len(numbers), function, args, {name: kinds[number] for name, number in scope.items()})
        scope[target] = len(nodes)
        numbers.append(len(nodes))
        nodes.append(_call(function, tuple(refs), kind))
        kinds.append(kind)
    _check_outputs(scope, kinds, numbers)
    return Dataflow(nodes, scope["update"], {M: scope["m"], V: scope["v"]}, numbers), kinds


@lru_cache(1 << 16)  # programs of a search share most calls; fewer objects make the garbage collector faster
def _call(function: str, args: tuple[int, ...], kind: int) -> Node:
    return Node(function, args, kind)


def _check_outputs(scope: Mapping[str, int], kinds: Sequence[int], numbers: Sequence[int]) -> None:
    if "update" not in scope:
        raise StatementError("variable 'update' is never assigned; the program must compute it")
    for name in ("update", "m", "v"):
        kind = kinds[scope[name]]
        if kind not in WEIGHTS:
            raise StatementError(f"'{name}' ends as a {KIND_NAMES[kind]}, expected a tree", numbers.index(scope[name]))


def _error(statement: int, function: str, args: Sequence[object], kinds: Mapping[str, int]) -> StatementError:
    """Return what is wrong with a call; `kinds` are those of the variables."""
    op = OPS.get(function)
    if op is None:
        return StatementError(f"unknown function '{function}'", statement)
    if len(args) != op.arity:
        return StatementError(
            f"{function} takes {op.arity} argument{'s' * (op.arity != 1)}, got {len(args)}", statement
        )
    for place, (arg, accepted) in enumerate(zip(args, op.accepts, strict=True)):
        if isinstance(arg, str) and arg not in kinds:
            return StatementError(f"variable '{arg}' is read before it is assigned", statement, place)
        if not isinstance(arg, str) and not (type(arg) is float and isfinite(arg)):
            return StatementError(f"{arg!r} is neither a variable nor a finite float", statement, place)
        kind = kinds[arg] if isinstance(arg, str) else SCALAR
        if kind not in accepted:
            expected = " or ".join(KIND_NAMES[k] for k in accepted if k not in (ROW, COLUMN))
            problem = f"argument {place + 1} of {function} is a {KIND_NAMES[kind]}, expected a {expected}"
            return StatementError(problem, statement, place)
    raise AssertionError("a call that fits")
