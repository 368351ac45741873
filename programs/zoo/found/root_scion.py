"""RootScion, an optimizer found by program search. Needs nothing but torch."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Iterator
from itertools import chain
from typing import Any

import torch
from torch import Tensor
from torch.nn import Parameter
from torch.optim.lr_scheduler import LambdaLR
from torch.optim.optimizer import Optimizer, ParamsT, _use_grad_for_differentiable

__all__ = ["RootScion", "warmup_cosine"]


class RootScion(Optimizer):
    r"""Implements RootScion, an update rule found by program search.

    At each step, for each parameter tensor ``w`` with gradient ``g`` and with ``m``, zero before the first
    step::

        m = interp(g, m, beta1)
        update = orthogonalize(m)
        wd = w * weight_decay
        update = update + wd
        lr_ = sqrt(lr)
        lr_ = lr_ * c1
        update = update * lr_
        w = w - update

    Here sqrt(x) is the root of |x|, interp(x, y, a) is (1 - a) x + a y, orthogonalize(x) is the polar factor of
    x, by five steps of a Newton-Schulz iteration, scaled to an RMS of 1, and x / rms(x) where there is one row
    or one column alone.

    Of orthogonalize a parameter is a matrix, whose rows run along the first axis and whose columns along all
    others, taken together; a vector is one column.

    These functions see a DTensor (fully_shard, tensor parallelism) as a whole, with the shards of all
    processes, so that updates are those of an unsharded model. Parameters of FullyShardedDataParallel are
    refused. Whatever else hands this optimizer flattened, cut or only some parameters as plain tensors cannot
    be recognised: sums run over what it is given.

    Schedulers that cycle the momentum too (OneCycleLR, CyclicLR) need cycle_momentum=False here.

    Args:
        params (iterable): iterable of parameters or named_parameters to optimize, or of dicts defining groups
        lr (float, Tensor, optional): learning rate of the rule, made for values of a schedule from 0 to 1
            (default: 1.0)
        beta1 (float, optional): coefficient of an interpolation (default: 0.6473846249941516)
        weight_decay (float, optional): coefficient of the weights (default: 0.5828928676967966)
        c1 (float, optional): constant of `mul` (default: 0.02566815742632781)
        state_dtype (torch.dtype, optional): dtype of the states and of the arithmetic, kept when a checkpoint
            is loaded; None means the dtype of the parameter. Prefer torch.float32 for parameters in half
            precision (default: None)
        state_bits (int, optional): 8 to keep ``m`` in 8 bits a number, in blocks of 2,048 with a scale each
            (Dettmers et al., arXiv 2110.02861): 1.002 bytes instead of 4 for each state, in checkpoints too.
            Tensors with fewer than 4,096 numbers keep theirs as they are. Not for sharded parameters (default:
            None)
        foreach (bool, optional): whether all tensors of a group are updated at once with torch._foreach
            functions, which gives the same numbers; None means where all of them are on CUDA; DTensors are
            updated one by one (default: None)
        maximize (bool, optional): maximize the objective with respect to the params, instead of minimizing
            (default: False)
        capturable (bool, optional): whether a Tensor lr stays on its device, for capture in CUDA graphs;
            otherwise its value is read out at each step (default: False)
        differentiable (bool, optional): whether autograd should occur through the optimizer step (default:
            False)

    Searches train with a learning rate that rises over the first 5 % of the steps and then falls along a cosine
    to 0; without such a schedule the rule may do worse. The same here::

        optimizer = RootScion(model.parameters())
        scheduler = warmup_cosine(optimizer, total_steps)  # then optimizer.step() and scheduler.step() each time

    Provenance:
        program: root_scion
        hash: 2eed59c0973b16af478d1ebfa9eb17d8
        verified: 60 steps in float64 against the program; largest relative difference of movement 5.3e-15
    """

    def __init__(
        self,
        params: ParamsT,
        lr: float | Tensor = 1.0,
        beta1: float = 0.6473846249941516,
        weight_decay: float = 0.5828928676967966,
        c1: float = 0.02566815742632781,
        *,
        state_dtype: torch.dtype | None = None,
        state_bits: int | None = None,
        foreach: bool | None = None,
        maximize: bool = False,
        capturable: bool = False,
        differentiable: bool = False,
    ) -> None:
        if isinstance(lr, Tensor) and lr.numel() != 1:
            raise ValueError("Tensor lr must be 1-element")
        if not lr >= 0.0:
            raise ValueError(f"Invalid learning rate: {lr}")
        if not 0.0 <= beta1 < 1.0:
            raise ValueError(f"Invalid beta1 value: {beta1}")
        if not weight_decay >= 0.0:
            raise ValueError(f"Invalid weight_decay value: {weight_decay}")
        if not math.isfinite(c1):
            raise ValueError(f"Invalid c1 value: {c1}")
        if state_dtype is not None and not state_dtype.is_floating_point:
            raise ValueError(f"Invalid state_dtype value: {state_dtype}")
        if state_bits not in (None, 8):
            raise ValueError(f"Invalid state_bits value: {state_bits}")
        if state_bits and differentiable:
            raise ValueError("state_bits and differentiable cannot both be set")
        if foreach and differentiable:
            raise ValueError("foreach and differentiable cannot both be True")
        defaults = {
            "lr": lr,
            "beta1": beta1,
            "weight_decay": weight_decay,
            "c1": c1,
            "state_dtype": state_dtype,
            "state_bits": state_bits,
            "foreach": foreach,
            "maximize": maximize,
            "capturable": capturable,
            "differentiable": differentiable,
        }
        super().__init__(params, defaults)

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Load the optimizer state. Where a group has a state_dtype or state_bits, states stay as they were saved."""
        loaded: dict[str, Any] = {}
        handle = self.register_load_state_dict_pre_hook(lambda _, final: loaded.update(final))
        try:
            super().load_state_dict(state_dict)  # casts states to the dtype of their parameters
        finally:
            handle.remove()
        saved = chain.from_iterable(group["params"] for group in loaded["param_groups"])
        for group in self.param_groups:
            for p, key in zip(group["params"], saved, strict=False):
                if (group["state_dtype"] is not None or group["state_bits"]) and key in loaded["state"]:
                    self.state[p] = {name: value.to(p.device) for name, value in loaded["state"][key].items()}

    def _tensors(self, group: dict[str, Any], opened: list[tuple[Any, ...]]) -> tuple[list[Tensor], ...]:
        """For the parameters that have a gradient: what to write, what to read, gradients, states m."""
        params: list[Tensor] = []
        weights: list[Tensor] = []
        grads: list[Tensor] = []
        ms: list[Tensor] = []
        for p in group["params"]:
            if p.grad is None:
                continue
            if p.grad.is_sparse:
                raise RuntimeError("RootScion does not support sparse gradients")
            _refuse_pieces(p)
            if group["state_bits"] and hasattr(p, "placements"):
                raise RuntimeError("state_bits=8 needs whole parameters, and this one is sharded: use state_dtype")
            state = self.state[p]
            if len(state) == 0:
                like = torch.view_as_real(p) if torch.is_complex(p) else p
                dtype = group["state_dtype"] or like.dtype
                state["m"] = torch.zeros_like(like, dtype=dtype, memory_format=torch.preserve_format)
                if group["state_bits"] == 8 and like.numel() >= 4096:
                    for name, unsigned in (("m", False),):
                        codes, state[f"{name}_scales"] = _quantize(state[name].flatten(), unsigned)
                        state[name] = codes.view(like.shape)
            param = _vector(p)
            dtype = group["state_dtype"] or param.dtype
            params.append(param)
            weights.append(param.to(dtype).clone() if group["differentiable"] else param.to(dtype))
            grad = p.grad.redistribute(placements=p.placements) if hasattr(p, "placements") else p.grad
            grad = _vector(grad).to(dtype)
            grads.append(-grad if group["maximize"] else grad)
            ms.append(_opened(state, "m", False, dtype, opened))
        return params, weights, grads, ms

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

        is_idle = _is_idle(self.param_groups)
        for group in self.param_groups:
            foreach = _uses_foreach(group)
            opened: list[tuple[Any, ...]] = []
            lists = self._tensors(group, opened)
            if is_idle:
                continue
            rule = _multi_tensor_root_scion if foreach else _single_tensor_root_scion
            for tensors in _alike(lists) if foreach else [lists]:
                rule(
                    *tensors,
                    lr=_rate(group),
                    beta1=group["beta1"],
                    weight_decay=group["weight_decay"],
                    c1=group["c1"],
                )
            _close(opened)
        return loss


