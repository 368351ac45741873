"""The layers of a Transformer with the replica axis: [R, N, D], the N = B * T tokens of all samples side by side."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from programs.errors import InputError

from proxy_tasks.datasets.checks import whole
from proxy_tasks.models.model import Leaf

LEAVES = 6  # of one block


def block_leaves(what: str, layers: int, width: int, heads: int) -> list[Leaf]:
    """Parameters of all blocks; what writes to the residual stream starts smaller the deeper the network.

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
            Leaf(f"qkv{i}", (width, 3 * width), std=std),
            Leaf(f"out{i}", (width, width), std=std * last),
            Leaf(f"norm_mlp{i}", (width,), mean=1.0),
            Leaf(f"up{i}", (width, 4 * width), std=std),
            Leaf(f"down{i}", (4 * width, width), std=std / 2 * last),
        ]
    return leaves


def blocks(h: Tensor, params: Sequence[Tensor], heads: int, mask: Tensor) -> Tensor:
    """Pre-norm self-attention and a ReLU MLP without biases, once for each six of the parameters.

    `h`: [R, N, D]; `mask`: [T, T], minus infinity where a query (row) may not look, else 0 -> [R, N, D].
    """
    for i in range(0, len(params), LEAVES):
        gain, qkv, out, gain_mlp, up, down = params[i : i + LEAVES]
        attended = _Attention.apply(normed_linear(h, gain, qkv), mask, heads)  # type: ignore[no-untyped-call]
        h = torch.baddbmm(h, attended, out)
        h = torch.baddbmm(h, torch.relu_(normed_linear(h, gain_mlp, up)), down)
    return h


def normed_linear(h: Tensor, gain: Tensor, weight: Tensor) -> Tensor:
    """Layer norm and a linear layer: [R, N, D], [R, D], [R, D, O] -> [R, N, O]. The gain is applied to the weights."""
    return torch.bmm(torch.layer_norm(h, h.shape[-1:]), gain.unsqueeze(2) * weight)


class _Attention(torch.autograd.Function):
    """Softmax attention within each sample: [R, N, 3 D] -> [R, N, D].

    Plain products: for short sequences they take half the time of torch's fused attention on a CPU.
    """

    @staticmethod
    def forward(ctx: Any, qkv: Tensor, mask: Tensor, heads: int) -> Tensor:
        d = qkv.shape[-1] // 3 // heads
        split = qkv.view(-1, len(mask), 3, heads, d).permute(2, 0, 3, 1, 4)
        q, k, v = split.reshape(3, -1, len(mask), d)  # [R * B * H, T, d]
        p = torch.baddbmm(mask, q, k.mT, alpha=1 / math.sqrt(d))
        torch.softmax(p, dim=-1, out=p)
        ctx.save_for_backward(q, k, v, p)
        ctx.heads = heads
        merged = torch.bmm(p, v).view(-1, heads, len(mask), d).transpose(1, 2)
        return merged.reshape(*qkv.shape[:2], heads * d)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        q, k, v, p = ctx.saved_tensors
        _, tokens, d = q.shape
        scale = 1 / math.sqrt(d)
        g = gradient.reshape(-1, tokens, ctx.heads, d).transpose(1, 2).reshape(-1, tokens, d)
        d_p = torch.bmm(g, v.mT)
        torch._softmax_backward_data(d_p, p, -1, p.dtype, grad_input=d_p)
        d_qkv = torch.empty(3, *q.shape)
        torch.baddbmm(q, d_p, k, beta=0, alpha=scale, out=d_qkv[0])
        torch.baddbmm(k, d_p.mT, q, beta=0, alpha=scale, out=d_qkv[1])
        torch.bmm(p.mT, g, out=d_qkv[2])
        merged = d_qkv.view(3, -1, ctx.heads, tokens, d).permute(1, 3, 0, 2, 4)
        return merged.reshape(*gradient.shape[:2], -1), None, None
