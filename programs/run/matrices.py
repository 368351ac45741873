"""Functions of the matrices that parameter tensors are, with torch, over rows `[K, P]` of many replicas."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from programs.layout import VECTOR, Layout
from programs.ops import EPS, NEWTON_SCHULZ, NEWTON_SCHULZ_STEPS


def _stored(layout: Layout, x: Tensor) -> list[Tensor]:
    """Return the leaves of rows `[K, P]` as they are laid out: as matrices, or the transposes of these."""
    parts = torch.split(x, list(layout.sizes), dim=1)
    return [part.view(len(x), *shape) for part, shape in zip(parts, layout.stored, strict=True)]


def _matrices(layout: Layout, x: Tensor) -> list[Tensor]:
    """Return the leaves of rows `[K, P]` as matrices `[K, rows, columns]`, without a copy."""
    return [part.mT if flipped else part for part, flipped in zip(_stored(layout, x), layout.flipped, strict=True)]


def _row_sum(layout: Layout, x: Tensor) -> Tensor:  # [K, P] -> [K, H]
    return torch.cat([part.sum(2) for part in _matrices(layout, x)], dim=1)


def _row_mean(layout: Layout, x: Tensor) -> Tensor:  # [K, P] -> [K, H]
    return torch.cat([part.mean(2) for part in _matrices(layout, x)], dim=1)


def _column_sum(layout: Layout, x: Tensor) -> Tensor:  # [K, P] -> [K, N]
    return torch.cat([part.sum(1) for part in _matrices(layout, x)], dim=1)


def _column_mean(layout: Layout, x: Tensor) -> Tensor:  # [K, P] -> [K, N]
    return torch.cat([part.mean(1) for part in _matrices(layout, x)], dim=1)


def _orthogonalize(layout: Layout, x: Tensor) -> Tensor:  # [K, P] -> [K, P]
    return torch.cat([_orthogonal(part).flatten(1) for part in _stored(layout, x)], dim=1)  # transposes go through


def _orthogonal(x: Tensor) -> Tensor:
    """Return the polar factors of matrices `[K, rows, columns]`, scaled to an RMS of 1; see `programs.ops`."""
    rows, columns = x.shape[1:]
    norm = torch.linalg.vector_norm(x.flatten(1), dim=1)[:, None, None]
    scale = math.sqrt(max(rows, columns))
    if min(rows, columns) == 1:
        return torch.mul(x / (norm + EPS), scale)
    x = _apart(x.mT if rows > columns else x).div_(norm + EPS)
    short, long = x.shape[1:]
    first, second, product = _empty(x, short, short), _empty(x, short, short), _empty(x, short, long)
    a, b, c = NEWTON_SCHULZ
    for _ in range(NEWTON_SCHULZ_STEPS):
        torch.bmm(x, x.mT, out=first)
        torch.bmm(first, first, out=second)
        second.mul_(c).add_(first, alpha=b)
        torch.bmm(second, x, out=product)
        product.add_(x, alpha=a)
        x, product = product, x
    return torch.mul(x.mT if rows > columns else x, scale)


def _empty(like: Tensor, rows: int, columns: int) -> Tensor:
    """Return memory for matrices, each of which begins where a vector register may: so all are computed alike."""
    stride = -(-rows * columns // VECTOR) * VECTOR
    return like.new_empty(len(like) * stride).as_strided((len(like), rows, columns), (stride, columns, 1))


def _apart(x: Tensor) -> Tensor:
    return _empty(x, *x.shape[1:]).copy_(x)


MATRIX_FUNCTIONS: dict[str, Callable[[Layout, Tensor], Tensor]] = {
    "row_sum": _row_sum,
    "row_mean": _row_mean,
    "column_sum": _column_sum,
    "column_mean": _column_mean,
    "orthogonalize": _orthogonalize,
}
"""What torch code of `programs.ops` calls, with the layout first."""