def warmup_cosine(optimizer: Optimizer, total_steps: int, warmup: float = 0.05) -> LambdaLR:
    """The schedule with which the search trained: ``lr`` rises over the first 5 % of the steps and
    then falls along a cosine to 0.

    Call ``step()`` of what it returns after each step of the optimizer.
    """
    warm = max(1, round(warmup * total_steps))

    def factor(step: int) -> float:
        if step >= total_steps:
            return 0.0
        if step < warm:
            return (step + 1) / warm
        return 0.5 * (1 + math.cos(math.pi * (step - warm) / (total_steps - warm)))

    return LambdaLR(optimizer, factor)


def _refuse_pieces(p: Tensor) -> None:
    """Raise an error for a piece of a parameter whose other pieces this process cannot reach to add them up."""
    if hasattr(p, "_fsdp_flattened"):
        raise RuntimeError("RootScion adds up over whole parameters; use fully_shard (FSDP2) instead of FSDP")
    if hasattr(p, "device_mesh") and p.device_mesh.get_coordinate() is None:
        raise RuntimeError(f"RootScion adds up over whole parameters, and one is on {p.device_mesh}, elsewhere")


def _vector(x: Tensor) -> Tensor:
    """A view to compute with: real, and of one dimension at least, so that numbers never change its dtype."""
    x = torch.view_as_real(x) if torch.is_complex(x) else x
    return x if x.dim() else x.unsqueeze(0)


