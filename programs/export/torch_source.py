"""A program as one file of PyTorch: a subclass of `torch.optim.Optimizer` that needs nothing but torch."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Mapping

from programs.export.docstring import docstring
from programs.export.function import in_order
from programs.export.multi_tensor import multi_tensor
from programs.export.parts import LIST_NAMES, Parts, check_name, number
from programs.export.single_tensor import kept_by_autograd, single_tensor
from programs.export.variables import RESERVED
from programs.graph import INPUTS, G, M, V, W
from programs.program import Program


def torch_source(program: Program, class_name: str, provenance: Mapping[str, str] | None = None) -> str:
    """Return the text of the file.

    Args:
        program: only its live statements are exported.
        class_name: the name of the class.
        provenance: lines `key: value` for the docstring, such as the hash, the task and the fitness.

    Raises:
        InputError: `class_name` cannot be the name of a class.
    """
    check_name(class_name, "class", "MyOptimizer", RESERVED)
    parts = Parts.of(program, class_name, provenance)
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
            "from torch.optim.optimizer import Optimizer, ParamsT, _use_grad_for_differentiable",
            "",
            f'__all__ = ["{parts.name}"]',
        ]
    )


# --- the class --------------------------------------------------------------------------------------------------------


def _class(parts: Parts) -> str:
    methods = [
        _init(parts),
        _LOAD_STATE_DICT,
        _tensors(parts),
        _global_step(parts) if parts.rule.is_global else _step(parts),
    ]
    body = "\n\n".join([docstring(parts), *(textwrap.dedent(m).strip("\n") for m in methods)])
    return f"class {parts.name}(Optimizer):\n{textwrap.indent(body, '    ')}"


def _init(parts: Parts) -> str:
    lines = ["def __init__(", "    self,", "    params: ParamsT,", f"    lr: float | Tensor = {number(parts.rule.lr)},"]
    if parts.betas:
        lines.append(f"    betas: tuple[float, float] = {tuple(h.default for h in parts.betas)},")
    lines += [f"    {h.name}: float = {number(h.default)}," for h in parts.settings]
    lines += ["    *,", "    state_dtype: torch.dtype | None = None,", "    foreach: bool | None = None,"]
    lines += [f"    {flag}: bool = False," for flag in ("maximize", "capturable", "differentiable")]
    lines += [") -> None:", *(f"    {line}" for line in _checks(parts)), "    defaults = {"]
    names = ["lr", *["betas"] * bool(parts.betas), *(h.name for h in parts.settings)]
    names += ["state_dtype", "foreach", "maximize", "capturable", "differentiable"]
    return "\n".join(
        [*lines, *(f'        "{n}": {n},' for n in names), "    }", "    super().__init__(params, defaults)"]
    )


def _checks(parts: Parts) -> Iterator[str]:
    if parts.rule.is_global:
        yield "_refuse_parts()"
    if parts.betas:
        yield f"{', '.join(h.name for h in parts.betas)} = betas"
    yield "if isinstance(lr, Tensor) and lr.numel() != 1:"
    yield '    raise ValueError("Tensor lr must be 1-element")'
    checks = [("lr >= 0.0", "learning rate", "lr")]
    checks += [(h.check, f"{h.name} value", h.name) for h in parts.hyperparameters.values() if h.check]
    for check, what, name in checks:
        yield f"if not {check}:"
        yield f'    raise ValueError(f"Invalid {what}: {{{name}}}")'
    yield "if state_dtype is not None and not state_dtype.is_floating_point:"
    yield '    raise ValueError(f"Invalid state_dtype value: {state_dtype}")'
    yield "if foreach and differentiable:"
    yield '    raise ValueError("foreach and differentiable cannot both be True")'


_LOAD_STATE_DICT = '''
def load_state_dict(self, state_dict: dict[str, Any]) -> None:
    """Load the optimizer state. Where a group has a state_dtype, states stay as they were saved."""
    loaded: dict[str, Any] = {}
    handle = self.register_load_state_dict_pre_hook(lambda _, final: loaded.update(final))
    try:
        super().load_state_dict(state_dict)  # casts states to the dtype of their parameters
    finally:
        handle.remove()
    saved = chain.from_iterable(group["params"] for group in loaded["param_groups"])
    for group in self.param_groups:
        for p, key in zip(group["params"], saved, strict=False):
            if group["state_dtype"] is not None and key in loaded["state"]:
                self.state[p] = {name: value.to(p.device) for name, value in loaded["state"][key].items()}
'''


def _tensors(parts: Parts) -> str:
    inputs = in_order(parts.rule)
    states = [INPUTS[s] for s in parts.rule.states]
    lines = [
        "def _tensors(self, group: dict[str, Any]) -> tuple[list[Tensor], ...]:",
        f'    """For the parameters that have a gradient: {_what(inputs)}."""',
        *(f"    {name}: list[Tensor] = []" for name in ("params", *(LIST_NAMES[n] for n in inputs))),
        '    for p in group["params"]:',
        "        if p.grad is None:",
        "            continue",
        "        if p.grad.is_sparse:",
        f'            raise RuntimeError("{parts.name} does not support sparse gradients")',
        *["        _refuse_pieces(p)"] * parts.reduces,
    ]
    if states:
        lines += [
            "        state = self.state[p]",
            "        if len(state) == 0:",
            "            like = torch.view_as_real(p) if torch.is_complex(p) else p",
            '            dtype = group["state_dtype"] or like.dtype',
        ]
        zeros = "torch.zeros_like(like, dtype=dtype, memory_format=torch.preserve_format)"
        lines += [f'            state["{s}"] = {zeros}' for s in states]
    lines += [
        "        param = _vector(p)",
        '        dtype = group["state_dtype"] or param.dtype',
        "        params.append(param)",
    ]
    if W in inputs:
        weight = "param.to(dtype)"
        lines += [f'        weights.append({weight}.clone() if group["differentiable"] else {weight})']
    if G in inputs:
        lines += [
            '        grad = p.grad.redistribute(placements=p.placements) if hasattr(p, "placements") else p.grad',
            "        grad = _vector(grad).to(dtype)",
            '        grads.append(-grad if group["maximize"] else grad)',
        ]
    lines += [f'        {s}s.append(_vector(state["{s}"]))' for s in states]
    return "\n".join([*lines, f"    return {', '.join(['params', *(LIST_NAMES[n] for n in inputs)])}"])


def _what(inputs: list[int]) -> str:
    words = {W: "what to read", G: "gradients", M: "states m", V: "states v"}
    return ", ".join(["what to write", *(words[n] for n in inputs)])


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


def _step(parts: Parts) -> str:
    keywords = ["lr=_rate(group)"] * parts.reads_lr
    keywords += [f"{name}={code}" for name, code in parts.of_group().items()]
    keywords += ['differentiable=group["differentiable"]'] * _takes_differentiable(parts)
    arguments = "".join(f"                {k},\n" for k in keywords)
    return (
        _CLOSURE
        + f"""
    is_idle = _is_idle(self.param_groups)
    for group in self.param_groups:
        foreach = _uses_foreach(group)
        lists = self._tensors(group)
        if is_idle:
            continue
        rule = _multi_tensor_{parts.snake_name} if foreach else _single_tensor_{parts.snake_name}
        for tensors in _alike(lists) if foreach else [lists]:
            rule(
                *tensors,
{arguments}            )
    return loss
