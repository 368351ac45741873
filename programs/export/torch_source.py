"""A program as the source of a `torch.optim.Optimizer` that depends on torch alone.

Within `step`, statements are grouped into phases: what is computed for each parameter by itself stands in one loop; a
reduction over all parameters (dot, global_norm, cosine_sim, clip) ends a phase. A program without such reductions is
one plain loop.
"""

from __future__ import annotations

import keyword
from collections.abc import Mapping

from programs.dataflow import LR, N_INPUTS, Dataflow, G, M, V, W
from programs.errors import InputError
from programs.export.naming import Constant, names
from programs.liveness import live, live_program
from programs.ops import OPS, SCALAR, TREE
from programs.program import Program

INDENT = "    "

# Reductions over all parameters: what is summed over the places of all leaves, and the value made from the sums.
_TOTALS = {
    "dot": (["{0} * {1}"], "{sums[0]}"),
    "global_norm": (["{0} * {0}"], "torch.sqrt({sums[0]})"),
    "cosine_sim": (
        ["{0} * {1}", "{0} * {0}", "{1} * {1}"],
        "{sums[0]} / (torch.sqrt({sums[1]}) * torch.sqrt({sums[2]}))",
    ),
    "clip": (["{0} * {0}"], "torch.sqrt({sums[0]})"),
}


def torch_source(program: Program, class_name: str, provenance: Mapping[str, str] | None = None) -> str:
    """The text of a Python file with the optimizer.

    Args:
        program: a checked program; only its live statements are exported.
        class_name: name of the class.
        provenance: lines for the docstring, such as the search it comes from.

    Raises:
        InputError: the class name is not an identifier.
    """
    if not class_name.isidentifier() or keyword.iskeyword(class_name):
        raise InputError(f"'{class_name}' cannot be the name of a class; give another with --name")
    return _Writer(program).file(class_name, provenance or {})