def _rate(group: dict[str, Any]) -> float | Tensor:
    """The learning rate. A tensor is read out unless it has to stay one."""
    lr: float | Tensor = group["lr"]
    if not isinstance(lr, Tensor):
        return lr
    stays = group["capturable"] or group["differentiable"] or torch.compiler.is_compiling()
    return lr.reshape(()) if stays else lr.item()


def _whole(x: Tensor) -> Tensor:
    """A sum over a tensor, over all shards if it is a DTensor."""
    whole: Tensor = x.full_tensor() if hasattr(x, "full_tensor") else x
    return whole


def _is_idle(groups: list[dict[str, Any]]) -> bool:
    """Whether lr and all gradients are zero. A lr that must stay on its device is not looked at."""
    for group in groups:
        lr = _rate(group)
        if torch.compiler.is_compiling() or (isinstance(lr, Tensor) and lr.device.type != "cpu") or lr != 0:
            return False
    grads = [p.grad for group in groups for p in group["params"] if p.grad is not None]
    return not any(grad.is_sparse or _whole(grad.count_nonzero()) for grad in grads)


def _uses_foreach(group: dict[str, Any]) -> bool:
    """Whether to take many tensors at once: those of other kinds, such as DTensor, are taken one after another."""
    foreach: bool | None = group["foreach"]
    if foreach is False or not all(type(p) in (Tensor, Parameter) for p in group["params"]):
        return False
    return foreach or (not group["differentiable"] and all(p.is_cuda for p in group["params"]))


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


def _dynamic_levels(unsigned: bool, device: torch.device) -> Tensor:
    """Return the 256 levels of the dynamic map in rising order, `[256]`: from -1, or from 0, to 1."""
    codes = torch.arange(2 if unsigned else 1, 256 if unsigned else 128, dtype=torch.float64, device=device)
    mantissa, exponent = torch.frexp(codes)  # codes of one exponent divide a decade into equal parts
    decade = 10.0 ** (exponent.double() - (8 if unsigned else 7))
    positive = decade * (0.9 * (2 * mantissa + 0.5 ** exponent.double()) - 0.8)
    negative = positive[:0] if unsigned else -positive.flip(0)
    return torch.cat([negative, positive.new_zeros(1), positive, positive.new_ones(1)]).float()


def _quantize(x: Tensor, unsigned: bool) -> tuple[Tensor, Tensor]:
    """Return codes of numbers `[..., n]`, a byte each, and the scales of their blocks, `[..., blocks]`."""
    size = min(2048, x.shape[-1])
    blocks = torch.nn.functional.pad(x.float(), (0, -x.shape[-1] % size)).reshape(*x.shape[:-1], -1, size)
    scales = blocks.abs().amax(-1)
    levels = _dynamic_levels(unsigned, x.device)
    shares = blocks / torch.where(scales > 0, scales, 1.0).unsqueeze(-1)
    codes = torch.bucketize(shares, (levels[1:] + levels[:-1]) / 2)
    return codes.to(torch.uint8).flatten(-2)[..., : x.shape[-1]].contiguous(), scales


