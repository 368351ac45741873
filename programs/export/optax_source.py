"""A program as one file of JAX: an optax gradient transformation that needs nothing but jax and optax."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterator, Mapping

from programs.export.docstring import WIDTH, optax_docstring
from programs.export.function import comprehension
from programs.export.helpers import jax_helpers
from programs.export.parts import Parts, check_name, default, number
from programs.export.variables import Scope
from programs.graph import INPUTS, LR, G, M, V, W
from programs.phases import COLUMN, LEAF, ROW, SUM, TREE, Value
from programs.program import Program
from programs.schedules import DEFAULT_SCHEDULE, Schedule

# The templates of torch that jax.numpy has no function of the same name for.
_JAX = (
    (r"torch\.lerp\(.*\)", "(1 - {2}) * {0} + {2} * {1}"),
    (r"torch\.clamp\((.*), max=(.*)\)", r"jnp.minimum(\1, \2)"),
    (r"torch\.clamp\((.*), min=(.*)\)", r"jnp.maximum(\1, \2)"),
    (r"\.to\(", ".astype("),
    (r"torch\.as_tensor\(", "jnp.asarray("),
    (r"torch\.", "jnp."),
)
_INPUTS = {W: "ws", G: "gs", M: "ms", V: "vs", LR: "lr"}
_OWN_NAMES = ("ws", "gs", "jnp", "jax", "optax", "init", "update_fn", "updates", "learning_rate", "structure")
_SUMS = {ROW: "_row_sum", COLUMN: "_column_sum"}


def optax_source(
    program: Program,
    name: str,
    provenance: Mapping[str, str] | None = None,
    total_steps: int | None = None,
    schedule: Schedule = DEFAULT_SCHEDULE,
) -> str:
    """Return the text of the file; it defines the function `name`, which makes the transformation.

    Args:
        program: only its live statements are exported.
        name: of the function.
        provenance: lines `key: value` for the docstring.
        total_steps: default of the length of the training, for programs that read it; without one it must be given.
        schedule: that it was trained with, for the docstring.

    Raises:
        InputError: `name` cannot be the name of a function.
    """
    check_name(name, "function", "my_optimizer", (*_OWN_NAMES, "Any", "NamedTuple"))
    parts = Parts.of(program, name, provenance, total_steps, schedule)
    sections = [_head(parts), _state(parts), *jax_helpers(parts.rule.helpers), _function(parts)]
    return "\n\n\n".join(section.strip("\n") for section in sections) + "\n"


def _state_name(parts: Parts) -> str:
    return "".join(word[:1].upper() + word[1:] for word in parts.name.split("_")) + "State"


def _head(parts: Parts) -> str:
    return f'''"""{parts.name}, an optimizer found by program search. Needs nothing but jax and optax."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

__all__ = ["{parts.name}"]'''


def _state(parts: Parts) -> str:
    fields = ["count: Any", *(f"{INPUTS[s]}: Any" for s in parts.rule.states)]
    return "\n".join([f"class {_state_name(parts)}(NamedTuple):", *(f"    {field}" for field in fields)])


def _function(parts: Parts) -> str:
    arguments = [f"learning_rate: optax.ScalarOrSchedule = {number(parts.rule.lr)}"]
    arguments += [
        f"{h.name}: {'int' if h.is_count else 'float'} = {default(h)}" for h in [*parts.betas, *parts.settings]
    ]
    arguments += ["*", *(f"{h.name}: int" for h in parts.required)] * bool(parts.required)
    listed = "".join(f"    {argument},\n" for argument in arguments)
    body = "\n\n".join([optax_docstring(parts), _init(parts), _update(parts), _RETURN])
    return f"def {parts.name}(\n{listed}) -> optax.GradientTransformation:\n{textwrap.indent(body, '    ')}"


_RETURN = "return optax.GradientTransformation(init, update_fn)"


def _init(parts: Parts) -> str:
    zeros = ["jnp.zeros([], jnp.int32)"]
    for slot in parts.rule.states:
        small = _SUMS.get(parts.rule.values[slot].rank)
        like = f"lambda p: jnp.zeros_like({small}(p)).astype(p.dtype)" if small else "jnp.zeros_like"
        zeros.append(f"jax.tree.map({like}, params)")
    lines = "".join(f"        {zero},\n" for zero in zeros)
    states = f"(\n{lines}    )" if len(", ".join(zeros)) > WIDTH else f"({', '.join(zeros)})"
    return f"def init(params: Any) -> {_state_name(parts)}:\n    return {_state_name(parts)}{states}"


def _update(parts: Parts) -> str:
    rule = parts.rule
    state_name = _state_name(parts)
    lines = [f"def update_fn(updates: Any, state: {state_name}, params: Any = None) -> tuple[Any, {state_name}]:"]
    if rule.is_read(W):
        lines += ["    if params is None:", '        raise ValueError("this transformation needs params")']
    lines.append("    gs, structure = jax.tree.flatten(updates)")
    lines += ["    ws = jax.tree.leaves(params)"] * rule.is_read(W)
    lines += [f"    {INPUTS[s]}s = jax.tree.leaves(state.{INPUTS[s]})" for s in rule.states]
    if parts.reads_lr:
        lines.append("    lr = learning_rate(state.count) if callable(learning_rate) else learning_rate")
    if rule.step is not None:
        lines.append("    step = jnp.asarray(state.count + 1, float)")
    lines += [f"    {line}" for line in _Body(parts).lines()]
    return "\n".join(lines).replace("'", '"')


class _Body:
    """The statements of the rule over lists of leaves."""

    def __init__(self, parts: Parts) -> None:
        self._rule, constants = parts.rule, parts.constants()
        step = {} if parts.rule.step is None else {parts.rule.step: "step"}
        self._texts = _INPUTS | constants | step
        self._scope = Scope([*constants.values(), *_OWN_NAMES, parts.name, *step.values()])

    def lines(self) -> Iterator[str]:
        for n, value in enumerate(self._rule.values):
            if value.template:
                text = self._code(value)
                self._texts[n] = self._scope.fix(value.name)
                yield f"{self._texts[n]} = {text}"
        update = self._texts[self._rule.update]
        is_tree = self._rule.values[self._rule.update].rank == TREE
        leaf = "x" if is_tree else "jnp.broadcast_to(x, g.shape)"
        yield f"updates = [-({leaf}.astype(g.dtype)) for x, g in zip({update}, gs, strict=True)]"
        states = ["optax.safe_increment(state.count)"]
        for slot, n in self._rule.states.items():
            name = f"{INPUTS[slot]}s"
            yield f"{name} = [x.astype(s.dtype) for x, s in zip({self._texts[n]}, {name}, strict=True)]"
            states.append(f"structure.unflatten({name})")
        yield f"return structure.unflatten(updates), type(state)({', '.join(states)})"

    def _code(self, value: Value) -> str:
        code = comprehension(self._rule, value, self._texts, _of_jax(value.template), first_list=LEAF)
        if value.rank >= LEAF:
            return f"[{code}]"
        return f"sum({code})" if value.function == SUM else code


def _of_jax(template: str) -> str:
    for pattern, replacement in _JAX:
        template = re.sub(pattern, replacement, template)
    return template