class _Writer:
    def __init__(self, program: Program) -> None:
        self._program = program
        self._flow: Dataflow = program.dataflow
        self._nodes, self._states = live(self._flow)
        self._statement_nodes = [node for node in self._nodes if node >= N_INPUTS]
        self._names = names(program)
        self._phase = self._phases()
        self._last_phase = max(self._phase.values())

    # --- order ---------------------------------------------------------------------------------------------------

    def _is_total(self, node: int) -> bool:
        """Whether the node needs a sum over all parameters."""
        op, args = self._flow.ops[node - N_INPUTS], self._flow.args[node - N_INPUTS]
        return op.name in _TOTALS and self._kind(args[0]) != SCALAR

    def _phases(self) -> dict[int, int]:
        """For each node the latest phase in which it can be computed, so that little is kept from phase to phase.

        Sums over all parameters end a phase: their arguments must come from an earlier one.
        """
        depth = dict.fromkeys(range(N_INPUTS), 0)
        for node in self._statement_nodes:
            args = [depth[a] for a in self._flow.args[node - N_INPUTS] if type(a) is int]
            depth[node] = max(args, default=0) + self._is_total(node)
        last = max((depth[n] for n in self._statement_nodes), default=0)
        phase = dict.fromkeys(depth, last)
        for node in reversed(self._statement_nodes):
            for arg in self._flow.args[node - N_INPUTS]:
                if type(arg) is int and arg >= N_INPUTS:
                    phase[arg] = min(phase[arg], phase[node] - self._is_total(node))
        return phase | dict.fromkeys(range(N_INPUTS), 0)

    def _kept(self, phase: int) -> list[int]:
        """Nodes computed for each parameter in this phase that a later one needs."""
        needed = {a for n in self._statement_nodes if self._phase[n] > phase for a in self._flow.args[n - N_INPUTS]}
        outputs = {self._flow.update, *(n for s, n in ((M, self._flow.m), (V, self._flow.v)) if s in self._states)}
        later = needed | (outputs if phase < self._last_phase else set())
        return [n for n in self._statement_nodes if self._phase[n] == phase and n in later and not self._is_sum(n)]

    def _is_sum(self, node: int) -> bool:
        """Whether the node is one number for all parameters, computed between phases."""
        return self._is_total(node) and self._flow.ops[node - N_INPUTS].name != "clip"

    # --- expressions ---------------------------------------------------------------------------------------------

    def _kind(self, ref: int | float) -> int:
        return self._flow.kinds[ref] if type(ref) is int else SCALAR

    def _operand(self, node: int, place: int) -> str:
        ref = self._flow.args[node - N_INPUTS][place]
        if type(ref) is int:
            return self._names.variables[ref]
        return f'group["{self._names.constants[Constant(node, place)]}"]'

    def _expression(self, node: int) -> str:
        op, args = self._flow.ops[node - N_INPUTS], self._flow.args[node - N_INPUTS]
        if node == self._names.peak:
            return 'group["lr"]'
        operands = [self._operand(node, place) for place in range(len(args))]
        if op.name == "clip":
            norm = f"total_{node}" if self._is_total(node) else f"abs({operands[0]})"
            return f"{operands[0]} * torch.clamp(torch.as_tensor({operands[1]} / {norm}), max=1.0)"
        if op.name in _TOTALS or (op.uses_leaves and self._kind(args[0]) != TREE):  # of single numbers
            return OPS["abs"].torch.format(_tensor(operands[0]))
        if op.uses_leaves:
            return f"torch.linalg.vector_norm({operands[0]})"
        if op.name == "interp" and not (self._kind(args[0]) == self._kind(args[1]) == TREE and type(args[2]) is float):
            return "(1 - {2}) * {0} + {2} * {1}".format(*operands)
        if op.infix is None and op.name != "interp":
            operands = [o if self._kind(a) == TREE else _tensor(o) for o, a in zip(operands, args, strict=True)]
        return op.torch.format(*operands)

    # --- the file ------------------------------------------------------------------------------------------------

    def file(self, class_name: str, provenance: Mapping[str, str]) -> str:
        lines = ['"""An optimizer found and exported by optsearch. Depends on torch alone."""', ""]
        lines += ["from __future__ import annotations", "", "import torch", "", ""]
        lines += [f"class {class_name}(torch.optim.Optimizer):"]
        lines += [
            f"{INDENT}{line}".rstrip() for line in [*self._docstring(provenance), "", *self._init(), "", *self._step()]
        ]
        return "\n".join(lines) + "\n"

    def _docstring(self, provenance: Mapping[str, str]) -> list[str]:
        constants = self._names.hyperparameters
        lr = (
            "`lr` is the peak learning rate; schedulers drive it."
            if self._names.peak is not None
            else "`lr` is the value of the learning-rate schedule, 0..1; the peak is among the other constants."
        )
        return [
            '"""Each step computes, with w the weights, g the gradient, and m and v zero at the start,',
            "",
            *(f"{INDENT}{line}" for line in str(live_program(self._program)).splitlines()),
            "",
            "and then w = w - update. In it x / y is x / (y + 1e-8), and sqrt and log take absolute values. dot,",
            "global_norm, cosine_sim and clip run over all parameters of the optimizer, norm over each by itself.",
            "",
            "Args:",
            f"{INDENT}params: parameters, or groups of them; every constant can be set for each group.",
            *(f"{INDENT}{name}: {value!r} was found." for name, value in constants.items()),
            "",
            lr,
            *([""] if provenance else []),
            *(f"{key}: {value}" for key, value in provenance.items()),
            '"""',
        ]

    def _init(self) -> list[str]:
        hyperparameters = self._names.hyperparameters
        lines = ["def __init__(", f"{INDENT}self,", f"{INDENT}params,"]
        lines += [f"{INDENT}{name}: float = {value!r}," for name, value in hyperparameters.items()]
        lines += [") -> None:"]
        if hyperparameters["lr"] >= 0:
            lines += [f"{INDENT}if not lr >= 0.0:", f'{INDENT * 2}raise ValueError(f"Invalid learning rate: {{lr}}")']
        lines += [f"{INDENT}super().__init__(params, dict({', '.join(f'{name}={name}' for name in hyperparameters)}))"]
        return lines

    def _step(self) -> list[str]:
        lines = [
            "@torch.no_grad()",
            "def step(self, closure=None):",
            f'{INDENT}"""One step; `closure` recomputes the loss."""',
        ]
        body = [
            "loss = None",
            "if closure is not None:",
            f"{INDENT}with torch.enable_grad():",
            f"{INDENT * 2}loss = closure()",
        ]
        body += ["entries = []", "for group in self.param_groups:", f'{INDENT}for p in group["params"]:']
        entry = ["if p.grad is None:", f"{INDENT}continue", "if p.grad.is_sparse:"]
        entry += [f'{INDENT}raise RuntimeError(f"{{type(self).__name__}} does not support sparse gradients")']
        states = [name for state, name in ((M, "m"), (V, "v")) if state in self._states]
        if states:
            entry += ["state = self.state[p]", "if not state:"]
            entry += [
                f'{INDENT}state["{name}"] = torch.zeros_like(p, memory_format=torch.preserve_format)' for name in states
            ]
        entry += ["entries.append((p, group, {}))"]
        body += [f"{INDENT * 2}{line}" for line in entry]
        for phase in range(self._last_phase + 1):
            body += self._phase_lines(phase)
        return lines + [f"{INDENT}{line}" for line in [*body, "return loss"]]

    def _phase_lines(self, phase: int) -> list[str]:
        totals = [n for n in self._statement_nodes if self._phase[n] == phase and self._is_total(n)]
        before = [line for node in totals for line in self._total_lines(node)]
        loop = [f"{INDENT}{line}" for line in self._loop(phase)]
        return [*before, *(["for p, group, kept in entries:", *loop] if loop else [])]

    def _total_lines(self, node: int) -> list[str]:
        """Sums over all parameters; the values of each parameter were kept by earlier phases."""
        op, args = self._flow.ops[node - N_INPUTS], self._flow.args[node - N_INPUTS]
        terms, value = _TOTALS[op.name]
        operands = [self._of_entry(a) for a in args]
        sums = [f"sum(torch.sum({term.format(*operands)}) for p, _, kept in entries)" for term in terms]
        name = f"total_{node}" if op.name == "clip" else self._names.variables[node]
        return [f"{name} = {value.format(sums=sums)}"]

    def _of_entry(self, ref: int | float) -> str:
        if type(ref) is float:
            return repr(ref)
        inputs = {W: "p", G: "p.grad", M: self._state("m", M), V: self._state("v", V)}
        return inputs.get(int(ref), f'kept["{self._names.variables[int(ref)]}"]')

    def _state(self, name: str, state: int) -> str:
        """A state that is never written stays at zero and is not kept."""
        return f'self.state[p]["{name}"]' if state in self._states else "torch.zeros_like(p)"

    def _loop(self, phase: int) -> list[str]:
        here = [n for n in self._statement_nodes if self._phase[n] == phase and not self._is_sum(n)]
        refs = {a for n in here for a in self._flow.args[n - N_INPUTS] if type(a) is int}
        is_last = phase == self._last_phase
        if is_last:
            refs |= {self._flow.update, *(n for s, n in ((M, self._flow.m), (V, self._flow.v)) if s in self._states)}
        lines = []
        uses_lr = LR in refs and not (self._names.peak in here and self._names.peak is not None)
        for ref, line in ((G, "grad = p.grad"), (LR, 'lr = group["lr"]')):
            if ref in refs and (ref != LR or uses_lr):
                lines.append(line)
        lines += [f"{name} = {self._state(name, ref)}" for name, ref in (("m", M), ("v", V)) if ref in refs]
        earlier = sorted(r for r in refs if r >= N_INPUTS and self._phase[r] < phase and not self._is_sum(r))
        lines += [f'{self._names.variables[r]} = kept["{self._names.variables[r]}"]' for r in earlier]
        lines += [f"{self._names.variables[n]} = {self._expression(n)}" for n in here]
        lines += [f'kept["{self._names.variables[n]}"] = {self._names.variables[n]}' for n in self._kept(phase)]
        if is_last:
            for name, state, node in (("m", M, self._flow.m), ("v", V, self._flow.v)):
                if state in self._states:
                    lines.append(f'self.state[p]["{name}"].copy_({self._names.variables[node]})')
            lines.append(f"p.sub_({self._names.variables[self._flow.update]})")
        return lines


def _tensor(operand: str) -> str:
    return f"torch.as_tensor({operand})"