def _dequantize(codes: Tensor, scales: Tensor, unsigned: bool) -> Tensor:
    """Return the numbers `[..., n]` that codes stand for, in float32."""
    size = min(2048, codes.shape[-1])
    blocks = torch.nn.functional.pad(codes, (0, -codes.shape[-1] % size)).reshape(*codes.shape[:-1], -1, size)
    numbers = _dynamic_levels(unsigned, codes.device)[blocks.int()] * scales.unsqueeze(-1)
    return numbers.flatten(-2)[..., : codes.shape[-1]]


def _opened(
    state: dict[str, Any], name: str, unsigned: bool, dtype: torch.dtype, opened: list[tuple[Any, ...]]
) -> Tensor:
    """A state to compute with; of 8 bits, the numbers that they stand for, which are then added to `opened`."""
    if f"{name}_scales" not in state:
        return _vector(state[name])
    codes = state[name]
    x = _dequantize(codes.flatten(), state[f"{name}_scales"], unsigned).view(codes.shape).to(dtype)
    opened.append((state, name, unsigned, x))
    return x


def _close(opened: list[tuple[Any, ...]]) -> None:
    """Put states that were opened back into 8 bits."""
    for state, name, unsigned, x in opened:
        codes, scales = _quantize(x.flatten(), unsigned)
        state[name].copy_(codes.view(x.shape))
        state[f"{name}_scales"].copy_(scales)


def _orthogonalize(x: Tensor) -> Tensor:
    """The polar factor of the matrix [first axis, all others], scaled to an RMS of 1; of one row or column x / rms(x).

    By 5 steps of the quintic Newton-Schulz iteration, in float32 at least.
    """
    y = _whole(x)
    y = y.to(torch.promote_types(y.dtype, torch.float32)).reshape(y.shape[0], y.shape[1:].numel())
    rows, columns = y.shape
    y = y / (torch.linalg.vector_norm(y) + 1e-08)
    if min(rows, columns) > 1:
        y = y.mT if rows > columns else y
        for _ in range(5):
            squares = y @ y.mT
            y = torch.addmm(y, torch.addmm(squares, squares, squares, beta=-4.775, alpha=2.0315), y, beta=3.4445)
        y = y.mT if rows > columns else y
    return _sharded_like(x, (y * math.sqrt(max(rows, columns))).reshape(x.shape).to(x.dtype))


def _sharded_like(x: Any, whole: Tensor) -> Tensor:
    """A tensor that all processes have as a whole, as a DTensor if x is one."""
    if not hasattr(x, "placements"):
        return whole
    from torch.distributed.tensor import DTensor, Replicate

    copies = DTensor.from_local(whole, x.device_mesh, [Replicate()] * x.device_mesh.ndim, run_check=False)
    return copies.redistribute(placements=x.placements)


def _single_tensor_root_scion(
    params: list[Tensor],
    weights: list[Tensor],
    grads: list[Tensor],
    ms: list[Tensor],
    *,
    lr: float | Tensor,
    beta1: float,
    weight_decay: float,
    c1: float,
) -> None:
    lr = torch.as_tensor(lr, dtype=torch.float64)
    lr_2 = torch.sqrt(torch.abs(lr))
    lr_3 = lr_2 * c1
    for param, w, g, m in zip(params, weights, grads, ms, strict=True):
        new_m = torch.lerp(m, g, 1 - beta1)
        m.copy_(new_m)
        param.sub_((_orthogonalize(new_m) + w * weight_decay) * lr_3)


def _multi_tensor_root_scion(
    params: list[Tensor],
    weights: list[Tensor],
    grads: list[Tensor],
    ms: list[Tensor],
    *,
    lr: float | Tensor,
    beta1: float,
    weight_decay: float,
    c1: float,
) -> None:
    lr = torch.as_tensor(lr, dtype=torch.float64, device=params[0].device)
    torch._foreach_lerp_(ms, grads, 1 - beta1)
    update = [_orthogonalize(x) for x in ms]
    wd = torch._foreach_mul(weights, weight_decay)
    torch._foreach_add_(update, wd)
    lr_2 = torch.sqrt(torch.abs(lr))
    lr_2 = lr_2 * c1
    torch._foreach_mul_(update, lr_2)
    torch._foreach_sub_(params, update)
