"""The docstring of a generated optimizer: equations, what to know, arguments, provenance."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Iterator

from programs.export.parts import Parts, default, number
from programs.export.schedule import helper_name, in_optax
from programs.function_words import arguments, written
from programs.graph import INPUTS
from programs.liveness import live_functions
from programs.ops import OPS, USER
from programs.phases import COLUMN, ROW
from programs.quantization import BLOCK, bytes_per_number

WIDTH = 108

_ARGUMENTS = {
    "state_dtype": "dtype of the states and of the arithmetic, kept when a checkpoint is loaded; None means the dtype"
    " of the parameter. Prefer torch.float32 for parameters in half precision (default: None)",
    "state_bits": "8 to keep {states} in 8 bits a number, in blocks of 2,048 with a scale each (Dettmers et al., arXiv"
    " 2110.02861): {bytes} instead of 4 for each state, in checkpoints too. Tensors with fewer than 4,096 numbers keep"
    " theirs as they are. Not for sharded parameters (default: None)",
    "foreach": "whether all tensors of a group are updated at once with torch._foreach functions, which gives the same"
    " numbers; None means where all of them are on CUDA; DTensors are updated one by one (default: None)",
    "maximize": "maximize the objective with respect to the params, instead of minimizing (default: False)",
    "capturable": "whether a Tensor lr stays on its device, for capture in CUDA graphs; otherwise its value is read out"
    " at each step (default: False)",
    "differentiable": "whether autograd should occur through the optimizer step (default: False)",
}
_SUMMING = [op.name for op in OPS.values() if op.sums and op.within == "all"]
_SUMMING_FUNCTIONS = f"The functions {', '.join(_SUMMING[:-1])} and {_SUMMING[-1]} run over"
_GLOBAL = (
    f"{_SUMMING_FUNCTIONS} the parameters of all groups that have a gradient, as"
    " one long vector; everything else is computed for each parameter with the hyperparameters of its group."
)
_SHARDED = (
    "These functions see a DTensor (fully_shard, tensor parallelism) as a whole, with the shards of all processes, so"
    " that updates are those of an unsharded model. Parameters of FullyShardedDataParallel are refused{zero}. Whatever"
    " else hands this optimizer flattened, cut or only some parameters as plain tensors cannot be recognised: sums run"
    " over what it is given."
)
_ZERO = ", and so is ZeroRedundancyOptimizer, which gives each process only some of the parameters"
_NO_MOMENTUM = "Schedulers that cycle the momentum too (OneCycleLR, CyclicLR) need cycle_momentum=False here."
_TRAINED_WITH = "Searches train with a learning rate that {}; without such a schedule the rule may do worse"
_OVER_TREE = f"{_SUMMING_FUNCTIONS} the whole tree, as one long vector."
_NORM = "The function norm gives one number for each parameter tensor."
_MATRICES = (
    "Of {} a parameter is a matrix, whose rows run along the first axis and whose columns along all others, taken"
    " together; a vector is one column."
)
_SMALL = {
    ROW: "The state ``{}`` is kept as one number for each row, in the shape [n, 1, ..] for a parameter of [n, ..].",
    COLUMN: "The state ``{}`` is kept as one number for each column, in the shape [1, ..] for a parameter of [n, ..].",
}
_COUNTER = (
    "Steps are counted for each parameter in the state ``step``, a float32 tensor, which is on the CPU unless"
    " capturable, as it must be in CUDA graphs."
)
_MEANINGS = {
    "div": "x / y is x / (y + 1e-8)",
    "sqrt": "sqrt(x) is the root of |x|",
    "log": "log(x) is that of |x|",
    "log2": "log2(x) is that of |x|",
    "log10": "log10(x) is that of |x|",
    "log1p": "log1p(x) is log |1 + x|",
    "interp": "interp(x, y, a) is (1 - a) x + a y",
    "clip": "clip(x, c) is x min(1, c / global_norm(x))",
    "rms": "rms(x) is one number for each parameter tensor",
    "orthogonalize": "orthogonalize(x) is the polar factor of x, by five steps of a Newton-Schulz iteration, scaled to"
    " an RMS of 1, and x / rms(x) where there is one row or one column alone",
    "row_norm": "row_norm(x) is one number for each row",
    "row_mean": "row_mean(x) is one number for each row",
    "column_norm": "column_norm(x) is one number for each column",
    "column_mean": "column_mean(x) is one number for each column",
}


def docstring(parts: Parts) -> str:
    """Return the docstring with its quotes, not indented."""
    sections = [f'r"""{_summary(parts)}', _equations(parts), *_notes(parts), _arguments(parts)]
    sections += [_schedule(parts), _provenance(parts)]
    return "\n\n".join(section for section in sections if section) + '\n"""'


def optax_docstring(parts: Parts) -> str:
    """Return the docstring of the optax function with its quotes, not indented."""
    rows = [("learning_rate", f"a number, or a schedule from the count of steps to one; {_lr_meaning(parts)}")]
    rows += [(h.name, f"{h.meaning} (default: {default(h)})") for h in [*parts.betas, *parts.settings]]
    rows += [(h.name, h.meaning) for h in parts.required]
    arguments = "\n".join(["Args:", *(_wrap(f"{head}: {text}", "    ", "        ") for head, text in rows)])
    returns = "Returns:\n    The transformation. Its updates are negative: optax.apply_updates adds them."
    over_all = _wrap(_OVER_TREE) if parts.rule.is_global else ""
    schedule = _wrap(f"{_trained_with(parts)}: {in_optax(parts.schedule)}.") if parts.reads_lr else ""
    notes = [_meanings(parts), *_small_states(parts), over_all, schedule]
    sections = [f'r"""{_summary(parts)}', _equations(parts), *notes, arguments, returns]
    return "\n\n".join(section for section in [*sections, _provenance(parts)] if section) + '\n"""'


