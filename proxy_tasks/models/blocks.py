"""The layers of a Transformer with the replica axis: [R, N, D] for the N = B * T tokens of all samples."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from programs.errors import InputError

from proxy_tasks.checks import whole
from proxy_tasks.models.model import Leaf

LEAVES = 6  # of one block


def block_leaves(what: str, layers: int, width: int, heads: int) -> list[Leaf]:
    """Return the parameters of all blocks; those that write to the residual stream start smaller in deeper networks.

    Raises:
        InputError: a size is not a positive whole number, or the width not a multiple of the heads; the message names
            the model, `what`.
    """
    for name, size in (("layers", layers), ("width", width), ("heads", heads)):
        whole(what, name, size, 1)
    if width % heads:
        raise InputError(f"{what}: 'width' is {width} with {heads} heads; the width must be a multiple of the heads")
    std, last = 1 / math.sqrt(width), 1 / math.sqrt(2 * layers)
    leaves = []
    for i in range(1, layers + 1):
        leaves += [
            Leaf(f"norm_attention{i}", (width,), mean=1.0),
            Leaf(f"qkv{i}", (width, 3 * width), std=std, transposed=True),
            Leaf(f"out{i}", (width, width), std=std * last, transposed=True),
            Leaf(f"norm_mlp{i}", (width,), mean=1.0),
            Leaf(f"up{i}", (width, 4 * width), std=std, transposed=True),
            Leaf(f"down{i}", (4 * width, width), std=std / 2 * last, transposed=True),
        ]
    return leaves


def blocks(h: Tensor, params: Sequence[Tensor], heads: int, mask: Tensor) -> Tensor:
    """Apply pre-norm self-attention and a ReLU MLP without biases, once for each six of the parameters.

    `h`: [R, N, D]; `mask`: [T, T], minus infinity where a query (row) may not look, else 0 -> [R, N, D].
    """
    for i in range(0, len(params), LEAVES):
        gain, qkv, out, gain_mlp, up, down = params[i : i + LEAVES]
        normed, weight = torch.layer_norm(h, h.shape[-1:]), gain.unsqueeze(2) * qkv
        h = _Attention.apply(h, normed, weight, out, mask, heads)  # type: ignore[no-untyped-call]
        h = torch.baddbmm(h, torch.relu_(normed_linear(h, gain_mlp, up)), down)
    return h


def normed_linear(h: Tensor, gain: Tensor, weight: Tensor) -> Tensor:
    """Apply layer norm and a linear layer, the gain in its weights: [R, N, D], [R, D], [R, D, O] -> [R, N, O]."""
    return torch.bmm(torch.layer_norm(h, h.shape[-1:]), gain.unsqueeze(2) * weight)


class _Attention(torch.autograd.Function):
    """Add softmax attention within each sample of `normed` to h: [R, N, D] twice, [R, D, 3 D], [R, D, D] -> [R, N, D].

    Plain products: for short sequences they take less time than torch's fused attention on a CPU. Queries, keys and
    values lie with the tokens innermost, which is how products with few features per head are fastest.
    """

    @staticmethod
    def forward(ctx: Any, h: Tensor, normed: Tensor, weight: Tensor, out: Tensor, mask: Tensor, heads: int) -> Tensor:
        replicas, _, width = h.shape
        tokens, d = len(mask), width // heads
        projected = torch.bmm(weight.mT, normed.mT).view(replicas, 3, heads, d, -1, tokens)
        q, k, v = projected.permute(1, 0, 2, 4, 3, 5).reshape(3, -1, d, tokens)  # [R * H * B, d, T]
        p = torch.baddbmm(mask, q.mT, k, alpha=1 / math.sqrt(d))
        torch.softmax(p, dim=-1, out=p)
        attended = _merge(torch.bmm(v, p.mT), replicas, heads)
        ctx.save_for_backward(normed, weight, out, q, k, v, p, attended)
        ctx.is_bf16 = torch.is_autocast_enabled(h.device.type)
        return torch.baddbmm(h, attended.mT, out)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        if not ctx.is_bf16:
            return (gradient, *_attention_gradients(gradient, *ctx.saved_tensors), None, None)
        with torch.autocast(gradient.device.type, torch.bfloat16, cache_enabled=False):  # in whatever thread this runs
            return (gradient, *_attention_gradients(gradient, *ctx.saved_tensors), None, None)


def _attention_gradients(
    gradient: Tensor, normed: Tensor, weight: Tensor, out: Tensor, q: Tensor, k: Tensor, v: Tensor, p: Tensor,
    attended: Tensor,
) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
    """Return gradients with respect to `normed`, `weight` and `out`."""
    replicas, _, width = normed.shape
    _, d, tokens = q.shape
    heads, scale = width // d, 1 / math.sqrt(d)
    split = torch.bmm(out, gradient.mT).view(replicas, heads, d, -1, tokens)
    g = split.transpose(2, 3).reshape(-1, d, tokens)
    d_p = torch.bmm(g.mT, v)
    torch._softmax_backward_data(d_p, p, -1, p.dtype, grad_input=d_p)
    d_projected = q.new_empty(replicas, 3, width, normed.shape[1])
    d_projected[:, 0] = _merge(torch.baddbmm(q, k, d_p.mT, beta=0, alpha=scale), replicas, heads)
    d_projected[:, 1] = _merge(torch.baddbmm(k, q, d_p, beta=0, alpha=scale), replicas, heads)
    d_projected[:, 2] = _merge(torch.bmm(g, p), replicas, heads)
    flat = d_projected.flatten(1, 2)  # [R, 3 D, N]
    return torch.bmm(flat.mT, weight.mT), torch.bmm(flat, normed).mT, torch.bmm(attended, gradient)


def _merge(x: Tensor, replicas: int, heads: int) -> Tensor:
    """[R * H * B, d, T] -> [R, H * d, B * T]"""
    _, d, tokens = x.shape
    return x.view(replicas, heads, -1, d, tokens).transpose(2, 3).reshape(replicas, heads * d, -1)
