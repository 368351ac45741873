"""A physics-informed network (Raissi et al., arXiv:1711.10561): it learns a solution from its differential equation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from programs.errors import InputError

from proxy_tasks.checks import real, wholes
from proxy_tasks.datasets.dataset import Dataset
from proxy_tasks.models.dense import dense, dense_leaves, product
from proxy_tasks.models.model import Model


def pinn(dataset: Dataset, hidden: Sequence[int] = (16, 16), boundary: float = 1.0) -> Model:
    """Return tanh layers u(x) for the equation -u''(x) = f(x), with u = 0 at the points that the data set shares.

    In training, targets are f at the points x, and the loss is the mean of (u'' + f)^2, plus `boundary` times the mean
    of u^2 over the points where it should be 0. At validation targets are the solution, and the loss is the mean
    absolute error of u: that is what people want of a solver, while a small residual may be that of a wrong solution,
    where the boundary is not kept, and a large one that of a good solution with a ripple. It is not squared, since
    errors of seeds and optimizers differ by factors.

    Weights are started as by He et al., and biases of the first layer are from N(0, 1), so that units bend at
    different places.

    Raises:
        InputError: the samples are no points of a line with a boundary, or an argument is out of range.
    """
    hidden = wholes("model pinn", "hidden", hidden, least=1)
    real("model pinn", "boundary", boundary, 0, 1e6)
    if len(dataset.shared) != 1 or dataset.train_x.shape[1:] != (1,) or dataset.train_y.dim() != 1:
        raise InputError("model pinn: the data set has no points [N, 1] with a boundary, such as poisson has")
    weight, bias, *others = dense_leaves([1, *hidden, 1])
    ends = dataset.shared[0].unsqueeze(0)  # [1, E, 1]

    def losses(params: Sequence[Tensor], x: Tensor, y: Tensor) -> Tensor:
        residual = second_derivative(params, x) + y
        return residual.square().mean(1) + boundary * dense(ends, params, torch.tanh).square().mean((1, 2))

    leaves = (weight, replace(bias, std=1.0), *others)
    return Model(leaves, losses, evaluation=_errors, constants=(ends,))


def _errors(params: Sequence[Tensor], x: Tensor, y: Tensor) -> Tensor:
    return (dense(x, params, torch.tanh).squeeze(2) - y).abs().mean(1)


def second_derivative(params: Sequence[Tensor], x: Tensor) -> Tensor:
    """Return u'' of tanh layers at points, for weights [R, I, O] and biases [R, O] in turn: [1 or R, B, 1] -> [R, B].

    Derivatives in x go forward through the layers beside the values z: of h = tanh(z), with s = 1 - h^2, they are
    h' = s z' and h'' = s (z'' - 2 h z'^2). The gradient then needs one backward pass, and no graph of a graph.
    """
    weight, bias, *others = params
    z = torch.baddbmm(bias.unsqueeze(1), x.expand(len(weight), -1, -1), weight)
    first, second = weight, torch.zeros_like(weight)  # [R, 1, H]: z' and z'' are the same at all points
    for i in range(0, len(others), 2):
        h = torch.tanh(z)
        slope = 1 - h.square()
        second = slope * (second - 2 * h * first.square())
        if i == len(others) - 2:
            break
        parts = torch.bmm(torch.cat([h, slope * first, second], dim=1), others[i])
        z, first, second = parts.chunk(3, dim=1)
        z = z + others[i + 1].unsqueeze(1)
    return product(second, others[-2]).squeeze(2)
