"""Exported optimizers in four processes: what is sharded is updated as if it were whole, or refused in one line."""

from __future__ import annotations

import copy
import json
import os
import subprocess
import sys
import traceback
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.distributed as dist
from test_export_language import PROGRAMS as EXTENDED
from test_export_language import load as load_extended
from test_export_torch import PROGRAMS, REDUCING, gradients, load, parameters, row
from torch import Tensor, nn
from torch.distributed.checkpoint.state_dict import get_optimizer_state_dict, set_optimizer_state_dict
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
from torch.distributed.fsdp import FullyShardedDataParallel, fully_shard
from torch.distributed.tensor import DTensor, Partial, Replicate, Shard, distribute_tensor
from torch.distributed.tensor.parallel import ColwiseParallel, RowwiseParallel, parallelize_module

from programs import parse

PROCESSES = 4
SHAPES = ((6, 4), (5,), (3, 2), (), (1,))  # also uneven, and with nothing for some processes
SEVERAL = "several meshes beside plain tensors"
ROWS, COLUMNS, WHOLE = Shard(0), Shard(1), Replicate()

Layout = Callable[[int], tuple[Any, list[Any]] | None]  # of a parameter by its number; None for a plain tensor


def layouts() -> dict[str, Layout]:
    """Where parameters lie; those with too few dimensions are whole."""
    line, square = init_device_mesh("cpu", (4,)), init_device_mesh("cpu", (2, 2), mesh_dim_names=("a", "b"))
    places = [(line, [ROWS]), (square, [WHOLE, ROWS]), None, (square["b"], [WHOLE]), (square["a"], [ROWS])]
    return {
        "whole": lambda _: (line, [WHOLE]),
        "rows": lambda _: (line, [ROWS]),
        "columns": lambda _: (line, [COLUMNS]),
        "replicas of shards": lambda _: (square, [WHOLE, ROWS]),
        "in two directions": lambda _: (square, [ROWS, COLUMNS]),
        "in one direction twice": lambda _: (square, [ROWS, ROWS]),
        SEVERAL: lambda i: places[i],
    }


def distributed(x: Tensor, place: tuple[Any, list[Any]] | None) -> Tensor:
    if place is None:
        return x.clone()
    placements = [p if x.ndim > getattr(p, "dim", -1) else WHOLE for p in place[1]]
    return distribute_tensor(x.clone(), place[0], placements, src_data_rank=None)  # all have it: nothing is sent


def whole(params: list[Tensor]) -> np.ndarray:
    return row([p.full_tensor() if isinstance(p, DTensor) else p for p in params])


def weights_after(name: str, layout: Layout, settings: dict[str, Any], steps: int = 2) -> np.ndarray:
    params = [distributed(p, layout(i)) for i, p in enumerate(parameters(SHAPES))]
    kind = load(PROGRAMS[name]) if name in PROGRAMS else load_extended(parse(EXTENDED[name]))
    optimizer = kind(params, lr=0.3, **settings)
    for t in range(steps):
        for i, (param, grad) in enumerate(zip(params, gradients(t, SHAPES), strict=True)):
            param.grad = distributed(grad, layout(i))
        optimizer.step()
    return whole(params)


# --- checks, which every process runs ---------------------------------------------------------------------------------


def check_updates() -> None:
    """Every reduction wherever parameters lie, every other rule at one place; asking for foreach changes nothing."""
    every = layouts()
    for name in PROGRAMS:
        expected = weights_after(name, lambda _: None, {})
        for where, layout in every.items() if name in REDUCING else [(SEVERAL, every[SEVERAL])]:
            found = weights_after(name, layout, {"foreach": where in ("rows", SEVERAL) or None})
            np.testing.assert_allclose(found, expected, rtol=1e-10, atol=1e-12, err_msg=f"{name}, {where}")


