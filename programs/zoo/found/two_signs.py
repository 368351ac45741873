"""TwoSigns, an optimizer found by program search. Needs nothing but torch."""

from __future__ import annotations

import math
import traceback
from collections import defaultdict
from collections.abc import Callable, Iterator
from itertools import chain
from typing import Any

import torch
from torch import Tensor
from torch.nn import Parameter
from torch.optim.lr_scheduler import LambdaLR
from torch.optim.optimizer import Optimizer, ParamsT, _use_grad_for_differentiable

__all__ = ["TwoSigns", "warmup_cosine"]


class TwoSigns(Optimizer):
    r"""Implements TwoSigns, an update rule found by program search.

    At each step, for each parameter tensor ``w`` with gradient ``g`` and with ``m``, zero before the first
    step::

        x1 = interp(g, m, c1)
        x2 = x1 * c2
        x3 = global_norm(x2)
        x2 = x2 / x3
        x2 = minimum(x2, c3)
        x3 = norm(x2)
        x2 = x2 / x3
        x2 = clip(x2, max_norm)
        x10 = lr * c4
        x2 = x2 * x10
        m = interp(x2, m, beta1)
        update = sign(m)
        x1 = sign(x1)
        x1 = x1 + w
        x1 = x1 * c5
        update = update + x1
        lr_ = lr * c6
        update = update * lr_
        w = w - update

    Here x / y is x / (y + 1e-8), interp(x, y, a) is (1 - a) x + a y, clip(x, c) is x min(1, c /
    global_norm(x)).

    The functions global_norm, dot, cosine_sim and clip run over the parameters of all groups that have a
    gradient, as one long vector; everything else is computed for each parameter with the hyperparameters of its
    group.

    The function norm gives one number for each parameter tensor.

    These functions see a DTensor (fully_shard, tensor parallelism) as a whole, with the shards of all
    processes, so that updates are those of an unsharded model. Parameters of FullyShardedDataParallel are
    refused, and so is ZeroRedundancyOptimizer, which gives each process only some of the parameters. Whatever
    else hands this optimizer flattened, cut or only some parameters as plain tensors cannot be recognised: sums
    run over what it is given.

    Schedulers that cycle the momentum too (OneCycleLR, CyclicLR) need cycle_momentum=False here.

    Args:
        params (iterable): iterable of parameters or named_parameters to optimize, or of dicts defining groups
        lr (float, Tensor, optional): learning rate of the rule, made for values of a schedule from 0 to 1
            (default: 1.0)
        beta1 (float, optional): coefficient of an interpolation (default: 0.8840312695807605)
        c1 (float, optional): constant of `interp` (default: -0.012193817598794805)
        c2 (float, optional): constant of `mul` (default: 0.9879530803421405)
        c3 (float, optional): constant of `minimum` (default: 0.5982027746751323)
        max_norm (float, optional): largest global norm (default: 2.8361149229172264)
        c4 (float, optional): constant of `mul` (default: 0.001)
        c5 (float, optional): constant of `mul` (default: 1.2122984320657322)
        c6 (float, optional): constant of `mul` (default: 0.014072522484227046)
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

        optimizer = TwoSigns(model.parameters())
        scheduler = warmup_cosine(optimizer, total_steps)  # then optimizer.step() and scheduler.step() each time

    Provenance:
        program: two_signs
        hash: 40a2503c9be33243244a10398d9ebd64
        verified: 60 steps in float64 against the program; largest relative difference of movement 0.0e+00
    """

    def __init__(
        self,
        params: ParamsT,
        lr: float | Tensor = 1.0,
        beta1: float = 0.8840312695807605,
        c1: float = -0.012193817598794805,
        c2: float = 0.9879530803421405,
        c3: float = 0.5982027746751323,
        max_norm: float = 2.8361149229172264,
        c4: float = 0.001,
        c5: float = 1.2122984320657322,
        c6: float = 0.014072522484227046,
        *,
        state_dtype: torch.dtype | None = None,
        state_bits: int | None = None,
        foreach: bool | None = None,
        maximize: bool = False,
        capturable: bool = False,
        differentiable: bool = False,
    ) -> None:
        _refuse_parts()
        if isinstance(lr, Tensor) and lr.numel() != 1:
            raise ValueError("Tensor lr must be 1-element")
        if not lr >= 0.0:
            raise ValueError(f"Invalid learning rate: {lr}")
        if not 0.0 <= beta1 < 1.0:
            raise ValueError(f"Invalid beta1 value: {beta1}")
        if not math.isfinite(c1):
            raise ValueError(f"Invalid c1 value: {c1}")
        if not math.isfinite(c2):
            raise ValueError(f"Invalid c2 value: {c2}")
        if not math.isfinite(c3):
            raise ValueError(f"Invalid c3 value: {c3}")
        if not max_norm >= 0.0:
            raise ValueError(f"Invalid max_norm value: {max_norm}")
        if not math.isfinite(c4):
            raise ValueError(f"Invalid c4 value: {c4}")
        if not math.isfinite(c5):
            raise ValueError(f"Invalid c5 value: {c5}")
        if not math.isfinite(c6):
            raise ValueError(f"Invalid c6 value: {c6}")
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
            "c1": c1,
            "c2": c2,
            "c3": c3,
            "max_norm": max_norm,
            "c4": c4,
            "c5": c5,
            "c6": c6,
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
                raise RuntimeError("TwoSigns does not support sparse gradients")
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

        foreach = all(_uses_foreach(group) for group in self.param_groups)
        opened: list[tuple[Any, ...]] = []
        entries: list[tuple[Any, ...]] = []
        for group in self.param_groups:
            lists = self._tensors(group, opened)
            rows = _alike(lists) if foreach else zip(*lists, strict=True)
            entries += [(group, *row) for row in rows]
        if entries and not _is_idle(self.param_groups):
            rule = _multi_tensor_two_signs if foreach else _single_tensor_two_signs
            rule(entries)
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


