"""A graph of communities: the contextual stochastic block model (Deshpande et al., arXiv:1807.09596).

Nodes of one community are more often neighbours than others, and their features lie around a centre of their own. Edges
and features both tell something about the community of a node, and neither tells all.
"""

from __future__ import annotations

import numpy as np
import torch

from programs.errors import InputError

from proxy_tasks.checks import real, whole
from proxy_tasks.datasets.dataset import Dataset

WHAT = "data set communities"
MOST_NODES = 5_000  # all pairs of them are looked at, and models hold a matrix of them
MOST_FEATURES = 10_000


def load_communities(
    nodes: int = 1_000,
    communities: int = 5,
    features: int = 48,
    degree: float = 8.0,
    within: float = 0.5,
    signal: float = 1.0,
    train: int = 400,
    seed: int = 0,
) -> Dataset:
    """Return the numbers of nodes `[N]` with their communities; what is shared is the graph of all of them.

    `shared` is (features `[nodes, features]`, edges `[2, E]` with each pair of neighbours once). Nodes for validation
    are in the graph during training, without their labels.

    Args:
        nodes: of the graph.
        communities: of equal size, or sizes that differ by one.
        features: numbers that describe a node, from N(centre, 1) each; centres are random directions.
        degree: neighbours of a node, on average.
        within: share of the neighbours that are of the same community, on average; above 1 / communities if edges join
            like with like.
        signal: distance of the centres from the origin.
        train: nodes whose community is known in training; the others are for validation.
        seed: of everything random.

    Raises:
        InputError: an argument is out of range, or there are not as many pairs of nodes as `degree` and `within` ask.
    """
    whole(WHAT, "nodes", nodes, 4, MOST_NODES)
    whole(WHAT, "communities", communities, 2, nodes // 2)
    whole(WHAT, "features", features, 1, MOST_FEATURES)
    whole(WHAT, "train", train, 1, nodes - 1)
    whole(WHAT, "seed", seed, 0)
    real(WHAT, "degree", degree, 0, nodes)
    real(WHAT, "within", within, 0, 1)
    real(WHAT, "signal", signal, 0, 1e6)
    rng = np.random.default_rng(seed)
    labels = rng.permutation(np.arange(nodes) % communities)
    centres = rng.standard_normal((communities, features))
    centres *= signal / np.linalg.norm(centres, axis=1, keepdims=True)
    x = (centres[labels] + rng.standard_normal((nodes, features))).astype(np.float32)
    edges = _edges(rng, labels, communities, degree, within)
    numbers, y = torch.arange(nodes), torch.from_numpy(labels.astype(np.int64))
    return Dataset(
        numbers[:train], y[:train], numbers[train:], y[train:], classes=communities,
        shared=(torch.from_numpy(x), torch.from_numpy(edges)),
    )  # fmt: skip


def _edges(rng: np.random.Generator, labels: np.ndarray, communities: int, degree: float, within: float) -> np.ndarray:
    """Return pairs of neighbours `[2, E]`, each once, drawn independently with one of two probabilities."""
    size = len(labels) / communities
    alike, unlike = degree * within / (size - 1), degree * (1 - within) / (len(labels) - size)
    if max(alike, unlike) > 1:
        raise InputError(
            f"{WHAT}: communities of {size:g} nodes have not as many pairs as 'degree' {degree:g} with 'within'"
            f" {within:g} asks for; lower 'degree' or raise 'nodes'"
        )
    first, second = np.triu_indices(len(labels), 1)
    is_edge = rng.random(len(first)) < np.where(labels[first] == labels[second], alike, unlike)
    return np.stack([first[is_edge], second[is_edge]])