def check_steps_matrices_and_small_states() -> None:
    """Rules by rows and columns at several places, with counters as numbers and as tensors; others at one."""
    for name in EXTENDED:
        expected = weights_after(name, lambda _: None, {})
        for where in ("rows", "columns", SEVERAL) if "row" in name or "column" in name else ("rows",):
            layout = layouts()[where]
            found = weights_after(name, layout, {"capturable": where == "rows"})
            np.testing.assert_allclose(found, expected, rtol=1e-10, atol=1e-12, err_msg=f"{name}, {where}")


def check_gradients_that_lie_otherwise() -> None:
    """In shards where the parameter is whole, the other way round, or not added up yet."""
    mesh = init_device_mesh("cpu", (4,))
    for name in ("sgd", "sgd_momentum", "lion", "raw_lion", "norm", "dot", "cosine_sim"):
        for of_param, of_grad in ((WHOLE, Partial()), (ROWS, Partial()), (WHOLE, ROWS), (ROWS, WHOLE)):
            others = parameters(SHAPES[:3])
            params = [distributed(p, (mesh, [of_param])) for p in others]
            for param, other, grad in zip(params, others, gradients(0, SHAPES[:3]), strict=True):
                share = DTensor.from_local(grad * (dist.get_rank() + 1) / 10, mesh, [Partial()])
                param.grad, other.grad = share.redistribute(placements=[of_grad]), grad
            load(PROGRAMS[name])(params).step()
            load(PROGRAMS[name])(others).step()
            message = f"{name}, {of_param}, {of_grad}"
            np.testing.assert_allclose(whole(params), row(others), rtol=1e-10, atol=1e-12, err_msg=message)


def model() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 6), nn.Linear(6, 1)).double()


def trained(net: nn.Module, optimizer: torch.optim.Optimizer, steps: range) -> list[Tensor]:
    for t in steps:
        net(torch.full((2, 4), 1.0 + t).double()).square().sum().backward()
        optimizer.step()
        optimizer.zero_grad()
    return list(net.parameters())


def check_fully_shard_over_tensor_parallelism() -> None:
    square = init_device_mesh("cpu", (2, 2), mesh_dim_names=("data", "model"))
    for name in ("raw_lion", "norm", "adamw"):
        net, other = model(), model()
        parallelize_module(net, square["model"], {"0": ColwiseParallel(), "1": RowwiseParallel()})
        fully_shard(net, mesh=square["data"])
        kind = load(PROGRAMS[name])
        found = trained(net, kind(net.parameters(), lr=0.01, foreach=True), range(3))
        expected = trained(other, kind(other.parameters(), lr=0.01), range(3))
        np.testing.assert_allclose(whole(found), row(expected), rtol=1e-9)


def check_a_resumed_run() -> None:
    """The step that torch.distributed.checkpoint takes to make states, on shards; then the states of another run."""
    for name in ("raw_lion", "cosine_sim", "norm", "no rate"):
        nets, optimizers = [], []
        for _ in range(2):
            net = model()
            fully_shard(net, mesh=init_device_mesh("cpu", (4,)))
            nets.append(net)
            optimizers.append(load(PROGRAMS[name])(net.parameters(), lr=0.01))
        trained(nets[0], optimizers[0], range(2))
        nets[1].load_state_dict(nets[0].state_dict())
        before = whole(list(nets[1].parameters()))
        get_optimizer_state_dict(nets[1], optimizers[1])
        np.testing.assert_array_equal(whole(list(nets[1].parameters())), before)
        saved = copy.deepcopy(get_optimizer_state_dict(nets[0], optimizers[0]))
        set_optimizer_state_dict(nets[1], optimizers[1], saved)
        found, expected = (trained(net, o, range(2, 4)) for net, o in zip(nets[::-1], optimizers[::-1], strict=True))
        np.testing.assert_array_equal(whole(found), whole(expected))