""".lstrip("\n")
    )


def _global_step(parts: Parts) -> str:
    return (
        _CLOSURE
        + f"""
    foreach = all(_uses_foreach(group) for group in self.param_groups)
    entries: list[tuple[Any, ...]] = []
    for group in self.param_groups:
        lists = self._tensors(group)
        rows = _alike(lists) if foreach else zip(*lists, strict=True)
        entries += [(group, *row) for row in rows]
    if entries and not _is_idle(self.param_groups):
        rule = _multi_tensor_{parts.snake_name} if foreach else _single_tensor_{parts.snake_name}
        rule(entries)
    return loss
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
_DOT = '''
def _dot(x: Tensor, y: Tensor) -> Tensor:
    """The sum of products, in float32 at least."""
    dtype = torch.promote_types(x.dtype, torch.float32)
    return torch.sum(x.to(dtype) * y.to(dtype))
'''
_WHOLE = '''
def _whole(x: Tensor) -> Tensor:
    """A sum over a tensor, over all shards if it is a DTensor."""
    whole: Tensor = x.full_tensor() if hasattr(x, "full_tensor") else x
    return whole
'''
_NORM = """
def _norm(x: Tensor) -> Tensor:
    return torch.sqrt(_whole(_dot(x, x)))
"""
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
    if parts.rule.is_global:
        yield _refuse_parts(parts)
    if parts.reduces:
        yield _refuse_pieces(parts)
    yield _VECTOR
    yield _RATE
    yield _WHOLE
    yield _IS_IDLE
    yield _USES_FOREACH
    yield _ALIKE
    if parts.reduces:
        yield _DOT
    if parts.has_norms:
        yield _NORM
    if parts.rule.is_global:
        yield _TOTALS
    yield _function(parts, f"_single_tensor_{parts.snake_name}", single_tensor(parts))
    yield _function(parts, f"_multi_tensor_{parts.snake_name}", multi_tensor(parts))


def _function(parts: Parts, name: str, body: list[str]) -> str:
    lines = "\n".join(f"    {line}" for line in body).replace("'", '"')
    if parts.rule.is_global:
        return f"def {name}(entries: list[tuple[Any, ...]]) -> None:\n{lines}"
    arguments = [f"{name}: list[Tensor]" for name in ("params", *(LIST_NAMES[n] for n in in_order(parts.rule)))]
    keywords = ["lr: float | Tensor"] * parts.reads_lr + [f"{h.name}: float" for h in parts.hyperparameters.values()]
    keywords += ["differentiable: bool"] * _takes_differentiable(parts)
    arguments += ["*", *keywords] if keywords else []
    listed = "".join(f"    {a},\n" for a in arguments)
    return f"def {name}(\n{listed}) -> None:\n{lines}"


def _takes_differentiable(parts: Parts) -> bool:
    return any(kept_by_autograd(parts.rule, slot) for slot in parts.rule.states)
