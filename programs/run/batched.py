"""Programs run with torch over many replicas at once, in place on flat rows `[R, W]`.

W is the number of weights P rounded up (`Layout.width`), so that a row's values do not depend on its neighbours to the
last bit. What stands in the padding is of no interest; it is kept out of reductions.

What several programs have in common runs once for all their rows, with their constants as a column `[K, 1]`. What
depends on constants alone is computed once, before training. Every tensor is known before the first step: a step is a
list of calls that write to fixed places.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Sequence, Set
from functools import lru_cache, partial
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from programs.graph import LR, G, M, V, W
from programs.kinds import SCALAR, TREE, WEIGHTS
from programs.layout import Layout
from programs.ops import EPS, OPS, Op
from programs.run.matrices import MATRIX_FUNCTIONS
from programs.run.sharing import OPEN, SharingTree, Skeletons


class Rows(NamedTuple):
    """The flat buffers of R replicas: weights and gradients, `[R, W]`, and both states, as wide as programs need."""

    w: Tensor
    g: Tensor
    m: Tensor
    v: Tensor


class UpdateRules:
    """The update rules of R replicas, bound to their buffers.

    Args:
        skeletons: of the programs.
        tree: how they are arranged; the rows stand in the order of `tree.programs`.
        layout: how the leaves lie in a row.
        rows: the buffers that `step` reads and writes.
        scale: factor on the updates of all.
        steps: how many steps the training has.

    Attributes:
        calls: what a step does, in order.
    """

    def __init__(
        self,
        skeletons: Skeletons,
        tree: SharingTree,
        layout: Layout,
        rows: Rows,
        scale: float = 1.0,
        steps: int = 1,
    ) -> None:
        self._skeletons = skeletons
        self._layout = layout
        self._rows = rows
        self._scale = scale
        self._lr = rows.w.new_empty(1, 1)
        self._of_training = {"step": rows.w.new_empty(1, 1), "steps": rows.w.new_full((1, 1), steps)}
        self._small = [n for n in range(OPEN + 1, len(skeletons.nodes)) if skeletons.slot_of(n) is not None]
        self._scratch = _Scratch(rows.w)
        self.calls: list[Callable[[], Any]] = []
        self._fixed: list[bool] = []
        self._per_row: list[bool] = []
        for number, node in enumerate(skeletons.nodes):
            is_told = node.is_call and OPS[node.function].of_training == "step"
            self._fixed.append(
                number == OPEN or (node.is_call and not is_told and all(self._fixed[a] for a in node.args))
            )
            self._per_row.append(number != LR if not node.is_call else any(self._per_row[a] for a in node.args))
        with torch.no_grad():
            self._emit(tree, 0, {LR: self._lr}, frozenset())

    def step(self, lr: Tensor, taken: Tensor) -> None:
        """Do `w <- w - scale * update` in place, and write the new states.

        Args:
            lr: the schedule at this step, `[1]`.
            taken: the number of steps taken before, `[1]`.
        """
        self._lr.copy_(lr)
        torch.add(taken, 1.0, out=self._of_training["step"][0])
        for call in self.calls:
            call()

    def _emit(self, branch: SharingTree, start: int, known: dict[int, Tensor], written: frozenset[int]) -> None:
        """Emit the calls for the rows of a branch, which begin at `start`.

        Args:
            branch: the branch.
            start: its first row.
            known: the values that are computed already.
            written: the outputs that are written already.
        """
        rows = Rows(*(buffer[start : start + len(branch.programs)] for buffer in self._rows))
        known |= {W: rows.w, G: rows.g, M: rows.m[:, : self._layout.width], V: rows.v[:, : self._layout.width]}
        known |= {number: self._state(rows, number) for number in self._small}
        outputs = self._common_outputs(branch, known.keys() | set(branch.expressions), written)
        taken = []
        for number in branch.expressions:
            told = OPS[self._skeletons.nodes[number].function].of_training
            if told:
                known[number] = self._of_training[told]
                continue
            written_to = (self._state_of(p, number) for p in (M, V) if outputs.get(p) == number)
            slot = next((state for state in written_to if self._reads_no_other(state, number, branch)), None)
            known[number] = self._new(number, len(rows.w)) if slot is None else known[slot]
            if slot is None:
                taken.append(known[number])
            self._compute(number, branch.programs, known)
        offset = 0
        for child in branch.branches:
            part = slice(offset, offset + len(child.programs))
            of_child = {n: value[part] if self._per_row[n] else value for n, value in known.items()}
            self._emit(child, start + offset, of_child, written | outputs.keys())
            offset += len(child.programs)
        for place, number in outputs.items():
            if place == W:
                self.calls.append(partial(rows.w.sub_, self._as_tree(number, known, taken), alpha=self._scale))
            elif known[number] is not (state := known[self._state_of(place, number)]):
                self.calls.append(partial(state.copy_, known[number]))
        self._scratch.give_back(taken)

    def _state(self, rows: Rows, number: int) -> Tensor:
        """Return the state that a node is, of rows of programs that may keep others."""
        slot, width = self._skeletons.slot_of(number), self._layout.width_of(self._skeletons.nodes[number].kind)
        return (rows.m if slot == M else rows.v)[:, :width]

    def _state_of(self, slot: int, number: int) -> int:
        """Return the state of a slot to which the value of an expression is written."""
        kind = self._skeletons.nodes[number].kind
        nodes = self._skeletons.nodes
        return next((n for n in self._small if self._skeletons.slot_of(n) == slot and nodes[n].kind == kind), slot)

    def _as_tree(self, number: int, known: dict[int, Tensor], taken: list[Tensor]) -> Tensor:
        """Return the value of an expression with a number for each weight."""
        kind, value = self._skeletons.nodes[number].kind, known[number]
        if kind == TREE:
            return value
        taken.append(self._scratch.take(len(value), self._layout.width))
        index = _index(self._layout, kind, TREE, value.device)
        self.calls.append(partial(torch.index_select, value, 1, index, out=taken[-1]))
        return taken[-1]

    def _common_outputs(self, branch: SharingTree, known: Set[int], written: frozenset[int]) -> dict[int, int]:
        """Return what can be written for all rows of the branch at once: places and numbers of values."""
        first, *others = (self._skeletons.of_program[i].outputs for i in branch.programs)
        return {
            place: number
            for place, number in first.items()
            if place not in written and number in known and all(o.get(place) == number for o in others)
        }

    def _reads_no_other(self, place: int, number: int, branch: SharingTree) -> bool:
        """Return whether this expression is the only one that reads the state, so that it may overwrite it."""
        return not any(
            place in self._skeletons.nodes[e].args
            for program in branch.programs
            for e in self._skeletons.of_program[program].constants
            if e != number
        )

    def _new(self, number: int, rows: int) -> Tensor:
        """Return memory for the value of an expression."""
        kind = self._skeletons.nodes[number].kind
        if kind in WEIGHTS:
            return self._scratch.take(rows, self._layout.width_of(kind))
        return self._lr.new_empty(rows if self._per_row[number] else 1, self._layout.length(kind))

    def _compute(self, number: int, programs: Sequence[int], known: dict[int, Tensor]) -> None:
        """Have the value of an expression computed for the rows of these programs: at each step, or now."""
        node, kinds, result = self._skeletons.nodes[number], self._skeletons.kinds(number), known[number]
        constants = [self._skeletons.of_program[i].constants[number] for i in programs]
        columns = iter(torch.tensor(constants, dtype=torch.float32, device=result.device).unsqueeze(-1).unbind(1))
        args = [next(columns) if arg == OPEN else known[arg] for arg in node.args]
        if OPS[node.function].reduces:  # padding is kept out
            args = [arg[:, : self._layout.length(kind)] for arg, kind in zip(args, kinds, strict=True)]
            result = result[:, : self._layout.length(node.kind)]
        code = _code(OPS[node.function], kinds)
        call = partial(compiled_code(code, self._layout, result.device), *args, out=result)
        if self._fixed[number]:
            call()
        else:
            self.calls.append(call)


class _Scratch:
    """Memory for values of trees; what was given back last is handed out first, being still in the cache."""

    def __init__(self, like: Tensor) -> None:
        self._like = like
        self._free: list[Tensor] = []

    def take(self, rows: int, width: int) -> Tensor:
        """Return [rows, width] of the last block that is large enough, or of a new one."""
        place = next((i for i in reversed(range(len(self._free))) if self._free[i].numel() >= rows * width), None)
        block = self._like.new_empty(rows * width) if place is None else self._free.pop(place)
        return block.as_strided((rows, width), (width, 1))

    def give_back(self, values: Sequence[Tensor]) -> None:
        """Take back the memory of values that are not read any more."""
        self._free += [v.as_strided((v.untyped_storage().nbytes() // v.element_size(),), (1,)) for v in values]


def _code(op: Op, kinds: Sequence[int]) -> str:
    """Return torch code that writes the value to `out`; arguments are spread to where they meet."""
    names = [f"a{i}" for i in range(len(kinds))]
    how = "tree" if op.reduces else "spread"
    args = [
        name if kind in (SCALAR, wider) else f"{how}({name}, {kind}, {wider})"
        for name, kind, wider in zip(names, kinds, op.spread_kinds(kinds), strict=True)
    ]
    code = (op.of_kind(kinds[0]) if kinds else op).torch_code(args)
    # A number takes torch twice the time of a tensor.
    code = ast.unparse(_into_out(_Guarded().visit(ast.parse(code, mode="eval").body)))
    return f"lambda {', '.join([*names, 'out'])}: {code}"


class _Guarded(ast.NodeTransformer):
    """Puts the tensor `guard` where a function has the number EPS."""

    def visit_Constant(self, node: ast.Constant) -> ast.expr:
        return ast.Name("guard", ast.Load()) if node.value == EPS else node


_INFIX = {ast.Add: "add", ast.Sub: "sub", ast.Mult: "mul", ast.Div: "div"}


def _into_out(node: ast.expr) -> ast.expr:
    """Return the outermost operation as a call of torch that writes to `out`."""
    out = [ast.keyword("out", ast.Name("out"))]
    if isinstance(node, ast.BinOp):
        return ast.Call(ast.Attribute(ast.Name("torch"), _INFIX[type(node.op)]), [node.left, node.right], out)
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        return ast.Call(ast.Attribute(ast.Name("torch"), "neg"), [node.operand], out)
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
        return ast.Call(node.func, node.args, node.keywords + out)
    return ast.Call(ast.Attribute(ast.Name("out"), "copy_" if isinstance(node, ast.Call) else "fill_"), [node], [])


@lru_cache(maxsize=4096)
def compiled_code(source: str, layout: Layout, device: torch.device) -> Callable[..., Tensor]:
    """Compile source that is made from the table of functions, never from a stored text."""
    sizes = torch.as_tensor(layout.sizes, device=device)

    def leaf_sum(x: Tensor) -> Tensor:  # [K, P] -> [K, L]
        return torch.segment_reduce(x, "sum", lengths=sizes.expand(len(x), -1), axis=1)

    namespace: dict[str, Any] = {
        "torch": torch,
        "guard": torch.tensor(EPS, device=device),
        "leaf_sum": leaf_sum,
        "leaf_mean": lambda x: leaf_sum(x) / sizes,
        "spread": lambda x, kind, wider: x.index_select(1, _index(layout, kind, wider, device)),
        "tree": lambda x, kind, wider: x.index_select(1, _index(layout, kind, wider, device)[: layout.total]),
        **{name: partial(function, layout) for name, function in MATRIX_FUNCTIONS.items()},
    }
    return eval(source, namespace)  # type: ignore[no-any-return]  # noqa: S307 - see the docstring


@lru_cache(maxsize=64)
def _index(layout: Layout, kind: int, wider: int, device: torch.device) -> Tensor:
    """Return which number of a value each number of a wider one is broadcast from; padded, where that is."""
    index = layout.spread(kind, wider)
    padding = layout.width_of(wider) - len(index) if wider in WEIGHTS else 0
    return torch.as_tensor(np.pad(index, (0, padding)), device=device)