def _summary(parts: Parts) -> str:
    return f"Implements {parts.name}, an update rule found by program search."


def _equations(parts: Parts) -> str:
    states = [f"``{INPUTS[s]}``" for s in parts.rule.states]
    text = "At each step, for each parameter tensor ``w`` with gradient ``g``"
    if states:
        text += f" and with {' and '.join(states)}, zero before the first step"
    if parts.rule.step is not None:
        text += ", at the step number ``step``, from 1 on"
    return "\n".join([_wrap(f"{text}::"), "", *(f"    {line}" for line in parts.equations())])


def _notes(parts: Parts) -> Iterator[str]:
    yield _meanings(parts)
    yield from _small_states(parts)
    if parts.rule.step is not None:
        yield _wrap(_COUNTER)
    if parts.rule.is_global:
        yield _wrap(_GLOBAL)
    if parts.has_norms:
        yield _wrap(_NORM)
    of_matrices = [op.name for op in OPS.values() if op.of_matrices and op.name in live_functions(parts.program)]
    if of_matrices:
        yield _wrap(_MATRICES.format(", ".join(of_matrices)))
    if parts.reduces:
        yield _wrap(_SHARDED.format(zero=_ZERO if parts.rule.is_global else ""))
    if not parts.betas and all(h.name != "momentum" for h in parts.settings):
        yield _wrap(_NO_MOMENTUM)


def _small_states(parts: Parts) -> Iterator[str]:
    """Yield a sentence for each state that is smaller than its parameter."""
    for slot in parts.rule.states:
        rank = parts.rule.values[slot].rank
        if rank in _SMALL:
            yield _wrap(_SMALL[rank].format(INPUTS[slot]))


def _meanings(parts: Parts) -> str:
    """Return what those functions of the rule mean that need an explanation."""
    functions = live_functions(parts.program)
    meanings = [meaning for name, meaning in (_MEANINGS | _user_meanings(functions)).items() if name in functions]
    return _wrap(f"Here {', '.join(meanings)}.") if meanings else ""


def _user_meanings(functions: Iterable[str]) -> dict[str, str]:
    user_defined = [OPS[name] for name in sorted(functions) if OPS[name].set == USER]
    return {op.name: f"{written(op)} is {op.torch_code(arguments(op)) or op.meaning}" for op in user_defined}


def _arguments(parts: Parts) -> str:
    rows = [
        ("params (iterable)", "iterable of parameters or named_parameters to optimize, or of dicts defining groups")
    ]
    rows.append(("lr (float, Tensor, optional)", _lr_meaning(parts)))
    if parts.betas:
        names, values = " and ".join(h.name for h in parts.betas), tuple(h.default for h in parts.betas)
        meaning = f"{names}, the coefficients of averages (default: {values})"
        rows.append(("betas (tuple[float, float], optional)", meaning))
    for h in parts.settings:
        kind = "int" if h.is_count else "float"
        rows.append((f"{h.name} ({kind}, optional)", f"{h.meaning} (default: {default(h)})"))
    rows += [(f"{h.name} (int)", h.meaning) for h in parts.required]
    kinds = {"state_dtype": "torch.dtype, optional", "state_bits": "int, optional"}
    meanings = _ARGUMENTS | {"state_bits": _state_bits(parts)}
    rows += [
        (f"{name} ({kinds.get(name, 'bool, optional')})", meaning) for name, meaning in meanings.items() if meaning
    ]
    return "\n".join(["Args:", *(_wrap(f"{head}: {text}", "    ", "        ") for head, text in rows)])


def _state_bits(parts: Parts) -> str:
    """Return what the argument means, nothing where no state can be kept so."""
    states = " and ".join(f"``{INPUTS[slot]}``" for slot in parts.packable)
    size = f"{bytes_per_number(10 * BLOCK):.4g} bytes"
    return _ARGUMENTS["state_bits"].format(states=states, bytes=size) if states else ""


def _schedule(parts: Parts) -> str:
    """Return the schedule that the rule was found with, and how it is used."""
    if not parts.reads_lr:
        return ""
    lines = [
        f"optimizer = {parts.name}({', '.join(['model.parameters()', *(f'{h.name}=...' for h in parts.required)])})",
        f"scheduler = {helper_name(parts.schedule)}(optimizer, total_steps)"
        "  # then optimizer.step() and scheduler.step() each time",
    ]
    return "\n".join([_wrap(f"{_trained_with(parts)}. The same here::"), "", *(f"    {line}" for line in lines)])


def _trained_with(parts: Parts) -> str:
    return _TRAINED_WITH.format(parts.schedule.words)


def _lr_meaning(parts: Parts) -> str:
    default = f"(default: {number(parts.rule.lr)})"
    if not parts.reads_lr:
        return f"not used by this rule; kept for schedulers {default}"
    if parts.rule.lr == 1.0:
        return f"learning rate of the rule, made for values of a schedule from 0 to 1 {default}"
    return f"peak learning rate, times the schedule if there is one {default}"


def _provenance(parts: Parts) -> str:
    if not parts.provenance:
        return ""
    lines = [
        _wrap(f"{key}: {' '.join(str(value).split())}", "    ", "        ") for key, value in parts.provenance.items()
    ]
    return "\n".join(["Provenance:", *lines]).replace("\\", "/").replace('"""', "'''")


def _wrap(text: str, first: str = "", rest: str = "") -> str:
    return textwrap.fill(text, WIDTH, initial_indent=first, subsequent_indent=rest, break_on_hyphens=False)
