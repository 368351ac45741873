"""RootNormuon, an optimizer found by program search. Needs nothing but torch."""

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

__all__ = ["RootNormuon", "warmup_cosine"]


class RootNormuon(Optimizer):
    r"""Implements RootNormuon, an update rule found by program search.

    At each step, for each parameter tensor ``w`` with gradient ``g`` and with ``m`` and ``v``, zero before the
    first step::

        clipped_g = clip(g, max_norm1)
        m = interp(clipped_g, m, beta1)
        update = orthogonalize(m)
        squares = square(update)
        x1 = norm(squares)
        squares = squares / x1
        rows = row_mean(squares)
        x2 = global_norm(v)
        x1 = v / x2
        x1 = interp(rows, x1, beta2)
        v = clip(x1, max_norm2)
        sqrt_v = sqrt(v)
        update = update / sqrt_v
        size = rms(update)
        update = update / size
        wd = w * weight_decay
        update = update + wd
        sqrt_lr = sqrt(lr)
        x1 = sqrt_lr * c1
        update = update * x1
        w = w - update

    Here x / y is x / (y + 1e-8), sqrt(x) is the root of |x|, interp(x, y, a) is (1 - a) x + a y, clip(x, c) is
    x min(1, c / global_norm(x)), rms(x) is one number for each parameter tensor, orthogonalize(x) is the polar
    factor of x, by five steps of a Newton-Schulz iteration, scaled to an RMS of 1, and x / rms(x) where there
    is one row or one column alone, row_mean(x) is one number for each row.

    The functions global_norm, dot, cosine_sim and clip run over the parameters of all groups that have a
    gradient, as one long vector; everything else is computed for each parameter with the hyperparameters of its
    group.

    The function norm gives one number for each parameter tensor.

    Of orthogonalize, row_mean a parameter is a matrix, whose rows run along the first axis and whose columns
    along all others, taken together; a vector is one column.

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
        beta1 (float, optional): coefficient of an interpolation (default: 0.6216320589589561)
        max_norm1 (float, optional): largest global norm (default: 0.3771318297206107)
        beta2 (float, optional): coefficient of an interpolation (default: 0.9648102589721497)
        max_norm2 (float, optional): largest global norm (default: 0.7363118847740089)
        weight_decay (float, optional): coefficient of the weights (default: 0.02641363399797989)
        c1 (float, optional): constant of `mul` (default: 0.01061996324341003)
        state_dtype (torch.dtype, optional): dtype of the states and of the arithmetic, kept when a checkpoint
            is loaded; None means the dtype of the parameter. Prefer torch.float32 for parameters in half
            precision (default: None)
        state_bits (int, optional): 8 to keep ``m`` and ``v`` in 8 bits a number, in blocks of 2,048 with a
            scale each (Dettmers et al., arXiv 2110.02861): 1.002 bytes instead of 4 for each state, in
            checkpoints too. Tensors with fewer than 4,096 numbers keep theirs as they are. Not for sharded
            parameters (default: None)
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

        optimizer = RootNormuon(model.parameters())
        scheduler = warmup_cosine(optimizer, total_steps)  # then optimizer.step() and scheduler.step() each time

    Provenance:
        program: root_normuon
        hash: 2b07eabd6c67c768894019cf0e293f01
        verified: 60 steps in float64 against the program; largest relative difference of movement 2.4e-14
    """

    def __init__(
        self,
        params: ParamsT,
        lr: float | Tensor = 1.0,
        beta1: float = 0.6216320589589561,
        max_norm1: float = 0.3771318297206107,
        beta2: float = 0.9648102589721497,
        max_norm2: float = 0.7363118847740089,
        weight_decay: float = 0.02641363399797989,
        c1: float = 0.01061996324341003,
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
        if not max_norm1 >= 0.0:
            raise ValueError(f"Invalid max_norm1 value: {max_norm1}")
        if not 0.0 <= beta2 < 1.0:
            raise ValueError(f"Invalid beta2 value: {beta2}")
        if not max_norm2 >= 0.0:
            raise ValueError(f"Invalid max_norm2 value: {max_norm2}")
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
            "max_norm1": max_norm1,
            "beta2": beta2,
            "max_norm2": max_norm2,
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
        """For the parameters that have a gradient: what to write, what to read, gradients, states m, states v."""
        params: list[Tensor] = []
        weights: list[Tensor] = []
        grads: list[Tensor] = []
        ms: list[Tensor] = []
        vs: list[Tensor] = []
        for p in group["params"]:
            if p.grad is None:
                continue
            if p.grad.is_sparse:
                raise RuntimeError("RootNormuon does not support sparse gradients")
            _refuse_pieces(p)
            if group["state_bits"] and hasattr(p, "placements"):
                raise RuntimeError("state_bits=8 needs whole parameters, and this one is sharded: use state_dtype")
            state = self.state[p]
            if len(state) == 0:
                like = torch.view_as_real(p) if torch.is_complex(p) else p
                dtype = group["state_dtype"] or like.dtype
                state["m"] = torch.zeros_like(like, dtype=dtype, memory_format=torch.preserve_format)
                state["v"] = torch.zeros_like(like, dtype=dtype, memory_format=torch.preserve_format)
                if group["state_bits"] == 8 and like.numel() >= 4096:
                    for name, unsigned in (("m", False), ("v", False)):
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
            vs.append(_opened(state, "v", False, dtype, opened))
        return params, weights, grads, ms, vs

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
            rule = _multi_tensor_root_normuon if foreach else _single_tensor_root_normuon
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
            raise ValueError(f"RootNormuon adds up over all parameters, and {module} gives it only some of them")


def _refuse_pieces(p: Tensor) -> None:
    """Raise an error for a piece of a parameter whose other pieces this process cannot reach to add them up."""
    if hasattr(p, "_fsdp_flattened"):
        raise RuntimeError("RootNormuon adds up over whole parameters; use fully_shard (FSDP2) instead of FSDP")
    if hasattr(p, "device_mesh") and p.device_mesh.get_coordinate() is None:
        raise RuntimeError(f"RootNormuon adds up over whole parameters, and one is on {p.device_mesh}, elsewhere")


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


def _product(x: Tensor, *others: Tensor) -> Tensor:
    """The product, in float32 at least."""
    x = x.to(torch.promote_types(x.dtype, torch.float32))
    for other in others:
        x = x * other.to(x.dtype)
    return x


def _settled(x: Any) -> Tensor:
    """A sum along some axes; of a DTensor, what its shards have summed is added up."""
    if hasattr(x, "placements"):
        from torch.distributed.tensor import Replicate

        x = x.redistribute(placements=[Replicate() if p.is_partial() else p for p in x.placements])
    settled: Tensor = x
    return settled


def _leaf_sum(*factors: Tensor) -> Tensor:
    return _whole(_product(*factors).sum())


def _leaf_mean(*factors: Tensor) -> Tensor:
    return _leaf_sum(*factors) / factors[0].numel()


def _row_sum(*factors: Tensor) -> Tensor:
    """The sum of products along each row: over all axes but the first. A vector is one column."""
    x = _product(*factors)
    is_single = x.shape[1:].numel() == 1
    return x.clone() if is_single else _settled(x.sum(tuple(range(1, x.dim())), keepdim=True))


def _row_mean(*factors: Tensor) -> Tensor:
    return _row_sum(*factors) / factors[0].shape[1:].numel()


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


def _totals(shares: list[Tensor]) -> dict[torch.device, Tensor]:
    """The sum over all parameters, on each device that has some."""
    alike: dict[Any, list[Tensor]] = defaultdict(list)
    for share in shares:
        alike[share.device, getattr(share, "device_mesh", None), getattr(share, "placements", None)].append(share)
    totals = [_whole(torch.stack(part).sum()) for part in alike.values()]
    total = torch.stack([x.to(shares[0].device) for x in totals]).sum()
    return {device: total.to(device) for device in {share.device for share in shares}}


def _single_tensor_root_normuon(entries: list[tuple[Any, ...]]) -> None:
    g_dot_g_shares: list[Tensor] = []
    v_dot_v_shares: list[Tensor] = []
    for group, _, _, g, _, v in entries:
        v_in = v.clone() if group["differentiable"] else v
        g_dot_g_shares.append(_dot(g, g))
        v_dot_v_shares.append(_dot(v_in, v_in))
    g_dot_g = _totals(g_dot_g_shares)
    v_dot_v = _totals(v_dot_v_shares)
    x1_dot_x1_shares: list[Tensor] = []
    all_m: list[Tensor] = []
    all_update: list[Tensor] = []
    all_x1: list[Tensor] = []
    for group, param, _, g, m, v in entries:
        max_norm1, beta1, beta2 = group["max_norm1"], group["beta1"], group["beta2"]
        v_in = v.clone() if group["differentiable"] else v
        clipped_g = g * torch.clamp(max_norm1 / torch.sqrt(g_dot_g[param.device]), max=1.0)
        new_m = torch.lerp(m, clipped_g, 1 - beta1)
        all_m.append(new_m)
        update = _orthogonalize(new_m)
        all_update.append(update)
        squares = torch.square(update)
        squares = squares / (_norm(squares) + 1e-08)
        x1 = (1 - beta2) * _row_mean(squares).to(squares.dtype) + beta2 * (v_in / (torch.sqrt(v_dot_v[param.device]) + 1e-08))
        all_x1.append(x1)
        x1_dot_x1_shares.append(_dot(x1, x1))
    x1_dot_x1 = _totals(x1_dot_x1_shares)
    for i, (group, param, w, _, m, v) in enumerate(entries):
        lr = torch.as_tensor(_rate(group), dtype=torch.float64)
        max_norm2, weight_decay, c1 = group["max_norm2"], group["weight_decay"], group["c1"]
        m_2 = all_m[i]
        update = all_update[i]
        x1 = all_x1[i]
        new_v = x1 * torch.clamp(max_norm2 / torch.sqrt(x1_dot_x1[param.device]), max=1.0)
        update = update / (torch.sqrt(torch.abs(new_v)) + 1e-08)
        update = update / (torch.sqrt(_leaf_mean(update, update)) + 1e-08)
        update = (update + w * weight_decay) * (torch.sqrt(torch.abs(lr)) * c1)
        m.copy_(m_2)
        v.copy_(new_v)
        param.sub_(update)


def _multi_tensor_root_normuon(entries: list[tuple[Any, ...]]) -> None:
    g_dot_g_shares: list[Tensor] = []
    v_dot_v_shares: list[Tensor] = []
    for _, _, _, grads, _, vs in entries:
        g_dot_g_shares.extend(_dot(x, x) for x in grads)
        v_dot_v_shares.extend(_dot(x, x) for x in vs)
    g_dot_g = _totals(g_dot_g_shares)
    v_dot_v = _totals(v_dot_v_shares)
    x1_dot_x1_shares: list[Tensor] = []
    all_m: list[Any] = []
    all_update: list[Any] = []
    all_x1: list[Any] = []
    for group, params, _, grads, ms, vs in entries:
        max_norm1, beta1, beta2 = group["max_norm1"], group["beta1"], group["beta2"]
        device = params[0].device
        clipped_g = torch._foreach_mul(grads, torch.clamp(max_norm1 / torch.sqrt(g_dot_g[device]), max=1.0))
        torch._foreach_lerp_(ms, clipped_g, 1 - beta1)
        all_m.append(ms)
        update = [_orthogonalize(x) for x in ms]
        all_update.append(update)
        squares = torch._foreach_mul(update, update)
        x1 = [_norm(x) for x in squares]
        squares_2 = [x / (y + 1e-08) for x, y in zip(squares, x1, strict=True)]
        rows = [_row_mean(x).to(x.dtype) for x in squares_2]
        x2 = torch.sqrt(v_dot_v[device])
        x1_2 = torch._foreach_div(vs, x2 + 1e-08)
        x1 = [(1 - beta2) * x + beta2 * y for x, y in zip(rows, x1_2, strict=True)]
        all_x1.append(x1)
        x1_dot_x1_shares.extend(_dot(x, x) for x in x1)
    x1_dot_x1 = _totals(x1_dot_x1_shares)
    for i, (group, params, weights, _, _, vs) in enumerate(entries):
        lr = torch.as_tensor(_rate(group), dtype=torch.float64)
        max_norm2, weight_decay, c1 = group["max_norm2"], group["weight_decay"], group["c1"]
        device = params[0].device
        update = all_update[i]
        x1 = all_x1[i]
        v = torch._foreach_mul(x1, torch.clamp(max_norm2 / torch.sqrt(x1_dot_x1[device]), max=1.0))
        sqrt_v = torch._foreach_abs(v)
        torch._foreach_sqrt_(sqrt_v)
        torch._foreach_add_(sqrt_v, 1e-08)
        update_2 = torch._foreach_div(update, sqrt_v)
        size = [torch.sqrt(_leaf_mean(x, x)) for x in update_2]
        update_3 = [x / (y + 1e-08) for x, y in zip(update_2, size, strict=True)]
        wd = torch._foreach_mul(weights, weight_decay)
        torch._foreach_add_(update_3, wd)
        sqrt_lr = torch.sqrt(torch.abs(lr))
        x1_3 = sqrt_lr * c1
        torch._foreach_mul_(update_3, x1_3)
        torch._foreach_copy_(vs, v)
        torch._foreach_sub_(params, update_3)
