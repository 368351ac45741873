"""The graph network: its propagation, and how far nodes see."""

from __future__ import annotations

from dataclasses import replace

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy_tasks.datasets import Dataset, load_dataset
from proxy_tasks.models import build_model
from proxy_tasks.models.gcn import propagation
from proxy_tasks.named import args

from tests.support.references import dense_propagation


def graph(seed: int, nodes: int = 40) -> Dataset:
    return load_dataset("communities", args(nodes=nodes, communities=2, features=3, degree=2, train=20, seed=seed))


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 1_000))
def test_propagation_is_a_symmetric_mean(seed: int) -> None:
    """As defined edge by edge; the root of the degrees stays what it is, and nothing grows."""
    edges = graph(seed).shared[1]
    p = propagation(edges, 40)
    torch.testing.assert_close(p.float(), dense_propagation(edges, 40))
    roots = (p > 0).sum(1).double().sqrt()
    torch.testing.assert_close(p @ roots, roots)
    assert float(torch.linalg.eigvalsh(p).abs().max()) <= 1 + 1e-9


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 1_000), node=st.integers(0, 39))
def test_a_node_sees_the_features_of_its_neighbours_neighbours_and_no_others(seed: int, node: int) -> None:
    data = graph(seed)
    features, edges = data.shared
    is_near = (propagation(edges, 40) > 0).double()
    within_two = (is_near @ is_near)[node] > 0
    moved = features + 1.0
    before, far, near = (
        node_loss(replace(data, shared=(x, edges)), node)
        for x in (features, torch.where(within_two.unsqueeze(1), features, moved), moved)
    )
    torch.testing.assert_close(far, before, rtol=1e-6, atol=1e-6)
    assert not torch.allclose(near, before, rtol=1e-3, atol=1e-3)


def node_loss(data: Dataset, node: int) -> torch.Tensor:
    """Losses of two replicas on one node."""
    model = build_model("gcn", data)
    parameters = model.parameters(torch.stack([model.initial_row(seed) for seed in (0, 1)]))
    return model.losses(parameters, torch.tensor([[node]]), torch.tensor([[0]]))
