"""A program as one file of PyTorch: a subclass of `torch.optim.Optimizer` that needs nothing but torch."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Mapping

from programs.export.docstring import docstring
from programs.export.function import input_lists, inputs
from programs.export.helpers import torch_helpers
from programs.export.multi_tensor import multi_tensor
from programs.export.named_constants import NamedConstant
from programs.export.packed_states import (
    pack_new_states,
    packing_checks,
    packing_functions,
    read_state,
    refuse_shards,
)
from programs.export.parts import Parts, check_name, default, number
from programs.export.schedule import helper, helper_name
from programs.export.single_tensor import kept_by_autograd, single_tensor
from programs.export.variables import RESERVED
from programs.graph import INPUTS, G, W
from programs.phases import COLUMN, ROW
from programs.program import Program
from programs.schedules import DEFAULT_SCHEDULE, Schedule


def torch_source(
    program: Program,
    class_name: str,
    provenance: Mapping[str, str] | None = None,
    total_steps: int | None = None,
    schedule: Schedule = DEFAULT_SCHEDULE,
) -> str:
    """Return the text of the file.

    Args:
        program: only its live statements are exported.
        class_name: the name of the class.
        provenance: lines `key: value` for the docstring, such as the hash, the task and the fitness.
        total_steps: default of the length of the training, for programs that read it; without one it must be given to
            the class.
        schedule: that it was trained with, which the file brings as a function.

    Raises:
        InputError: `class_name` cannot be the name of a class.
    """
    check_name(class_name, "class", "MyOptimizer", RESERVED)
    parts = Parts.of(program, class_name, provenance, total_steps, schedule)
    body = "\n\n\n".join(section.strip("\n") for section in [_class(parts), *_functions(parts)])
    return f"{_head(parts, body)}\n\n\n{body}\n"


# --- the head of the file: docstring and imports ----------------------------------------------------------------------

_IMPORTS = (
    ("import math", "math."),
    ("import traceback", "traceback."),
    ("from collections import defaultdict", "defaultdict"),
    ("from collections.abc import Callable, Iterator", "Callable"),
    ("from itertools import chain", "chain."),
    ("from typing import Any", "Any"),
)


def _head(parts: Parts, body: str) -> str:
    standard = [line for line, sign in _IMPORTS if sign in body]
    return "\n".join(
        [
            f'"""{parts.name}, an optimizer found by program search. Needs nothing but torch."""',
            "",
            "from __future__ import annotations",
            "",
            *standard,
            "",
            "import torch",
            "from torch import Tensor",
            "from torch.nn import Parameter",
            "from torch.optim.lr_scheduler import LambdaLR",
            "from torch.optim.optimizer import Optimizer, ParamsT, _use_grad_for_differentiable",
            "",
            f'__all__ = ["{parts.name}", "{helper_name(parts.schedule)}"]',
        ]
    )


# --- the class --------------------------------------------------------------------------------------------------------


def _class(parts: Parts) -> str:
    methods = [
        _init(parts),
        _load_state_dict(parts),
        _tensors(parts),
        _global_step(parts) if parts.rule.is_global else _step(parts),
    ]
    body = "\n\n".join([docstring(parts), *(textwrap.dedent(m).strip("\n") for m in methods)])
    return f"class {parts.name}(Optimizer):\n{textwrap.indent(body, '    ')}"


def _init(parts: Parts) -> str:
    lines = ["def __init__(", "    self,", "    params: ParamsT,", f"    lr: float | Tensor = {number(parts.rule.lr)},"]
    if parts.betas:
        lines.append(f"    betas: tuple[float, float] = {tuple(h.default for h in parts.betas)},")
    lines += [f"    {h.name}: {_type(h)} = {default(h)}," for h in parts.settings]
    lines += [
        "    *,",
        *(f"    {h.name}: {_type(h)}," for h in parts.required),
        "    state_dtype: torch.dtype | None = None,",
        *["    state_bits: int | None = None,"] * bool(parts.packable),
        "    foreach: bool | None = None,",
    ]
    lines += [f"    {flag}: bool = False," for flag in ("maximize", "capturable", "differentiable")]
    lines += [") -> None:", *(f"    {line}" for line in _checks(parts)), "    defaults = {"]
    names = ["lr", *["betas"] * bool(parts.betas), *(h.name for h in [*parts.settings, *parts.required])]
    names += [
        "state_dtype",
        *["state_bits"] * bool(parts.packable),
        "foreach",
        "maximize",
        "capturable",
        "differentiable",
    ]
    return "\n".join(
        [*lines, *(f'        "{n}": {n},' for n in names), "    }", "    super().__init__(params, defaults)"]
    )


def _type(hyperparameter: NamedConstant) -> str:
    return "int" if hyperparameter.is_count else "float"


def _checks(parts: Parts) -> Iterator[str]:
    if parts.rule.is_global:
        yield "_refuse_parts()"
    if parts.betas:
        yield f"{', '.join(h.name for h in parts.betas)} = betas"
    yield "if isinstance(lr, Tensor) and lr.numel() != 1:"
    yield '    raise ValueError("Tensor lr must be 1-element")'
    checks = [("lr >= 0.0", "learning rate", "lr")]
    checks += [(h.check, f"{h.name} value", h.name) for h in parts.arguments if h.check]
    for check, what, name in checks:
        yield f"if not {check}:"
        yield f'    raise ValueError(f"Invalid {what}: {{{name}}}")'
    yield "if state_dtype is not None and not state_dtype.is_floating_point:"
    yield '    raise ValueError(f"Invalid state_dtype value: {state_dtype}")'
    yield from packing_checks(parts)
    yield "if foreach and differentiable:"
    yield '    raise ValueError("foreach and differentiable cannot both be True")'


_LOAD_STATE_DICT = '''
def load_state_dict(self, state_dict: dict[str, Any]) -> None:
    """Load the optimizer state. Where a group has a {kept}, states stay as they were saved."""
    loaded: dict[str, Any] = {}
    handle = self.register_load_state_dict_pre_hook(lambda _, final: loaded.update(final))
    try:
        super().load_state_dict(state_dict)  # casts states to the dtype of their parameters
    finally:
        handle.remove()
    saved = chain.from_iterable(group["params"] for group in loaded["param_groups"])
    for group in self.param_groups:
        for p, key in zip(group["params"], saved, strict=False):
            if {is_kept} and key in loaded["state"]:
                self.state[p] = {name: value.to(p.device) for name, value in loaded["state"][key].items()}
'''


_CAST = """self.state[p] = {name: value.to(p.device) for name, value in loaded["state"][key].items()}"""
_CAST_BUT_STEP = """step = self.state[p]["step"]
                self.state[p] = {name: value.to(p.device) for name, value in loaded["state"][key].items()}
                self.state[p]["step"] = step"""


def _load_state_dict(parts: Parts) -> str:
    """Return the method. A counter of steps is left as torch has loaded it, on the device where it belongs."""
    text = _LOAD_STATE_DICT if parts.rule.step is None else _LOAD_STATE_DICT.replace(_CAST, _CAST_BUT_STEP)
    is_kept, kept = 'group["state_dtype"] is not None', "state_dtype"
    if parts.packable:
        is_kept, kept = f'({is_kept} or group["state_bits"])', "state_dtype or state_bits"
    return text.replace("{is_kept}", is_kept).replace("{kept}", kept)


def _tensors(parts: Parts) -> str:
    lists = input_lists(parts.rule)
    counts = parts.rule.step is not None
    lines = [
        f"def _tensors(self, {_parameters_of_tensors(parts)}) -> tuple[list[Tensor], ...]:",
        f'    """For the parameters that have a gradient: {_what(parts)}."""',
        *(f"    {name}: list[{'Any' if name == 'steps' else 'Tensor'}] = []" for name in ("params", *lists.values())),
        '    for p in group["params"]:',
        "        if p.grad is None:",
        "            continue",
        "        if p.grad.is_sparse:",
        f'            raise RuntimeError("{parts.name} does not support sparse gradients")',
        *["        _refuse_pieces(p)"] * parts.reduces,
        *(f"        {line}" for line in refuse_shards(parts)),
    ]
    lines += [f"        {line}" for line in _new_states(parts)]
    lines += [
        "        param = _vector(p)",
        '        dtype = group["state_dtype"] or param.dtype',
        "        params.append(param)",
    ]
    if W in lists:
        weight = "param.to(dtype)"
        lines += [f'        weights.append({weight}.clone() if group["differentiable"] else {weight})']
    if G in lists:
        lines += [
            '        grad = p.grad.redistribute(placements=p.placements) if hasattr(p, "placements") else p.grad',
            "        grad = _vector(grad).to(dtype)",
            '        grads.append(-grad if group["maximize"] else grad)',
        ]
    lines += [f"        {read_state(parts, slot)}" for slot in parts.rule.states]
    if counts:
        lines += [
            "        if not is_idle:",
            '            state["step"] += 1',
            '        steps.append(_number(state["step"], group))',
        ]
    return "\n".join([*lines, f"    return {', '.join(['params', *lists.values()])}"])


def _new_states(parts: Parts) -> Iterator[str]:
    """Yield the lines that make the states of a parameter."""
    if not parts.rule.states and parts.rule.step is None:
        return
    yield "state = self.state[p]"
    yield "if len(state) == 0:"
    if parts.rule.step is not None:
        yield '    device = p.device if group["capturable"] else "cpu"'
        yield '    state["step"] = torch.zeros((), dtype=torch.float32, device=device)'
    if parts.rule.states:
        yield "    like = torch.view_as_real(p) if torch.is_complex(p) else p"
        yield '    dtype = group["state_dtype"] or like.dtype'
    for slot in parts.rule.states:
        sums = {ROW: "_row_sum(_vector(p))", COLUMN: "_column_sum(_vector(p))"}
        small = sums.get(parts.rule.values[slot].rank)
        like = f"{small}, dtype=dtype" if small else "like, dtype=dtype, memory_format=torch.preserve_format"
        yield f'    state["{INPUTS[slot]}"] = torch.zeros_like({like})'
    yield from (f"    {line}" for line in pack_new_states(parts))


def _parameters_of_tensors(parts: Parts) -> str:
    """Return what the method is given besides the optimizer."""
    counts, packs = parts.rule.step is not None, bool(parts.packable)
    return f"group: dict[str, Any]{', is_idle: bool' * counts}{', opened: list[tuple[Any, ...]]' * packs}"


def _arguments_of_tensors(parts: Parts) -> str:
    return f"group{', is_idle' * (parts.rule.step is not None)}{', opened' * bool(parts.packable)}"


def _what(parts: Parts) -> str:
    words = {"w": "what to read", "g": "gradients", "m": "states m", "v": "states v", "step": "step"}
    return ", ".join(["what to write", *(words[name] for name in inputs(parts.rule).values())])


_CLOSURE = '''
@_use_grad_for_differentiable
def step(self, closure: Callable[[], Any] | None = None) -> Any:
    """Perform a single optimization step.

    If lr and all gradients are zero, it makes the states that are missing and changes nothing, as
    torch.distributed.checkpoint wants it.

    Args:
        closure (Callable, optional): A closure that reevaluates the model and returns the loss.
    """
    loss = None
    if closure is not None:
        with torch.enable_grad():
            loss = closure()

'''


def _closure(parts: Parts) -> str:
    """Return the head of the step."""
    check = "    _refuse_capture(self.param_groups)\n" if parts.rule.step is not None else ""
    return _CLOSURE.replace("    loss = None\n", f"{check}    loss = None\n")


_OPENED = "    opened: list[tuple[Any, ...]] = []\n"


def _step(parts: Parts) -> str:
    keywords = ["lr=_rate(group)"] * parts.reads_lr
    keywords += [f"{name}={code}" for name, code in parts.of_group().items()]
    keywords += ['differentiable=group["differentiable"]'] * _takes_differentiable(parts)
    arguments = "".join(f"                {k},\n" for k in keywords)
    packs = bool(parts.packable)
    return (
        _closure(parts)
        + f"""
    is_idle = _is_idle(self.param_groups)
    for group in self.param_groups:
        foreach = _uses_foreach(group)
{_OPENED.replace("    ", "        ", 1) * packs}        lists = self._tensors({_arguments_of_tensors(parts)})
        if is_idle:
            continue
        rule = _multi_tensor_{parts.snake_name} if foreach else _single_tensor_{parts.snake_name}
        for tensors in _alike(lists) if foreach else [lists]:
            rule(
                *tensors,
{arguments}            )
{f"        _close(opened){chr(10)}" * packs}    return loss
""".lstrip("\n")
    )


def _global_step(parts: Parts) -> str:
    counts, packs = parts.rule.step is not None, bool(parts.packable)
    is_idle = "_is_idle(self.param_groups)"
    return (
        _closure(parts)
        + f"""
{f"    is_idle = {is_idle}{chr(10)}" * counts}    foreach = all(_uses_foreach(group) for group in self.param_groups)
{_OPENED * packs}    entries: list[tuple[Any, ...]] = []
    for group in self.param_groups:
        lists = self._tensors({_arguments_of_tensors(parts)})
        rows = _alike(lists) if foreach else zip(*lists, strict=True)
        entries += [(group, *row) for row in rows]
    if entries and not {"is_idle" if counts else is_idle}:
        rule = _multi_tensor_{parts.snake_name} if foreach else _single_tensor_{parts.snake_name}
        rule(entries)
{f"        _close(opened){chr(10)}" * packs}    return loss
""".lstrip("\n")
    )


# --- functions of the module ------------------------------------------------------------------------------------------

_VECTOR = '''
def _vector(x: Tensor) -> Tensor:
    """A view to compute with: real, and of one dimension at least, so that numbers never change its dtype."""
    x = torch.view_as_real(x) if torch.is_complex(x) else x
    return x if x.dim() else x.unsqueeze(0)
'''
_RATE = '''
def _rate(group: dict[str, Any]) -> float | Tensor:
    """The learning rate. A tensor is read out unless it has to stay one."""
    lr: float | Tensor = group["lr"]
    if not isinstance(lr, Tensor):
        return lr
    stays = group["capturable"] or group["differentiable"] or torch.compiler.is_compiling()
    return lr.reshape(()) if stays else lr.item()
'''
_NUMBER = '''
def _number(step: Tensor, group: dict[str, Any]) -> float | Tensor:
    """The number of the step. The counter is read out unless it has to stay a tensor."""
    stays = group["capturable"] or torch.compiler.is_compiling()
    return step.double() if stays else step.item()
'''
_REFUSE_CAPTURE = '''
def _refuse_capture(groups: list[dict[str, Any]]) -> None:
    """Raise an error where a CUDA graph is captured that would count no further."""
    if torch.compiler.is_compiling() or not torch.cuda.is_available():
        return
    if torch.cuda.is_current_stream_capturing() and not all(group["capturable"] for group in groups):
        raise RuntimeError("steps are counted; capture in CUDA graphs needs capturable=True")
'''
_NUMBER_AS_TENSOR = '''
def _number(step: Tensor, _: dict[str, Any]) -> Tensor:
    """The number of the step, as functions of torch want it."""
    return step.double()
'''
_IS_IDLE = '''
def _is_idle(groups: list[dict[str, Any]]) -> bool:
    """Whether lr and all gradients are zero. A lr that must stay on its device is not looked at."""
    for group in groups:
        lr = _rate(group)
        if torch.compiler.is_compiling() or (isinstance(lr, Tensor) and lr.device.type != "cpu") or lr != 0:
            return False
    grads = [p.grad for group in groups for p in group["params"] if p.grad is not None]
    return not any(grad.is_sparse or _whole(grad.count_nonzero()) for grad in grads)
'''
_USES_FOREACH = '''
def _uses_foreach(group: dict[str, Any]) -> bool:
    """Whether to take many tensors at once: those of other kinds, such as DTensor, are taken one after another."""
    foreach: bool | None = group["foreach"]
    if foreach is False or not all(type(p) in (Tensor, Parameter) for p in group["params"]):
        return False
    return foreach or (not group["differentiable"] and all(p.is_cuda for p in group["params"]))
'''
_ALIKE = '''
def _alike(lists: tuple[list[Tensor], ...]) -> Iterator[tuple[list[Tensor], ...]]:
    """The lists split by device and dtype; on the CPU also by size, so that intermediate results stay in the cache."""
    split: dict[Any, list[tuple[Tensor, ...]]] = defaultdict(list)
    size: dict[Any, int] = defaultdict(int)
    for row in zip(*lists, strict=True):
        first = row[0]
        size[first.device, first.dtype] += first.numel()
        part = size[first.device, first.dtype] >> 16 if first.device.type == "cpu" else 0
        split[first.device, first.dtype, part].append(row)
    for rows in split.values():
        yield tuple(list(column) for column in zip(*rows, strict=True))
'''
_WHOLE = '''
def _whole(x: Tensor) -> Tensor:
    """A sum over a tensor, over all shards if it is a DTensor."""
    whole: Tensor = x.full_tensor() if hasattr(x, "full_tensor") else x
    return whole
'''
_TOTALS = '''
def _totals(shares: list[Tensor]) -> dict[torch.device, Tensor]:
    """The sum over all parameters, on each device that has some."""
    alike: dict[Any, list[Tensor]] = defaultdict(list)
    for share in shares:
        alike[share.device, getattr(share, "device_mesh", None), getattr(share, "placements", None)].append(share)
    totals = [_whole(torch.stack(part).sum()) for part in alike.values()]
    total = torch.stack([x.to(shares[0].device) for x in totals]).sum()
    return {device: total.to(device) for device in {share.device for share in shares}}
'''


def _refuse_pieces(parts: Parts) -> str:
    return f'''
def _refuse_pieces(p: Tensor) -> None:
    """Raise an error for a piece of a parameter whose other pieces this process cannot reach to add them up."""
    if hasattr(p, "_fsdp_flattened"):
        raise RuntimeError("{parts.name} adds up over whole parameters; use fully_shard (FSDP2) instead of FSDP")
    if hasattr(p, "device_mesh") and p.device_mesh.get_coordinate() is None:
        raise RuntimeError(f"{parts.name} adds up over whole parameters, and one is on {{p.device_mesh}}, elsewhere")
'''


def _refuse_parts(parts: Parts) -> str:
    return f'''
def _refuse_parts() -> None:
    """Raise an error if the caller is one of those that give an optimizer only some of the parameters."""
    for frame, _ in traceback.walk_stack(None):
        package, _, module = frame.f_globals.get("__name__", "").rpartition(".")
        some = ("zero_redundancy_optimizer", "apply_optimizer_in_backward", "optimizer")
        if package == "torch.distributed.optim" and module in some:
            raise ValueError(f"{parts.name} adds up over all parameters, and {{module}} gives it only some of them")
'''


def _functions(parts: Parts) -> Iterator[str]:
    yield helper(parts.schedule)
    if parts.rule.is_global:
        yield _refuse_parts(parts)
    if parts.reduces:
        yield _refuse_pieces(parts)
    yield _VECTOR
    yield _RATE
    if parts.rule.step is not None:
        yield _REFUSE_CAPTURE
        yield _NUMBER_AS_TENSOR if parts.rule.step in parts.rule.tensors else _NUMBER
    yield _WHOLE
    yield _IS_IDLE
    yield _USES_FOREACH
    yield _ALIKE
    yield from packing_functions(parts)
    yield from torch_helpers(parts.rule.helpers)
    if parts.rule.is_global:
        yield _TOTALS
    yield _function(parts, f"_single_tensor_{parts.snake_name}", single_tensor(parts))
    yield _function(parts, f"_multi_tensor_{parts.snake_name}", multi_tensor(parts))


def _function(parts: Parts, name: str, body: list[str]) -> str:
    lines = "\n".join(f"    {line}" for line in body).replace("'", '"')
    if parts.rule.is_global:
        return f"def {name}(entries: list[tuple[Any, ...]]) -> None:\n{lines}"
    lists = ("params", *input_lists(parts.rule).values())
    arguments = [f"{name}: list[{'Any' if name == 'steps' else 'Tensor'}]" for name in lists]
    keywords = ["lr: float | Tensor"] * parts.reads_lr
    as_tensor = parts.rule.steps in parts.rule.tensors
    keywords += [f"{h.name}: {'float | Tensor' if h.is_count and as_tensor else 'float'}" for h in parts.arguments]
    keywords += ["differentiable: bool"] * _takes_differentiable(parts)
    arguments += ["*", *keywords] if keywords else []
    listed = "".join(f"    {a},\n" for a in arguments)
    return f"def {name}(\n{listed}) -> None:\n{lines}"


def _takes_differentiable(parts: Parts) -> bool:
    return any(kept_by_autograd(parts.rule, slot) for slot in parts.rule.states)