def check_a_mesh_of_other_processes() -> None:
    """Rules without reductions leave such a parameter alone; others cannot know what lies there."""
    mine, others = (DeviceMesh("cpu", ranks) for ranks in ([0, 1], [2, 3]))
    mesh = others if dist.get_rank() < 2 else mine
    param = distribute_tensor(torch.ones(4), mesh, [ROWS])
    param.grad = distribute_tensor(torch.ones(4), mesh, [ROWS])
    load(PROGRAMS["lion"])([param]).step()
    for name in ("norm", "raw_lion"):
        with pytest.raises(RuntimeError, match=r"adds up over whole parameters, and one is on DeviceMesh.*elsewhere"):
            load(PROGRAMS[name])([param]).step()


def check_pieces_of_the_first_fsdp() -> None:
    for use_orig_params in (False, True):
        settings: dict[str, Any] = {"use_orig_params": use_orig_params, "device_id": torch.device("cpu")}
        for name in ("norm", "raw_lion", "dot"):
            net = FullyShardedDataParallel(model(), **settings)
            with pytest.raises(RuntimeError, match="use fully_shard"):
                trained(net, load(PROGRAMS[name])(net.parameters()), range(1))
        net, other = FullyShardedDataParallel(model(), **settings), model()
        trained(net, load(PROGRAMS["adamw"])(net.parameters(), lr=0.01), range(3))
        expected = trained(other, load(PROGRAMS["adamw"])(other.parameters(), lr=0.01), range(3))
        with FullyShardedDataParallel.summon_full_params(net):
            np.testing.assert_allclose(row(list(net.parameters())), row(expected), rtol=1e-9)


def check_zero() -> None:
    """Each process has whole parameters, but not all of them."""
    from torch.distributed.optim import ZeroRedundancyOptimizer, _apply_optimizer_in_backward  # which warns

    net, other = model(), model()
    for name in ("raw_lion", "dot", "global norm of a leaf"):
        with pytest.raises(ValueError, match=r"Found adds up over all parameters, and .*zero_redundancy_optimizer"):
            ZeroRedundancyOptimizer(net.parameters(), load(PROGRAMS[name]))
        with pytest.raises(ValueError, match="apply_optimizer_in_backward gives it only some of them"):
            _apply_optimizer_in_backward(load(PROGRAMS[name]), net.parameters(), {})
    for name in ("adamw", "norm"):
        kind = load(PROGRAMS[name])
        found = trained(net, ZeroRedundancyOptimizer(net.parameters(), kind, lr=0.01), range(3))
        np.testing.assert_array_equal(row(found), row(trained(other, kind(other.parameters(), lr=0.01), range(3))))


CHECKS = {name: check for name, check in globals().items() if name.startswith("check_")}


# --- how they are run -------------------------------------------------------------------------------------------------


def main(rank: int, folder: Path) -> None:
    """Run all checks as one of the processes, and write what went wrong. The others wait for one that failed."""
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    dist.init_process_group("gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=PROCESSES)
    outcomes = {}
    for name, check in CHECKS.items():
        try:
            check()
            outcomes[name] = ""
        except Exception:
            outcomes[name] = traceback.format_exc()
        dist.barrier()
    (folder / f"{rank}.json").write_text(json.dumps(outcomes))
    dist.destroy_process_group()


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, str]]:
    """What went wrong in each process, by the name of the check."""
    folder = tmp_path_factory.mktemp("processes")
    path = os.pathsep.join(p for p in sys.path if p)
    processes = [
        subprocess.Popen([sys.executable, __file__, str(rank), str(folder)], env={**os.environ, "PYTHONPATH": path})
        for rank in range(PROCESSES)
    ]
    try:
        for process in processes:
            assert process.wait(600) == 0
    finally:
        for process in processes:
            process.kill()
    return [json.loads((folder / f"{rank}.json").read_text()) for rank in range(PROCESSES)]


@pytest.mark.parametrize("name", CHECKS)
def test_in_four_processes(name: str, outcomes: list[dict[str, str]]) -> None:
    assert not "".join(outcome[name] for outcome in outcomes)


if __name__ == "__main__":
    main(int(sys.argv[1]), Path(sys.argv[2]))
