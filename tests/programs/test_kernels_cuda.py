"""The CUDA dialect: what can be said of it without a GPU, and runs on one where there is one."""

from __future__ import annotations

import ctypes
import shutil
import subprocess
from pathlib import Path
from random import Random

import numpy as np
import pytest
import torch

from programs import Program, parse, zoo
from programs.kernels import batch, cuda
from programs.kernels.source import CUDA, THREADS, C, Source
from programs.run.sharing import Skeletons

from tests.support.kernel_runs import EXACT, Fused, deep_program, needs_c, units
from tests.support.oracle import TREE
from tests.support.patience import call
from tests.support.runs import padded, reference_weights, zero_rows
from tests.support.strategies import Trajectory, case_program, kind_cases, layout_of, random_program, trajectory

# What a GPU would do, by a thread of the CPU for each thread of a block, block after block.
EMULATION = """
#include <math.h>
#include <pthread.h>
#define __device__
#define __global__
#define __noinline__
#define __restrict__
#define __launch_bounds__(n)
#define __shared__ static
struct Index { unsigned x; };
static thread_local Index threadIdx, blockIdx;
static pthread_barrier_t barrier;
static void __syncthreads() { pthread_barrier_wait(&barrier); }
"""
EMULATED_LAUNCH = """
struct Launch { const Batch *batch; int phase, blocks; unsigned thread; };
static void *run_thread(void *argument) {
    const Launch *launch = (const Launch *)argument;
    threadIdx.x = launch->thread;
    for (int block = 0; block < launch->blocks; block++) {
        blockIdx.x = (unsigned)block;
        run_phase(launch->batch, launch->phase);
        __syncthreads();
    }
    return 0;
}
extern "C" void launch(const Batch *batch, int phase, int blocks) {
    pthread_t threads[THREADS];
    Launch launches[THREADS];
    pthread_barrier_init(&barrier, 0, THREADS);
    for (unsigned i = 0; i < THREADS; i++) {
        launches[i] = {batch, phase, blocks, i};
        pthread_create(&threads[i], 0, run_thread, &launches[i]);
    }
    for (unsigned i = 0; i < THREADS; i++) pthread_join(threads[i], 0);
    pthread_barrier_destroy(&barrier);
}
"""
EMULATED_THREADS = 8

REDUCING = """n = norm(g)
q = global_norm(n)
c = cosine_sim(g, w)
y = clip(g, 0.5)
a = n * c
m = interp(y, m, 0.9)
x = m * a
update = x * q"""


OF_MATRICES = """s = square(g)
r = row_mean(s)
k = column_mean(s)
m = interp(r, m, 0.9)
v = interp(k, v, 0.99)
x = m * v
x = sqrt(x)
x = g / x
x = orthogonalize(x)
q = rms(x)
x = x / q
t = get_step()
update = x / t"""
SHAPES = ((9, 5), 3, (3, 4))


def mixed() -> list[Program]:
    """The zoo, sums of all sorts, states kept by rows and columns, and random programs."""
    rng = Random(3)
    others = [make(rng, 12) for make in (random_program, deep_program) for _ in range(10)]
    return [*(zoo.load(name) for name in zoo.names()), parse(REDUCING), parse(OF_MATRICES), *others]


def emulated(source: Source, folder: Path) -> batch.Launch:
    """The CUDA dialect, compiled as C++ with fewer threads, and run as a GPU would."""
    text = source.text(CUDA).replace(f"#define THREADS {THREADS}\n", f"#define THREADS {EMULATED_THREADS}\n")
    command = ["c++", "-O1", "-shared", "-fPIC", "-ffp-contract=off", "-pthread", "-x", "c++", "-", "-o"]
    subprocess.run([*command, folder / "emulation.so"], input=(EMULATION + text + EMULATED_LAUNCH).encode(), check=True)
    library = ctypes.CDLL(str(folder / "emulation.so"))

    def launch(tables: torch.Tensor, phase: int, blocks: int) -> None:
        library.launch(ctypes.c_void_p(tables.data_ptr()), phase, blocks)

    return launch


def test_both_dialects_have_the_same_statements() -> None:
    """All but the prologue and the entry, to the last character, so that what is tested in C is what a GPU runs."""
    source = Source(Skeletons(mixed()))
    common = [source.text(dialect).removeprefix(dialect.prologue).removesuffix(dialect.entry) for dialect in (C, CUDA)]
    assert common[0] == common[1]
    assert sum(map(len, (CUDA.prologue, CUDA.entry))) < 4000


