"""Models that predict labels: the cross-entropy of what they compute is the loss, the largest of it the prediction."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from torch import Tensor

from proxy_tasks.models.losses import cross_entropy
from proxy_tasks.models.model import Leaf, Model

Logits = Callable[[Sequence[Tensor], Tensor], Tensor]
Predictions = Callable[[Sequence[Tensor], Tensor, Tensor], tuple[Tensor, Tensor]]


def classifier(leaves: Sequence[Leaf], logits: Logits, chunk: int | None = None) -> Model:
    """Return a model with the cross-entropy as its loss, whose targets are the labels.

    Args:
        leaves: its parameters.
        logits: of parameters `[R, *shape]` and samples `[1 or R, B, ...]` -> [R, B, ..., C].
        chunk: how many replicas are best computed at a time.
    """
    return predictor(leaves, lambda params, x, y: (logits(params, x), y), chunk)


def predictor(leaves: Sequence[Leaf], predictions: Predictions, chunk: int | None = None) -> Model:
    """Return a model with the cross-entropy as its loss, which says what the labels are.

    Args:
        leaves: its parameters.
        predictions: logits [R, .., C] and labels [1 or R, ..] of parameters `[R, *shape]`, samples and targets.
        chunk: how many replicas are best computed at a time.
    """

    def losses(params: Sequence[Tensor], x: Tensor, y: Tensor) -> Tensor:
        return cross_entropy(*predictions(params, x, y))

    def accuracy(params: Sequence[Tensor], x: Tensor, y: Tensor) -> Tensor:
        return share_right(*predictions(params, x, y))

    return Model(tuple(leaves), losses, chunk=chunk, accuracy=accuracy)


def share_right(logits: Tensor, y: Tensor) -> Tensor:
    """Return the share of predictions that are right, of each replica.

    `logits`: [R, .., C]; `y`: labels [1 or R, ..], or probabilities [1 or R, .., C], of which that of the predicted
    label counts -> [R].
    """
    predicted = logits.argmax(-1)
    if y.is_floating_point():
        return y.expand_as(logits).gather(-1, predicted[..., None]).flatten(1).mean(1)
    return (predicted == y).float().flatten(1).mean(1)
