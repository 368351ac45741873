"""A Vision Transformer (Dosovitskiy et al., 2021)."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from programs.errors import InputError

from proxy_tasks.checks import whole
from proxy_tasks.datasets.dataset import Dataset
from proxy_tasks.models.blocks import block_leaves, blocks
from proxy_tasks.models.classifier import classifier
from proxy_tasks.models.model import Leaf, Model

CHUNK = 2  # replicas at a time: 1 to 8 are equally fast at the default size, and memory is needed for these only


def vit(dataset: Dataset, layers: int = 3, width: int = 96, heads: int = 3, patch: int = 16) -> Model:
    """Return a ViT: square patches, learned positions, the blocks of the transformer without a mask, mean over tokens.

    Raises:
        InputError: the samples are not images [C, H, W] that divide into patches, or have no labels; an
            argument is out of range.
    """
    whole("model vit", "patch", patch, 1)
    shape = tuple(dataset.valid_x.shape[1:])
    if len(shape) != 3 or shape[1] % patch or shape[2] % patch or dataset.classes < 2:
        raise InputError(
            f"vit: samples of shape {list(shape)} are not labelled images [C, H, W] in {patch}x{patch} parts"
        )
    tokens, pixels = shape[1] * shape[2] // patch**2, shape[0] * patch**2
    mask = torch.zeros(tokens, tokens, device=dataset.train_x.device)
    leaves = [
        Leaf("patches", (pixels, width), std=1 / math.sqrt(pixels), transposed=True),
        Leaf("positions", (tokens, width), std=0.02),
        *block_leaves("model vit", layers, width, heads),
        Leaf("norm", (width,), mean=1.0),
        Leaf("output", (width, dataset.classes), std=width**-0.5, transposed=True),
        Leaf("output_bias", (dataset.classes,)),
    ]

    def logits(params: Sequence[Tensor], x: Tensor) -> Tensor:
        embedding, positions, *middle, gain, output, bias = params
        replicas, images = len(embedding), x.shape[1]
        flat = _patches(x, patch).expand(replicas, -1, -1)
        start = positions.unsqueeze(1).expand(-1, images, -1, -1).flatten(1, 2)
        h = blocks(torch.baddbmm(start, flat, embedding), middle, heads, mask)
        h = torch.layer_norm(h, h.shape[-1:]).view(replicas, images, tokens, width).mean(2)
        return torch.baddbmm(bias.unsqueeze(1), h * gain.unsqueeze(1), output)

    return classifier(leaves, logits, CHUNK)


def _patches(x: Tensor, patch: int) -> Tensor:
    """[1 or R, B, C, H, W] -> [1 or R, B * T, C * patch * patch], patches row by row."""
    r, b, c, h, w = x.shape
    grid = x.view(r, b, c, h // patch, patch, w // patch, patch)
    return grid.permute(0, 1, 3, 5, 2, 4, 6).reshape(r, -1, c * patch * patch)
