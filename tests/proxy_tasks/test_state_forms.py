"""States kept in less memory: what is read back after a step, against torch and NumPy, and what a task says of it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from programs import InputError, Program, parse, zoo
from programs.analysis.bounds import per_weight_states
from programs.graph import M, V
from programs.layout import Layout
from programs.quantization import dequantize, quantize
from programs.run.batched import Rows

from proxy_tasks import Replica, configured_process, get_task, train
from proxy_tasks.outcome import TorchOptimizer, TorchReplica
from proxy_tasks.state_forms import bytes_per_weight, keep_states
from proxy_tasks.task import StateForm
from proxy_tasks.torch_optimizers import train_torch_optimizer

LAYOUT = Layout.of_shapes([(12, 8), (8,)])
SHORT = replace(get_task("digits_mlp_short"), steps=40)
BY_ROWS = parse(
    "s = square(g)\ns = row_mean(s)\nv = interp(s, v, 0.9)\nm = interp(g, m, 0.9)\nu = m / v\nupdate = u * lr"
)


def kept(form: StateForm, programs: list[Program]) -> tuple[Rows, Rows]:
    """Random rows as they are, and as they are read back; second moments are not negative."""
    generator = torch.Generator().manual_seed(0)
    width = LAYOUT.width
    before = Rows(*(torch.randn(len(programs), width, generator=generator) for _ in range(4)))
    before = before._replace(v=before.v.square())
    after = Rows(*(x.clone() for x in before))
    keep_states(form, programs, LAYOUT, after)()
    return before, after


def test_states_for_each_weight_are_known_with_their_signs() -> None:
    assert per_weight_states(zoo.load("torch_adamw").dataflow) == {M: False, V: True}
    assert per_weight_states(zoo.load("lion").dataflow) == {M: False}
    assert per_weight_states(BY_ROWS.dataflow) == {M: False}
    assert per_weight_states(zoo.load("sgd").dataflow) == {}


def test_only_states_in_use_are_changed() -> None:
    for form in ("bf16", "8bit", "low_rank"):
        before, after = kept(form, [zoo.load("lion"), zoo.load("torch_adamw"), zoo.load("sgd")])
        total = LAYOUT.total
        assert torch.equal(before.w, after.w) and torch.equal(before.g, after.g)
        assert torch.equal(before.v[[0, 2]], after.v[[0, 2]]) and torch.equal(before.m[2], after.m[2])
        assert not torch.equal(before.m[0, :total], after.m[0, :total])
        assert not torch.equal(before.v[1, :total], after.v[1, :total])
        assert torch.equal(before.m[:, total:], after.m[:, total:])


def test_bfloat16_and_8_bits_are_those_of_each_tensor() -> None:
    adamw = zoo.load("torch_adamw")
    before, after = kept("bf16", [adamw])
    assert torch.equal(after.m[:, : LAYOUT.total], before.m[:, : LAYOUT.total].bfloat16().float())
    before, after = kept("8bit", [adamw, zoo.load("lion")])
    for start, size in zip(LAYOUT.starts, LAYOUT.sizes, strict=True):
        leaf = slice(start, start + size)
        for row in (0, 1):
            assert torch.equal(after.m[row, leaf], dequantize(*quantize(before.m[row, leaf], False), False))
        assert torch.equal(after.v[0, leaf], dequantize(*quantize(before.v[0, leaf], True), True))


def test_low_rank_is_the_nearest_matrix_and_of_squares_the_product_of_sums() -> None:
    before, after = kept("low_rank", [zoo.load("torch_adamw")])
    m, found = (rows.m[0, :96].view(12, 8).numpy() for rows in (before, after))
    u, s, vh = np.linalg.svd(m.astype(np.float64))
    np.testing.assert_allclose(found, u[:, :2] * s[:2] @ vh[:2], atol=1e-5)
    v, found = (rows.v[0, :96].view(12, 8).numpy().astype(np.float64) for rows in (before, after))
    np.testing.assert_allclose(found, np.outer(v.sum(1), v.sum(0)) / v.sum(), rtol=1e-5)
    assert torch.equal(before.m[0, 96:], after.m[0, 96:])  # a vector has no factors
    broken = Rows(*(torch.full((1, LAYOUT.width), torch.nan) for _ in range(4)))
    keep_states("low_rank", [zoo.load("lion")], LAYOUT, broken)()
    assert broken.m.isnan().all()


def test_bytes_are_counted_by_what_is_kept() -> None:
    adamw, lion, total = zoo.load("torch_adamw"), zoo.load("lion"), 96 + 8
    assert bytes_per_weight("float32", adamw, LAYOUT) == 8.0 and bytes_per_weight("bf16", lion, LAYOUT) == 2.0
    assert bytes_per_weight("8bit", lion, LAYOUT) == pytest.approx((total + 2 * 4) / total)
    assert bytes_per_weight("low_rank", lion, LAYOUT) == pytest.approx(4 * (2 * (12 + 8) + 8) / total)
    assert bytes_per_weight("low_rank", adamw, LAYOUT) == pytest.approx(4 * (3 * (12 + 8) + 16) / total)
    rows = 4 * LAYOUT.shares[2]
    assert bytes_per_weight("8bit", BY_ROWS, LAYOUT) == pytest.approx((total + 8) / total + rows)


def test_a_training_keeps_them_after_every_step_in_any_batch() -> None:
    """An optimizer of torch, put through bfloat16 by hand, ends at the same loss; replicas do not see each other."""
    task, rule = replace(SHORT, states="bf16"), zoo.load("torch_adamw")
    lion = zoo.load("lion")
    with configured_process():
        alone, plain = train(task, [Replica(rule, 3)])[0], train(SHORT, [Replica(rule, 3)])[0]
        beside = train(task, [Replica(lion, 3), Replica(rule, 3), Replica(rule, 4)])[1]
    assert alone.fitness == beside.fitness and alone.fitness != plain.fitness
    assert alone.fitness == pytest.approx(by_hand(), abs=1e-4)


def by_hand() -> float:
    """Minus the loss after torch's AdamW on the same minibatches, its averages in bfloat16 between steps."""
    data, model = SHORT.load()
    flat = model.initial_row(3)[None].clone()
    parameters = [p.detach().clone().requires_grad_() for p in model.parameters(flat)]
    optimizer = torch.optim.AdamW(parameters, lr=1e-3, weight_decay=0.01)
    for step, rate in enumerate(SHORT.learning_rates()):
        index = torch.from_numpy(SHORT.minibatches(3))[step][None]
        optimizer.zero_grad()
        model.losses(parameters, data.train_x[index], data.train_y[index]).sum().backward()
        optimizer.param_groups[0]["lr"] = 1e-3 * float(rate)
        optimizer.step()
        for state in optimizer.state.values():
            for name in ("exp_avg", "exp_avg_sq"):
                state[name].copy_(state[name].bfloat16().float())
    with torch.no_grad():
        return -float(model.losses(parameters, data.valid_x[None], data.valid_y[None]))


def test_optimizers_of_torch_keep_their_states_as_they_are() -> None:
    adamw = TorchReplica(TorchOptimizer("torch_adamw", 0.001, 0.0), 0)
    with pytest.raises(InputError, match="states in 8bit are for programs"):
        train_torch_optimizer(replace(SHORT, states="8bit"), adamw)


def test_the_form_is_part_of_what_a_task_means_unless_it_is_float32() -> None:
    prints = {replace(SHORT, states=form).fingerprint for form in ("float32", "bf16", "8bit", "low_rank")}
    assert len(prints) == 4 and "states" not in SHORT.meaning