@needs_c
@pytest.mark.skipif(shutil.which("c++") is None, reason="no C++ compiler (c++) on this machine")
def test_threads_of_a_block_share_the_work_as_one_alone_does_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The CUDA dialect run by threads of the CPU: bit for bit what C gives, but for the order of sums."""
    monkeypatch.setattr(batch, "SLICE", 20)
    programs, layout = mixed(), layout_of(SHAPES)
    start, alone = trajectory(5, layout.sizes, steps=3, dtype=np.float32), Fused(programs)
    rows = alone.rows(start.w, layout)
    alive = torch.ones(len(programs), dtype=torch.bool)
    source = alone.source
    rules = batch.FusedRules(source, range(len(programs)), layout, rows, alive, emulated(source, tmp_path), steps=3)
    expected = alone.weights(start, SHAPES)
    for step, (g, rate) in enumerate(zip(start.gradients, start.rates, strict=True)):
        rows.g.copy_(padded(g, layout))
        rules.step(torch.tensor([rate]), torch.tensor([step]))
        for i, rule in enumerate(source.rules):
            got = rows.w[i, : layout.total].numpy()
            if source.phases[rule] == 1:
                assert units(got, expected[step, i]).max() == 0, str(programs[i])
            else:
                np.testing.assert_allclose(got, expected[step, i], rtol=1e-6, atol=1e-7, err_msg=str(programs[i]))


@pytest.mark.skipif(shutil.which("nvcc") is None, reason="no CUDA compiler (nvcc) on this machine")
def test_nvcc_compiles_the_source(tmp_path: Path) -> None:
    """Every function, in machine code for a GPU that need not be there; without a warning."""
    programs = [case_program(*case) for case in kind_cases() if TREE in case[1]]
    (tmp_path / "kernel.cu").write_text(Source(Skeletons(programs)).text(CUDA))
    command = ["nvcc", "-cubin", "-arch=sm_90", *cuda.OPTIONS, "-o", tmp_path / "kernel.cubin", tmp_path / "kernel.cu"]
    done = call(*command)
    assert done.code == 0 and "warning" not in done.err, done.err


needs_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device on this machine")


def cuda_weights(programs: list[Program], start: Trajectory, alive: list[int]) -> np.ndarray:
    """[steps, R, P] the weights after each step on the GPU."""
    layout, source = layout_of(), Source(Skeletons(programs))
    rows = zero_rows(len(programs), start.w, layout)
    rows = type(rows)(*(buffer.cuda() for buffer in rows))
    mask = torch.tensor(alive, dtype=torch.uint8, device="cuda")
    rules = batch.FusedRules(source, range(len(programs)), layout, rows, mask, cuda.compiled(source))
    weights = []
    for step, (g, rate) in enumerate(zip(start.gradients, start.rates, strict=True)):
        rows.g.copy_(padded(g, layout))
        rules.step(torch.tensor([rate], device="cuda"), torch.tensor([step], device="cuda"))
        weights.append(rows.w[:, : layout.total].cpu().numpy())
    return np.array(weights)


@needs_cuda
def test_a_gpu_agrees_with_numpy_over_steps() -> None:
    """The zoo and a program with reductions; to the last bit where all functions are rounded correctly."""
    programs, start = (
        [*(zoo.load(name) for name in zoo.names()), parse(REDUCING)],
        trajectory(1, steps=20, dtype=np.float32),
    )
    got = cuda_weights(programs, start, [1] * len(programs))
    for i, program in enumerate(programs):
        expected = reference_weights(program, start)
        if all(s.function in EXACT for s in program.statements):
            np.testing.assert_array_equal(got[:, i], expected, err_msg=str(program))
        np.testing.assert_allclose(got[:, i], expected, rtol=2e-5, atol=1e-6, err_msg=str(program))


@needs_cuda
def test_a_gpu_leaves_masked_rows_and_repeats_itself() -> None:
    programs, start = mixed(), trajectory(2, steps=4, dtype=np.float32)
    alive = [int(i % 3 != 1) for i in range(len(programs))]
    first, second = (cuda_weights(programs, start, alive) for _ in range(2))
    np.testing.assert_array_equal(first, second)
    assert all(np.array_equal(first[-1, i], start.w) for i in range(len(programs)) if not alive[i])


def test_a_source_is_compiled_once_and_unloaded_after_many_others(monkeypatch: pytest.MonkeyPatch) -> None:
    """With a stand-in for the compiler, which needs a GPU."""
    compiled: list[str] = []
    unloaded: list[str] = []
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda: (9, 0))
    monkeypatch.setattr(torch.cuda, "_compile_kernel", lambda text, *_, **__: compiled.append(text) or text)
    monkeypatch.setattr(cuda, "_unload", unloaded.append)
    monkeypatch.setattr(cuda, "_kernels", {})
    sources = [Source(Skeletons([parse("update = g * 1.0\n" + "update = tanh(update)\n" * n)])) for n in range(40)]
    for source in sources[:32]:
        cuda.compiled(source)
    cuda.compiled(sources[0])
    assert (len(compiled), unloaded) == (32, [])
    cuda.compiled(sources[32])
    assert unloaded == [compiled[1]], "the one used longest ago"
    cuda.compiled(sources[0])
    assert len(compiled) == 33
