"""A convolutional network for signals and images."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import product
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import pad

from programs.errors import InputError

from proxy_tasks.checks import wholes
from proxy_tasks.datasets.dataset import Dataset
from proxy_tasks.models.classifier import classifier
from proxy_tasks.models.model import Leaf, Model

CHUNK = 8  # replicas at a time: of 4, 8, 16 and 64, 8 and 16 were fastest on signals of 40 values, batch 128
KERNEL, STRIDE, PADDING = 3, 2, 1


def cnn(dataset: Dataset, channels: Sequence[int] = (8, 16, 32), image: Sequence[int] | None = None) -> Model:
    """Return convolutions of size 3 and stride 2 with ReLU, one for each of `channels`, and a linear output layer.

    Samples are `[C, L]` or `[C, H, W]`, or are viewed as `image`. Weights are [taps, channels in] x [channels out],
    inputs of the linear layer ordered [places, channels]; He initialisation.

    Raises:
        InputError: the samples have other shapes or no labels, or an argument is out of range.
    """
    channels = wholes("model cnn", "channels", channels, least=1)
    shape = tuple(dataset.valid_x.shape[1:]) if image is None else wholes("model cnn", "image", image, least=2)
    if len(shape) not in (2, 3) or math.prod(shape) != dataset.valid_x[0].numel() or dataset.classes < 2:
        raise InputError(
            f"cnn: samples of shape {list(dataset.valid_x.shape[1:])} are not labelled signals [C, L] or images "
            f"[C, H, W]; model_args: {{image: [C, H, W]}} views flat samples so"
        )
    places, n_in = list(shape[1:]), shape[0]
    leaves = []
    for i, n_out in enumerate(channels, start=1):
        fan_in = KERNEL ** len(places) * n_in
        leaves += [
            Leaf(f"kernel{i}", (fan_in, n_out), std=math.sqrt(2 / fan_in), transposed=True),
            Leaf(f"bias{i}", (n_out,)),
        ]
        places, n_in = [-(-n // STRIDE) for n in places], n_out
    fan_in = math.prod(places) * n_in
    leaves += [
        Leaf("output", (fan_in, dataset.classes), std=math.sqrt(2 / fan_in), transposed=True),
        Leaf("bias", (dataset.classes,)),
    ]

    def logits(params: Sequence[Tensor], x: Tensor) -> Tensor:
        *convolutions, weight, bias = params
        h = x.view(*x.shape[:2], *shape).movedim(2, -1)  # [1 or R, B, places, C]
        for i in range(0, len(convolutions), 2):
            h = torch.relu_(_convolve(h, convolutions[i], convolutions[i + 1]))
        return torch.baddbmm(bias.unsqueeze(1), h.flatten(2), weight)

    return classifier(leaves, logits, CHUNK)


def _convolve(x: Tensor, kernel: Tensor, bias: Tensor) -> Tensor:
    """[1 or R, B, places, C], [R, taps * C, O], [R, O] -> [R, B, places / 2, O]."""
    columns = _Columns.apply(x)  # type: ignore[no-untyped-call]
    flat = columns.view(len(x), -1, kernel.shape[1]).expand(len(kernel), -1, -1)
    dims = x.dim() - 3
    return torch.baddbmm(bias.unsqueeze(1), flat, kernel).view(len(kernel), *columns.shape[1 : 2 + dims], -1)


class _Columns(torch.autograd.Function):
    """Return the inputs of each output, side by side: [R, B, places, C] -> [R, B, places / 2, taps, C].

    About as fast as convolutions in groups (0.52 and 0.53 ms for a step of one of 16 replicas), and the products that
    follow are to the last bit the same for a replica in every batch.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.shape = x.shape
        dims = x.dim() - 3
        padded = pad(x, (0, 0) + (PADDING, PADDING) * dims)
        for axis in range(2, 2 + dims):
            padded = padded.unfold(axis, KERNEL, STRIDE)
        taps_first = padded.movedim(2 + dims, -1)  # channels last
        return taps_first.flatten(2 + dims, -2).contiguous()

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        r, b, *places, c = ctx.shape
        padded = gradient.new_zeros(r, b, *[n + 2 * PADDING for n in places], c)
        outputs = gradient.shape[2 : 2 + len(places)]
        for tap, offsets in enumerate(product(range(KERNEL), repeat=len(places))):
            window = [slice(o, o + STRIDE * n, STRIDE) for o, n in zip(offsets, outputs, strict=True)]
            padded[(slice(None), slice(None), *window)] += gradient[..., tap, :]
        return padded[(slice(None), slice(None), *[slice(PADDING, PADDING + n) for n in places])]
