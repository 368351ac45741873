"""A graph convolutional network (Kipf and Welling, arXiv:1609.02907)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from programs.errors import InputError

from proxy_tasks.checks import whole
from proxy_tasks.datasets.dataset import Dataset
from proxy_tasks.models.classifier import classifier
from proxy_tasks.models.dense import dense, dense_leaves
from proxy_tasks.models.model import Model


def gcn(dataset: Dataset, hidden: int = 32) -> Model:
    """Return two graph convolutions with ReLU in between: P relu(P X W1 + b1) W2 + b2, with cross-entropy.

    P is D^-1/2 (A + I) D^-1/2 for the adjacency matrix A with self-loops and its degrees D, X the features of all
    nodes. Every step computes the hidden layer of all nodes; the loss is that of the nodes in the minibatch.

    Raises:
        InputError: the samples are no labelled nodes of a graph, or `hidden` is no width.
    """
    whole("model gcn", "hidden", hidden, 1)
    if len(dataset.shared) != 2 or dataset.classes < 2 or dataset.train_x.dim() != 1:
        raise InputError("model gcn: the data set has no labelled nodes of a graph, such as communities has")
    features, edges = dataset.shared
    p = propagation(edges, len(features))
    mixed = (p @ features.double()).float().unsqueeze(0)  # [1, N, F]
    p = p.float()

    def logits(params: Sequence[Tensor], x: Tensor) -> Tensor:
        """`params`: W1 [R, F, H], b1, W2 [R, H, C], b2; `x`: [1 or R, B] -> [R, B, C]."""
        h = torch.relu_(dense(mixed, params[:2]))  # [R, N, H]
        return dense(torch.bmm(p[x].expand(len(h), -1, -1), h), params[2:])

    model = classifier(dense_leaves([features.shape[1], hidden, dataset.classes]), logits)
    return replace(model, constants=(p, mixed))


def propagation(edges: Tensor, nodes: int) -> Tensor:
    """Return the matrix P, [N, N] in float64, of a graph whose pairs of neighbours are `edges`, [2, E]."""
    p = torch.eye(nodes, dtype=torch.float64, device=edges.device)
    p[edges[0], edges[1]] = 1
    p[edges[1], edges[0]] = 1
    root = p.sum(1).rsqrt()
    return root.unsqueeze(1) * p * root
