"""Losses with the replica axis."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

VECTOR = 16  # over fewer classes than fill a vector register, softmax takes five times as long on the last axis


def cross_entropy(logits: Tensor, y: Tensor) -> Tensor:
    """Return the mean cross-entropy of each replica over all but the last axis, in nats.

    `logits`: [R, .., C]; `y`: labels [1 or R, ..], or probabilities [1 or R, .., C] -> [R].
    """
    if y.is_floating_point():
        return -(torch.log_softmax(logits, dim=-1) * y).sum(-1).flatten(1).mean(1)
    logits, labels = logits.flatten(1, -2), y.flatten(1).expand(len(logits), -1)  # [R, N, C], [R, N]
    if logits.shape[-1] < VECTOR:
        return _CrossEntropy.apply(logits.mT.contiguous(), labels.unsqueeze(1), 1)  # type: ignore[no-any-return, no-untyped-call]
    return _CrossEntropy.apply(logits, labels.unsqueeze(2), 2)  # type: ignore[no-any-return, no-untyped-call]


class _CrossEntropy(torch.autograd.Function):
    """A backward pass in half the time of autograd's, which fills and reads a tensor of zeros."""

    @staticmethod
    def forward(ctx: Any, logits: Tensor, labels: Tensor, dim: int) -> Tensor:
        log_p = torch.log_softmax(logits, dim=dim)
        ctx.save_for_backward(log_p, labels)
        ctx.dim = dim
        return -log_p.gather(dim, labels).flatten(1).mean(1)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        log_p, labels = ctx.saved_tensors
        p = less_one_at(log_p.exp(), labels, ctx.dim)
        return p.mul_((gradient / labels[0].numel()).view(-1, 1, 1)), None, None


def binary_cross_entropy(log_odds: Tensor, y: Tensor) -> Tensor:
    """Return the mean cross-entropy of each replica, in nats: `log_odds` [R, B], probabilities y [1 or R, B] -> [R]."""
    return _BinaryCrossEntropy.apply(log_odds, y)  # type: ignore[no-any-return, no-untyped-call]


class _BinaryCrossEntropy(torch.autograd.Function):
    """Out of functions that round alike at every place of a tensor, as torch's softplus does not."""

    @staticmethod
    def forward(ctx: Any, log_odds: Tensor, y: Tensor) -> Tensor:
        e = torch.exp(-log_odds.abs())
        ctx.save_for_backward(log_odds, y, e)
        return (log_odds.clamp(min=0) + torch.log1p(e) - y * log_odds).mean(1)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        log_odds, y, e = ctx.saved_tensors
        p = torch.where(log_odds >= 0, 1.0, e) / (1 + e)
        return (p - y) * (gradient / log_odds.shape[1]).unsqueeze(1), None


def less_one_at(p: Tensor, labels: Tensor, dim: int) -> Tensor:
    """Return `p` less 1 where its place along `dim` is the label; `p` must not be used afterwards."""
    if p.is_cpu:
        return p.scatter_add_(dim, labels, p.new_full((1,), -1.0).expand(labels.shape))
    shape = [1] * p.dim()
    shape[dim] = -1
    places = torch.arange(p.shape[dim], device=p.device).view(shape)
    return torch.where(places == labels, p - 1, p)  # becomes part of one kernel; scattering, in a fixed order, sorts
