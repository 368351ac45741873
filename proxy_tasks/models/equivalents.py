"""Functions of torch in a form that takes a replica axis, and those that draw in a form that follows from a key.

`torch.func.vmap` refuses recurrent layers, or computes an operation for one replica after another; and it draws from a
generator that all replicas share. While `Equivalents` is entered, the functions in the tables below are computed from
others instead: the same values, up to rounding, wherever they are called from.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache, partial
from types import FunctionType
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from proxy_tasks.draws import Draws
from proxy_tasks.models.recurrent import CELLS, cell, recurrent

Equivalent = Callable[..., Any]
_SELU = -1.7580993408473766  # what alpha dropout sets elements to: minus scale times alpha of SELU


class Equivalents(TorchFunctionMode):
    """Replaces functions of torch until the context ends.

    Args:
        key: `[]`, what drawn numbers follow from.
        is_batched: whether a replica axis is under way: only then are functions replaced that draw nothing.

    Attributes:
        draws: the numbers drawn so far.
    """

    def __init__(self, key: Tensor, is_batched: bool) -> None:
        super().__init__()
        self.draws = Draws(key)
        self._table = DRAWING | BATCHED if is_batched else DRAWING

    def __torch_function__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        equivalent = self._table.get(func)
        if equivalent is not None and kwargs.get("generator") is None:
            result = equivalent(self.draws, *args, **kwargs)
            if result is not NotImplemented:
                return result
        if getattr(func, "__globals__", None) is not vars(functional):
            return func(*args, **kwargs)
        with self:  # what such a function calls may have to be replaced
            return _unguarded(func)(*args, **kwargs)


@lru_cache(maxsize=256)
def _unguarded(function: FunctionType) -> Callable[..., Any]:
    """Return a function of torch.nn.functional without its look for modes, which would lead back to the mode."""
    guards = ("has_torch_function", "has_torch_function_unary", "has_torch_function_variadic")
    names = function.__globals__ | dict.fromkeys(guards, lambda *_: False)
    copy = FunctionType(function.__code__, names, function.__name__, function.__defaults__, function.__closure__)
    copy.__kwdefaults__ = function.__kwdefaults__
    return copy


# --- dropout ---------------------------------------------------------------------------------------------------------


def _noise(draws: Draws, x: Tensor, shape: Sequence[int], p: float) -> Tensor:
    """Return factors 0, with probability `p`, and 1 / (1 - p)."""
    kept = draws.chosen(shape, 1 - p).to(x.dtype)
    return kept if p == 1 else kept.mul(1 / (1 - p))


def _dropout(draws: Draws, input: Tensor, p: float, train: bool) -> Any:  # noqa: A002 - names of torch
    if not train or p == 0:
        return NotImplemented
    return input * _noise(draws, input, input.shape, p)


def _feature_dropout(draws: Draws, input: Tensor, p: float, train: bool) -> Any:  # noqa: A002
    if not train or p == 0:
        return NotImplemented
    return input * _noise(draws, input, _of_features(input), p)


def _alpha_dropout(draws: Draws, input: Tensor, p: float, train: bool, by_feature: bool = False) -> Any:  # noqa: A002
    if not train or p == 0:
        return NotImplemented
    kept = draws.chosen(_of_features(input) if by_feature else input.shape, 1 - p).to(input.dtype)
    if p == 1:
        return input * 0
    scale = ((1 - p) * (1 + p * _SELU**2)) ** -0.5
    return (input * kept + _SELU * (1 - kept)) * scale - scale * _SELU * p


def _of_features(x: Tensor) -> list[int]:
    return [*x.shape[:2], *[1] * (x.dim() - 2)]


def _in_place(equivalent: Equivalent) -> Equivalent:
    def in_place(draws: Draws, input: Tensor, *args: Any, **kwargs: Any) -> Any:  # noqa: A002
        result = equivalent(draws, input, *args, **kwargs)
        return result if result is NotImplemented else input.copy_(result)

    return in_place


# --- other random numbers --------------------------------------------------------------------------------------------


def _size(args: Sequence[Any], kwargs: dict[str, Any]) -> list[int] | None:
    """Return the size that a function which makes a tensor is told; None if it is told something else besides."""
    size = kwargs.pop("size", args[0] if len(args) == 1 and not isinstance(args[0], int) else args)
    known = kwargs.keys() <= {"dtype", "device", "requires_grad", "layout", "pin_memory", "generator", "memory_format"}
    return list(size) if known and all(isinstance(n, int) for n in size) else None


def _made(draw: Callable[[Draws, Sequence[int]], Tensor]) -> Equivalent:
    def made(draws: Draws, *args: Any, **kwargs: Any) -> Any:
        size = _size(args, kwargs)
        if size is None:
            return NotImplemented
        return draw(draws, size).to(dtype=kwargs.get("dtype") or torch.get_default_dtype(), device=kwargs.get("device"))

    return made


def _like(draw: Callable[[Draws, Sequence[int]], Tensor]) -> Equivalent:
    def like(draws: Draws, input: Tensor, *, dtype: torch.dtype | None = None, **_: Any) -> Tensor:  # noqa: A002
        return draw(draws, input.shape).to(dtype or input.dtype)

    return like


def _bernoulli(draws: Draws, input: Tensor, p: float | None = None, **_: Any) -> Tensor:  # noqa: A002
    return (draws.uniform(input.shape) < (input if p is None else p)).to(input.dtype)


def _filled_bernoulli(draws: Draws, input: Tensor, p: Any = 0.5, **_: Any) -> Tensor:  # noqa: A002
    return input.copy_(draws.uniform(input.shape) < p)


def _filled_uniform(draws: Draws, input: Tensor, low: float = 0, high: float = 1, **ends: Any) -> Tensor:  # noqa: A002
    low, high = ends.get("from", low), ends.get("to", high)  # as torch calls them
    return input.copy_(draws.uniform(input.shape) * (high - low) + low)


def _filled_normal(draws: Draws, input: Tensor, mean: float = 0, std: float = 1, **_: Any) -> Tensor:  # noqa: A002
    return input.copy_(draws.normal(input.shape) * std + mean)


def _filled_exponential(draws: Draws, input: Tensor, lambd: float = 1, **_: Any) -> Tensor:  # noqa: A002
    return input.copy_(draws.exponential(input.shape) / lambd)


def _rrelu(
    draws: Draws, input: Tensor, lower: float = 1 / 8, upper: float = 1 / 3, training: bool = False  # noqa: A002
) -> Any:  # fmt: skip
    if not training:
        return NotImplemented
    slope = draws.uniform(input.shape).to(input.dtype) * (upper - lower) + lower
    return torch.where(input < 0, input * slope, input)


# --- attention -------------------------------------------------------------------------------------------------------


def _attention(
    draws: Draws, query: Tensor, key: Tensor, value: Tensor, attn_mask: Tensor | None = None, dropout_p: float = 0.0,
    is_causal: bool = False, scale: float | None = None, enable_gqa: bool = False,
) -> Tensor:  # fmt: skip
    """Attention as torch defines it, out of products."""
    if enable_gqa:
        key, value = (x.repeat_interleave(query.shape[-3] // x.shape[-3], -3) for x in (key, value))
    scores = query @ key.mT * (query.shape[-1] ** -0.5 if scale is None else scale)
    if is_causal:
        seen = torch.ones(scores.shape[-2:], dtype=torch.bool, device=query.device).tril()
        scores = scores.masked_fill(~seen, -torch.inf)
    if attn_mask is not None:
        is_choice = attn_mask.dtype == torch.bool
        scores = scores.masked_fill(~attn_mask, -torch.inf) if is_choice else scores + attn_mask
    weights = torch.softmax(scores, dim=-1)
    if dropout_p > 0:
        weights = weights * _noise(draws, weights, weights.shape, dropout_p)
    return weights @ value


def _attention_with_dropout(draws: Draws, query: Tensor, key: Tensor, value: Tensor, *args: Any, **kwargs: Any) -> Any:
    p = kwargs.get("dropout_p", args[1] if len(args) > 1 else 0.0)
    return _attention(draws, query, key, value, *args, **kwargs) if p > 0 else NotImplemented


# --- what takes a replica axis ---------------------------------------------------------------------------------------


def _recurrent(kind: str, always: bool) -> Equivalent:
    """Return the equivalent of a recurrent function: always, or only where it would draw."""

    def equivalent(
        draws: Draws, x: Tensor, start: Any, weights: Any, has_biases: Any, layers: int, p: float, train: bool,
        bidirectional: bool, batch_first: bool,
    ) -> Any:  # fmt: skip
        is_dropped = train and p > 0 and layers > 1
        if not isinstance(has_biases, bool) or not (always or is_dropped):  # packed sequences have another order
            return NotImplemented

        def drop(h: Tensor) -> Tensor:
            return h * _noise(draws, h, h.shape, p) if is_dropped else h

        return recurrent(kind, drop, x, start, weights, has_biases, layers, bidirectional, batch_first)

    return equivalent


def _cell(kind: str) -> Equivalent:
    return lambda _, *args: cell(kind, *args)


def _normalize(
    _: Draws, input: Tensor, p: float = 2.0, dim: int = 1, eps: float = 1e-12, out: Tensor | None = None  # noqa: A002
) -> Any:  # fmt: skip
    if out is None:
        return NotImplemented
    return out.copy_(input / input.norm(p, dim, keepdim=True).clamp_min(eps))


def _embedding(
    _: Draws, weight: Tensor, indices: Tensor, padding_idx: int = -1, scale_grad_by_freq: bool = False,
    sparse: bool = False,
) -> Any:  # fmt: skip
    """Keep gradients off the row of the padding, which vmap does for the first replica alone."""
    if padding_idx < 0:
        return NotImplemented
    rows = torch.arange(weight.shape[0], device=weight.device)[:, None]
    kept = torch.where(rows == padding_idx, weight.detach(), weight)
    return torch.embedding(kept, indices, -1, scale_grad_by_freq, sparse)


def _lerp_in_place(_: Draws, input: Tensor, end: Tensor, weight: Any) -> Tensor:  # noqa: A002
    return input.copy_(torch.lerp(input, end, weight))


def _weight_norm(_: Draws, v: Tensor, g: Tensor, dim: int = 0) -> Tensor:
    others = [n for n in range(v.dim()) if n != dim % v.dim()]
    length: Tensor = torch.linalg.vector_norm(v, dim=others, keepdim=True)
    return v * (g / length)


# --- tables ----------------------------------------------------------------------------------------------------------

DRAWING: dict[Any, Equivalent] = {
    torch.dropout: _dropout,
    torch.dropout_: _in_place(_dropout),
    torch.feature_dropout: _feature_dropout,
    torch.feature_dropout_: _in_place(_feature_dropout),
    torch.alpha_dropout: _alpha_dropout,
    torch.alpha_dropout_: _in_place(_alpha_dropout),
    torch.feature_alpha_dropout: partial(_alpha_dropout, by_feature=True),
    torch.feature_alpha_dropout_: _in_place(partial(_alpha_dropout, by_feature=True)),
    torch.rrelu: _rrelu,
    torch.rrelu_: _in_place(_rrelu),
    torch.rand: _made(Draws.uniform),
    torch.randn: _made(Draws.normal),
    torch.rand_like: _like(Draws.uniform),
    torch.randn_like: _like(Draws.normal),
    torch.bernoulli: _bernoulli,
    Tensor.bernoulli: _bernoulli,
    Tensor.bernoulli_: _filled_bernoulli,
    Tensor.uniform_: _filled_uniform,
    Tensor.normal_: _filled_normal,
    Tensor.exponential_: _filled_exponential,
    functional.scaled_dot_product_attention: _attention_with_dropout,
    **{getattr(torch, kind): _recurrent(kind, always=False) for kind in CELLS},
}
"""Functions that draw. An equivalent that does not know what to do with its arguments returns NotImplemented."""

BATCHED: dict[Any, Equivalent] = {
    functional.scaled_dot_product_attention: _attention,
    functional.normalize: _normalize,
    torch.embedding: _embedding,
    torch._weight_norm: _weight_norm,
    Tensor.lerp_: _lerp_in_place,
    **{getattr(torch, kind): _recurrent(kind, always=True) for kind in CELLS},
    **{getattr(torch, f"{kind}_cell"): _cell(kind) for kind in CELLS},
}
"""Functions that vmap does not take, or computes for one replica after another."""
