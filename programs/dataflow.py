"""Abstract execution: a program's statements as a graph of values, each with its kind.

Names disappear here: node 0..4 are the inputs w, g, m, v, lr and node `5 + i` is the value of statement i. Everything
that interprets a program (liveness, hashing, NumPy, torch, export) walks this graph.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from programs.errors import InputError
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
        InputError: a variable read before it is assigned, a call that does not fit its kinds, or an output that is not
            a tree; the message names the line.
    """
    nodes = dict(_INPUT_NODES)
    kinds = _INPUT_KINDS.copy()
    ops: list[Op] = []
    all_args: list[tuple[int | float, ...]] = []
    for target, function, args in statements:
        op = OPS[function]
        refs: list[int | float] = []
        arg_kinds: list[int] = []
        for arg, accepted in zip(args, op.accepts, strict=True):
            if type(arg) is str:
                node = nodes.get(arg)
                if node is None:
                    raise InputError(f"line {len(ops) + 1}: variable '{arg}' is read before it is assigned")
                refs.append(node)
                kind = kinds[node]
            else:
                refs.append(arg)  # type: ignore[arg-type]  # not a str, so a float
                kind = SCALAR
            if kind not in accepted:
                raise _misfit(len(ops) + 1, op, len(refs), kind)
            arg_kinds.append(kind)
        nodes[target] = len(kinds)
        kinds.append(op.result(arg_kinds))
        ops.append(op)
        all_args.append(tuple(refs))
    update = nodes.get("update")
    if update is None:
        raise InputError("variable 'update' is never assigned; the program must compute it")
    for name in ("update", "m", "v"):
        if kinds[nodes[name]] != TREE:
            raise InputError(f"'{name}' ends as a {KIND_NAMES[kinds[nodes[name]]]}, expected a tree")
    return Dataflow(ops, all_args, kinds, update, nodes["m"], nodes["v"])


def _misfit(line: int, op: Op, position: int, kind: int) -> InputError:
    expected = " or ".join(KIND_NAMES[k] for k in op.accepts[position - 1])
    return InputError(f"line {line}: argument {position} of {op.name} is a {KIND_NAMES[kind]}, expected a {expected}")