def _refuse_parts() -> None:
    """Raise an error if the caller is one of those that give an optimizer only some of the parameters."""
    for frame, _ in traceback.walk_stack(None):
        package, _, module = frame.f_globals.get("__name__", "").rpartition(".")
        some = ("zero_redundancy_optimizer", "apply_optimizer_in_backward", "optimizer")
        if package == "torch.distributed.optim" and module in some:
            raise ValueError(f"TwoSigns adds up over all parameters, and {module} gives it only some of them")


def _refuse_pieces(p: Tensor) -> None:
    """Raise an error for a piece of a parameter whose other pieces this process cannot reach to add them up."""
    if hasattr(p, "_fsdp_flattened"):
        raise RuntimeError("TwoSigns adds up over whole parameters; use fully_shard (FSDP2) instead of FSDP")
    if hasattr(p, "device_mesh") and p.device_mesh.get_coordinate() is None:
        raise RuntimeError(f"TwoSigns adds up over whole parameters, and one is on {p.device_mesh}, elsewhere")


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


def _dot(x: Tensor, y: Tensor) -> Tensor:
    """The sum of products, in float32 at least."""
    dtype = torch.promote_types(x.dtype, torch.float32)
    return torch.sum(x.to(dtype) * y.to(dtype))


def _norm(x: Tensor) -> Tensor:
    return torch.sqrt(_whole(_dot(x, x)))


def _totals(shares: list[Tensor]) -> dict[torch.device, Tensor]:
    """The sum over all parameters, on each device that has some."""
    alike: dict[Any, list[Tensor]] = defaultdict(list)
    for share in shares:
        alike[share.device, getattr(share, "device_mesh", None), getattr(share, "placements", None)].append(share)
    totals = [_whole(torch.stack(part).sum()) for part in alike.values()]
    total = torch.stack([x.to(shares[0].device) for x in totals]).sum()
    return {device: total.to(device) for device in {share.device for share in shares}}


