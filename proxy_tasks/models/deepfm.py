"""A factorization machine beside a multilayer perceptron, for clicks (DeepFM, Guo et al., arXiv:1703.04247)."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from programs.errors import InputError

from proxy_tasks.checks import whole, wholes
from proxy_tasks.datasets.dataset import Dataset
from proxy_tasks.models.dense import dense, dense_leaves
from proxy_tasks.models.embedding import embed
from proxy_tasks.models.losses import binary_cross_entropy
from proxy_tasks.models.model import Leaf, Model


def deepfm(dataset: Dataset, width: int = 4, hidden: Sequence[int] = (32,)) -> Model:
    """Return a model of clicks with a weight and a vector of this width for each bucket.

    Samples are numbers of buckets `[B, F]`, targets are clicks, or their probabilities, `[B]`. The log-odds are the sum
    of the weights, of the products of all pairs of vectors, and of ReLU layers over all vectors of the sample; the loss
    is the cross-entropy in nats. Only vectors of buckets that are in a minibatch have a gradient other than zero.

    Raises:
        InputError: the samples are no numbers of buckets with probabilities, or an argument is out of range.
    """
    whole("model deepfm", "width", width, 1)
    hidden = wholes("model deepfm", "hidden", hidden)
    x, y = dataset.train_x, dataset.train_y
    if dataset.classes < 1 or x.is_floating_point() or x.dim() != 2 or y.dim() != 1 or not y.is_floating_point():
        raise InputError("model deepfm: the data set has no buckets [N, F] with clicks [N], such as clicks has")
    leaves = [
        Leaf("weights", (dataset.classes, 1), std=0.01),
        Leaf("vectors", (dataset.classes, width), std=0.1),
        *dense_leaves([x.shape[1] * width, *hidden, 1]),
    ]
    return Model(tuple(leaves), _losses)


def _losses(params: Sequence[Tensor], x: Tensor, y: Tensor) -> Tensor:
    """Losses of weights [R, V, 1], vectors [R, V, D] and layers; `x`: [1 or R, B, F]; `y`: [1 or R, B] -> [R]."""
    weights, table, *layers = params
    vectors = embed(table, x)  # [R, B, F, D]
    pairs = 0.5 * (vectors.sum(2).square() - vectors.square().sum(2)).sum(2)
    odds = embed(weights, x).sum((2, 3)) + pairs + dense(vectors.flatten(2), layers).squeeze(2)  # [R, B]
    return binary_cross_entropy(odds, y)
