"""Abstract execution: a program's statements as a graph of values, each with its kind.

Names disappear here: node 0..4 are the inputs w, g, m, v, lr and node `5 + i` is the value of statement i. Everything
that interprets a program (liveness, hashing, NumPy, torch, export) walks this graph.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import isfinite
from typing import NamedTuple

from programs.errors import StatementError
from programs.ops import KIND_NAMES, OPS, SCALAR, TREE, Op

W, G, M, V, LR = range(5)
N_INPUTS = 5

_INPUT_NODES = {"w": W, "g": G, "m": M, "v": V, "lr": LR}
_INPUT_KINDS = [TREE, TREE, TREE, TREE, SCALAR]


class Dataflow(NamedTuple):
    """The graph of a checked program.

    `ops[i]` and `args[i]` belong to statement i, that is node `5 + i`; an argument is a node number (int) or a constant
    (float). `kinds[n]` is the kind of node n. `update`, `m` and `v` are the nodes returned.
    """

    ops: list[Op]
    args: list[tuple[int | float, ...]]
    kinds: list[int]
    update: int
    m: int
    v: int


def trace(statements: Sequence[tuple[str, str, tuple[str | float, ...]]]) -> Dataflow:
    """Follow the values through `(target, function, args)` statements and check them.

    Raises:
        StatementError: an unknown function, a wrong number of arguments, a constant that is no finite float, a variable
            read before it is assigned, a call that does not fit its kinds, or an output that is not a tree.
    """
    nodes = dict(_INPUT_NODES)
    kinds = _INPUT_KINDS.copy()
    ops: list[Op] = []
    all_args: list[tuple[int | float, ...]] = []
    for target, function, args in statements:
        op = OPS.get(function)
        if op is None or len(args) != len(op.accepts):
            raise _bad_call(len(ops), op, function, len(args))
        refs: list[int | float] = []
        arg_kinds: list[int] = []
        for arg, accepted in zip(args, op.accepts, strict=True):
            kind = SCALAR
            if type(arg) is str:
                node = nodes.get(arg)
                if node is None:
                    raise StatementError(f"variable '{arg}' is read before it is assigned", len(ops), len(refs))
                refs.append(node)
                kind = kinds[node]
            elif type(arg) is float and isfinite(arg):
                refs.append(arg)
            else:
                raise StatementError(f"{arg!r} is neither a variable nor a finite float", len(ops), len(refs))
            if kind not in accepted:
                raise _misfit(len(ops), op, len(refs) - 1, kind)
            arg_kinds.append(kind)
        nodes[target] = len(kinds)
        kinds.append(op.result(arg_kinds))
        ops.append(op)
        all_args.append(tuple(refs))
    _check_outputs(nodes, kinds)
    return Dataflow(ops, all_args, kinds, nodes["update"], nodes["m"], nodes["v"])


def _check_outputs(nodes: dict[str, int], kinds: list[int]) -> None:
    if "update" not in nodes:
        raise StatementError("variable 'update' is never assigned; the program must compute it")
    for name in ("update", "m", "v"):
        kind = kinds[nodes[name]]
        if kind != TREE:
            raise StatementError(f"'{name}' ends as a {KIND_NAMES[kind]}, expected a tree", nodes[name] - N_INPUTS)


def _bad_call(statement: int, op: Op | None, function: str, args: int) -> StatementError:
    if op is None:
        return StatementError(f"unknown function '{function}'", statement)
    return StatementError(f"{function} takes {op.arity} argument{'s' * (op.arity != 1)}, got {args}", statement)


def _misfit(statement: int, op: Op, argument: int, kind: int) -> StatementError:
    expected = " or ".join(KIND_NAMES[k] for k in op.accepts[argument])
    problem = f"argument {argument + 1} of {op.name} is a {KIND_NAMES[kind]}, expected a {expected}"
    return StatementError(problem, statement, argument)
