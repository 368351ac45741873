"""Communities against the probabilities of the model that they are drawn from."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from programs.errors import InputError

from proxy_tasks.datasets import Dataset, load_dataset
from proxy_tasks.named import args


def labels_of(data: Dataset) -> np.ndarray:
    labels = np.empty(len(data.train_x) + len(data.valid_x), dtype=np.int64)
    labels[data.train_x.numpy()] = data.train_y
    labels[data.valid_x.numpy()] = data.valid_y
    return labels


@settings(max_examples=15, deadline=None)
@given(
    nodes=st.integers(30, 80), communities=st.integers(2, 5), degree=st.floats(0, 5), within=st.floats(0, 1),
    seed=st.integers(0, 100),
)  # fmt: skip
def test_nodes_are_parted_and_edges_are_pairs(
    nodes: int, communities: int, degree: float, within: float, seed: int
) -> None:
    given = args(nodes=nodes, communities=communities, degree=degree, within=within, train=nodes // 2, seed=seed)
    data = load_dataset("communities", given)
    features, edges = data.shared
    data.check("communities") if edges.numel() else None
    assert sorted(data.train_x.tolist() + data.valid_x.tolist()) == list(range(nodes)) and len(features) == nodes
    sizes = np.bincount(labels_of(data), minlength=communities)
    assert sizes.max() - sizes.min() <= 1
    pairs = list(map(tuple, edges.T.tolist()))
    assert len(set(pairs)) == len(pairs) and all(0 <= i < j < nodes for i, j in pairs)


def test_neighbours_are_as_many_and_as_often_alike_as_asked() -> None:
    data = load_dataset("communities", args(nodes=3_000, communities=3, degree=10, within=0.7))
    _, edges = data.shared
    labels = labels_of(data)
    number = edges.shape[1]
    assert abs(number - 15_000) < 5 * math.sqrt(15_000)
    alike = float((labels[edges[0]] == labels[edges[1]]).mean())
    assert abs(alike - 0.7) < 5 * math.sqrt(0.7 * 0.3 / number)


def test_features_lie_around_a_centre_of_their_community() -> None:
    data = load_dataset("communities", args(nodes=3_000, communities=3, features=20, degree=1, signal=2.0))
    x, labels = data.shared[0].numpy(), labels_of(data)
    centres = np.stack([x[labels == c].mean(0) for c in range(3)])
    # A mean of 1,000 nodes is off by a vector whose squared length has a mean of 20 / 1,000.
    np.testing.assert_allclose(np.linalg.norm(centres, axis=1), 2.0, atol=0.2)
    assert float((x - centres[labels]).std()) == pytest.approx(1, abs=0.01)


def test_the_graph_is_part_of_the_data() -> None:
    data = load_dataset("communities", args(nodes=50, train=20))
    features, edges = data.shared
    others = [replace(data, shared=shared) for shared in ((features + 1, edges), (features, edges.flip(1)), ())]
    assert len({one.digest for one in (data, *others)}) == 4
    assert replace(data, shared=(features.clone(), edges)).digest == data.digest
    with pytest.raises(InputError, match=r"mine: shared\[0\] has values that are not finite"):
        replace(data, shared=(features / 0, edges)).check("mine")


def test_on_a_device_the_graph_is_there_too() -> None:
    moved = load_dataset("communities").on(torch.device("meta"))
    assert all(value.device.type == "meta" for value in moved.shared)
