"""Training on a GPU: compiled gradients, fused update rules, and a step that is recorded once and replayed."""

from __future__ import annotations

import gc
from collections.abc import Callable
from functools import lru_cache

import torch
from torch import Tensor

from programs.batched import Rows
from programs.kernels import cuda
from programs.kernels.batch import FusedRules, Launch
from programs.kernels.source import Source
from programs.layout import Layout
from programs.sharing import Branch, Outlines

from proxy_tasks.backend import Bind, Rules
from proxy_tasks.models import Model
from proxy_tasks.models.chunks import Losses

MEMORY_SHARE = 0.85  # of what is free: the rest is for what compilers, products and the recording itself need
MOVE_BELOW = 0.75  # of the rows left: a move means recording anew, which takes about as long as a few hundred steps


class Cuda:
    """Training on the GPU that this process sees first.

    Args:
        share: of its memory, for this process.
    """

    def __init__(self, share: float = 1.0) -> None:
        self.device = torch.device("cuda", torch.cuda.current_device())
        self.name = f"cuda {torch.cuda.get_device_name(self.device)}"
        self._share = share
        make_deterministic()

    def memory_mib(self) -> float:
        """Most of what is free, or of what is left of this process's share."""
        free, total = torch.cuda.mem_get_info(self.device)
        ours = torch.cuda.memory_reserved(self.device)
        unused = ours - torch.cuda.memory_allocated(self.device)
        return MEMORY_SHARE * min(free + unused, self._share * total - ours + unused) / 2**20

    def release(self) -> None:
        """What torch keeps for tensors to come."""
        gc.collect()
        torch.cuda.empty_cache()

    def losses(self, model: Model) -> Losses:
        """All replicas together, compiled for any number of them."""
        return compiled_losses(model)

    def compiled(self, outlines: Outlines) -> Bind:
        """One kernel for all programs."""
        source = Source(outlines)
        return bind_fused(source, cuda.compiled(source))

    def repeated(self, step: Callable[[], None]) -> Callable[[int], None]:
        """The first step as it stands, the others from its recording."""
        return Recording(step)

    def is_worth_a_move(self, left: int, rows: int) -> bool:
        """When enough rows are idle; those of replicas that are out cost time, but no recording."""
        return left <= MOVE_BELOW * rows


def make_deterministic() -> None:
    """Have torch add up in an order of its own choice, not in that of time, wherever it can.

    A search is to be repeatable on one device. cuBLAS reads the variable CUBLAS_WORKSPACE_CONFIG, which `proxy_tasks`
    sets when it is imported, before any context is made.
    """
    torch.use_deterministic_algorithms(True, warn_only=True)
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]  # a pass over all memory


@lru_cache(maxsize=64)
def compiled_losses(model: Model) -> Losses:
    """The losses of a model with their backward pass compiled, once for any number of replicas above one."""
    compiled = torch.compile(model.losses)

    def losses(params: list[Tensor], x: Tensor, y: Tensor) -> Tensor:
        for tensor in (*params, x, y):
            if len(tensor) > 1:  # one stays one: a minibatch shared by all replicas is another thing to compile
                torch._dynamo.maybe_mark_dynamic(tensor, 0)
        return compiled(params, x, y)

    return losses  # type: ignore[return-value]


def bind_fused(source: Source, launch: Launch) -> Bind:
    """Binds rules whose source has been compiled; rows that have diverged are left alone."""

    def bind(tree: Branch, layout: Layout, rows: Rows, total: Tensor, scale: float) -> Rules:
        alive = torch.ones(len(tree.members), dtype=torch.bool, device=total.device)
        return _MaskedRules(FusedRules(source, tree.members, layout, rows, alive, launch, scale), alive, total)

    return bind


class _MaskedRules:
    """Fused rules for the rows whose losses are finite so far."""

    def __init__(self, rules: FusedRules, alive: Tensor, total: Tensor) -> None:
        self._rules, self._alive, self._total = rules, alive, total

    def step(self, lr: Tensor) -> None:
        torch.lt(self._total.abs(), torch.inf, out=self._alive)  # not of NaN either
        self._rules.step(lr)


class Recording:
    """Repeats a step by a CUDA graph of it.

    Args:
        step: works on tensors of fixed places alone, without a look at any.
    """

    def __init__(self, step: Callable[[], None]) -> None:
        self._step = step
        self._graph: torch.cuda.CUDAGraph | None = None

    def __call__(self, times: int) -> None:
        if times and self._graph is None:
            self._warm_up()
            times -= 1
        if times and self._graph is None:
            self._record()
        for _ in range(times):
            self._graph.replay()  # type: ignore[union-attr]  # recorded above

    def _warm_up(self) -> None:
        """A step like any other, which compiles what is to be compiled and sets libraries up, on a stream aside."""
        here, aside = torch.cuda.current_stream(), torch.cuda.Stream()  # type: ignore[no-untyped-call]
        aside.wait_stream(here)
        with torch.cuda.stream(aside):
            self._step()
        here.wait_stream(aside)

    def _record(self) -> None:
        """The recording takes memory of its own; `torch.cuda.graph` gives back what the step before has left."""
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            self._step()
        self._graph = graph
