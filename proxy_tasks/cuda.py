"""Training on a GPU: compiled gradients, fused update rules, and a step that is recorded once and replayed."""

from __future__ import annotations

import gc
import os
import shutil
import sysconfig
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from pathlib import Path

import torch
from torch import Tensor

from programs.errors import InputError
from programs.kernels import cuda
from programs.kernels.batch import FusedRules, Launch
from programs.kernels.source import CUDA, Source
from programs.layout import Layout
from programs.run.batched import Rows
from programs.run.sharing import SharingTree, Skeletons

from proxy_tasks.backend import Bind, Rules
from proxy_tasks.models import Model
from proxy_tasks.models.chunks import Losses, in_chunks
from proxy_tasks.task import Task

MEMORY_SHARE = 0.85  # of what is free: the rest is for what compilers, products and the recording itself need
PART_LENGTH = 40_000  # characters of source that are compiled within about a second
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
        _check_compiler()
        configure_torch()

    def memory_mib(self) -> float:
        """Return most of what is free, or of what is left of this process's share."""
        self.release()  # what earlier batches have left
        free, total = torch.cuda.mem_get_info(self.device)
        ours = torch.cuda.memory_reserved(self.device)
        unused = ours - torch.cuda.memory_allocated(self.device)
        return MEMORY_SHARE * min(free + unused, self._share * total - ours + unused) / 2**20

    def release(self) -> None:
        """Release what torch keeps for later tensors."""
        gc.collect()
        torch.cuda.empty_cache()

    def losses(self, model: Model) -> Losses:
        """Return the losses of all replicas together, compiled for any number of them where that is possible."""
        return compiled_losses(model) if model.is_traceable else model.losses

    def losses_without_gradient(self, model: Model, in_training: int, samples: int) -> Losses:
        """Return the losses of as many replicas at a time as see no more samples than in a step of training."""
        return in_chunks(model.validation, max(1, in_training // samples))

    def compiled(self, skeletons: Skeletons) -> Bind:
        """Return kernels, compiled in parallel where programs are long."""
        sources = shared_out(skeletons, PART_LENGTH)
        with ThreadPoolExecutor(len(sources)) as pool:  # compilers let go of Python's lock
            launches = list(pool.map(cuda.compiled, [source for source, _ in sources]))
        return bind_fused([(*source, launch) for source, launch in zip(sources, launches, strict=True)])

    def repeated(self, step: Callable[[], None]) -> Callable[[int], None]:
        """Return a function that takes the first step normally and repeats its recording for the others."""
        return GraphRecording(step)

    def is_worth_a_move(self, left: int, rows: int) -> bool:
        """Return whether enough rows are idle: they cost time, but a move costs a recording.

        The last replica keeps an idle row beside it, since everything would be compiled again for a single one.
        """
        return 1 < left <= MOVE_BELOW * rows


def _check_compiler() -> None:
    """Check that torch can compile here, before it counts as a program's failure.

    Raises:
        InputError: it cannot.
    """
    has_headers = Path(sysconfig.get_path("include"), "Python.h").exists()
    if not has_headers or not any(map(shutil.which, filter(None, (os.environ.get("CC"), "cc", "gcc", "clang")))):
        raise InputError(
            "device cuda: torch compiles gradients with a C compiler and Python's headers, and they are missing here;"
            " install them, such as gcc and python3-dev"
        )


def configure_torch() -> None:
    """Have torch use a fixed order of summation wherever it can, and compile for all sizes.

    A search is to be repeatable on one device. cuBLAS reads the variable CUBLAS_WORKSPACE_CONFIG, which `proxy_tasks`
    sets when it is imported, before any context is made.
    """
    torch.use_deterministic_algorithms(True, warn_only=True)
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]  # a pass over all memory
    compiler = torch._dynamo.config
    # Models of one kind are one function to torch: each is compiled with its own widths, and there may be many.
    compiler.automatic_dynamic_shapes = False
    compiler.recompile_limit, compiler.accumulated_recompile_limit = 256, 4096


_compiled: dict[int, tuple[Model, Losses]] = {}  # by the model's identity: models of users need not be hashable


def compiled_losses(model: Model) -> Losses:
    """Return the losses of a model with their backward pass compiled, once for any number of replicas above one."""
    if id(model) not in _compiled:
        _compiled[id(model)] = (model, _compiled_for_any_number(model.losses))
    return _compiled[id(model)][1]


def _compiled_for_any_number(of_model: Losses) -> Losses:
    compiled = torch.compile(of_model)

    def losses(params: Sequence[Tensor], x: Tensor, y: Tensor) -> Tensor:
        for tensor in (*params, x, y):
            if len(tensor) > 1:  # a size of one stays one: a shared minibatch is compiled separately
                torch._dynamo.maybe_mark_dynamic(tensor, 0)
        return compiled(params, x, y)

    return losses


def shared_out(skeletons: Skeletons, length: int) -> list[tuple[Source, list[int]]]:
    """Return sources of about `length` characters for all programs, each with the numbers of its programs."""
    whole = Source(skeletons)
    parts = whole.parts(-(-len(whole.text(CUDA)) // length))
    return [(Source(skeletons.only(part)), part) for part in parts]


def bind_fused(sources: Sequence[tuple[Source, Sequence[int], Launch]]) -> Bind:
    """Return how compiled rules, each for some programs, are bound to rows; rows that have diverged are skipped."""

    def bind(tree: SharingTree, layout: Layout, rows: Rows, total: Tensor, task: Task) -> Rules:
        alive = torch.ones(len(tree.programs), dtype=torch.bool, device=total.device)
        rules = []
        for source, programs, launch in sources:
            place = {program: number for number, program in enumerate(programs)}
            members = [place.get(program) for program in tree.programs]
            if any(member is not None for member in members):
                bound = FusedRules(source, members, layout, rows, alive, launch, task.update_scale, task.steps)
                rules.append(bound)
        return _MaskedRules(rules, alive, total)

    return bind


class _MaskedRules:
    """Fused rules for the rows whose losses are finite so far."""

    def __init__(self, rules: Sequence[FusedRules], alive: Tensor, total: Tensor) -> None:
        self._rules, self._alive, self._total = rules, alive, total

    def step(self, lr: Tensor, taken: Tensor) -> None:
        torch.lt(self._total.abs(), torch.inf, out=self._alive)  # not of NaN either
        for rules in self._rules:
            rules.step(lr, taken)


class GraphRecording:
    """Repeats a step by a CUDA graph of it.

    Args:
        step: works on tensors at fixed addresses, and reads no value of them.
    """

    def __init__(self, step: Callable[[], None]) -> None:
        self._step = step
        self._is_warm = False
        self._graph: torch.cuda.CUDAGraph | None = None

    def __call__(self, times: int) -> None:
        if times and not self._is_warm:
            self._warm_up()
            times -= 1
        if times and self._graph is None:
            self._record()
        for _ in range(times):
            self._graph.replay()  # type: ignore[union-attr]  # recorded above

    def _warm_up(self) -> None:
        """Take a step, which also compiles what has to be compiled and sets libraries up, on another stream."""
        here, other = torch.cuda.current_stream(), _recording_stream(torch.cuda.current_device())
        other.wait_stream(here)
        with torch.cuda.stream(other):
            self._step()
        here.wait_stream(other)
        self._is_warm = True

    def _record(self) -> None:
        """Record a step, in memory of its own; `torch.cuda.graph` releases what the step before has left."""
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, stream=_recording_stream(torch.cuda.current_device())):
            self._step()
        self._graph = graph


@lru_cache
def _recording_stream(device: int) -> torch.cuda.Stream:
    """Return one stream for all recordings, since libraries keep working memory for every stream that they see."""
    return torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