def _single_tensor_two_signs(entries: list[tuple[Any, ...]]) -> None:
    x2_dot_x2_shares: list[Tensor] = []
    all_x1: list[Tensor] = []
    all_x2: list[Tensor] = []
    for group, _, _, g, m in entries:
        c1, c2 = group["c1"], group["c2"]
        x1 = torch.lerp(g, m, c1)
        all_x1.append(x1)
        x2 = x1 * c2
        all_x2.append(x2)
        x2_dot_x2_shares.append(_dot(x2, x2))
    x2_dot_x2 = _totals(x2_dot_x2_shares)
    x2_dot_x2_2_shares: list[Tensor] = []
    all_x2_2: list[Tensor] = []
    for i, (group, param, _, _, _) in enumerate(entries):
        c3 = group["c3"]
        x2 = all_x2[i]
        x2 = torch.clamp(x2 / (torch.sqrt(x2_dot_x2[param.device]) + 1e-08), max=c3)
        x2 = x2 / (_norm(x2) + 1e-08)
        all_x2_2.append(x2)
        x2_dot_x2_2_shares.append(_dot(x2, x2))
    x2_dot_x2_2 = _totals(x2_dot_x2_2_shares)
    for i, (group, param, w, _, m) in enumerate(entries):
        lr = _rate(group)
        max_norm, c4, beta1, c5, c6 = group["max_norm"], group["c4"], group["beta1"], group["c5"], group["c6"]
        x1 = all_x1[i]
        x2 = all_x2_2[i]
        x2 = x2 * torch.clamp(max_norm / torch.sqrt(x2_dot_x2_2[param.device]), max=1.0)
        new_m = torch.lerp(m, x2 * (lr * c4), 1 - beta1)
        update = (torch.sign(new_m) + (torch.sign(x1) + w) * c5) * (lr * c6)
        m.copy_(new_m)
        param.sub_(update)


def _multi_tensor_two_signs(entries: list[tuple[Any, ...]]) -> None:
    x2_dot_x2_shares: list[Tensor] = []
    all_x1: list[Any] = []
    all_x2: list[Any] = []
    for group, _, _, grads, ms in entries:
        c1, c2 = group["c1"], group["c2"]
        x1 = torch._foreach_lerp(grads, ms, c1)
        all_x1.append(x1)
        x2 = torch._foreach_mul(x1, c2)
        all_x2.append(x2)
        x2_dot_x2_shares.extend(_dot(x, x) for x in x2)
    x2_dot_x2 = _totals(x2_dot_x2_shares)
    x2_dot_x2_2_shares: list[Tensor] = []
    all_x2_2: list[Any] = []
    for i, (group, params, _, _, _) in enumerate(entries):
        c3 = group["c3"]
        device = params[0].device
        x2 = all_x2[i]
        x3 = torch.sqrt(x2_dot_x2[device])
        x2_2 = torch._foreach_div(x2, x3 + 1e-08)
        x2_3 = [torch.clamp(x, max=c3) for x in x2_2]
        x3_2 = [_norm(x) for x in x2_3]
        x2_4 = [x / (y + 1e-08) for x, y in zip(x2_3, x3_2, strict=True)]
        all_x2_2.append(x2_4)
        x2_dot_x2_2_shares.extend(_dot(x, x) for x in x2_4)
    x2_dot_x2_2 = _totals(x2_dot_x2_2_shares)
    for i, (group, params, weights, _, ms) in enumerate(entries):
        lr = _rate(group)
        max_norm, c4, beta1, c5, c6 = group["max_norm"], group["c4"], group["beta1"], group["c5"], group["c6"]
        device = params[0].device
        x1 = all_x1[i]
        x2 = all_x2_2[i]
        x2_2 = torch._foreach_mul(x2, torch.clamp(max_norm / torch.sqrt(x2_dot_x2_2[device]), max=1.0))
        x10 = lr * c4
        torch._foreach_mul_(x2_2, x10)
        torch._foreach_lerp_(ms, x2_2, 1 - beta1)
        update = torch._foreach_sign(ms)
        x1_2 = torch._foreach_sign(x1)
        torch._foreach_add_(x1_2, weights)
        torch._foreach_mul_(x1_2, c5)
        torch._foreach_add_(update, x1_2)
        lr_2 = lr * c6
        torch._foreach_mul_(update, lr_2)
        torch._foreach_sub_(params, update)
