"""Fused update rules without a GPU: what compiling them takes, and their speed in C beside torch's.

    python -m scripts.bench.kernels [STORE SEARCH BIRTH ...] [--programs 64] [--rounds 20] [--nvrtc LIBRARY]

Candidates are a few mutations away from AdamW; if a store is given, also those that a search trained from each given
birth on. Times are processor seconds, the shortest of several. The source is compiled by cc, by nvcc where it is
installed, and with --nvrtc (the path of libnvrtc.so, which needs no GPU) as a process with a GPU compiles it: whole,
and in parts side by side, both also in seconds of wall time. A step of the kernels in C is timed in turn with a step of
the same programs by torch, on one core each; "AdamW" is one rule with many constants.
"""

from __future__ import annotations

import argparse
import ctypes
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import Executor, ThreadPoolExecutor
from functools import partial
from pathlib import Path
from random import Random

import torch

from programs import Program, Statement, zoo
from programs.kernels import c, cuda
from programs.kernels.batch import FusedRules
from programs.kernels.source import CUDA, C, Source
from programs.layout import Layout
from programs.run.batched import Rows, UpdateRules
from programs.run.sharing import Skeletons, share

from proxy_tasks import configure_process, get_task
from proxy_tasks.cuda import PART_LENGTH, shared_out

from scripts.bench.candidates import near_adamw, shortest_steps, trained_programs

ARCHITECTURE = "sm_90"
REPEATS = 3  # of each compilation
LARGE = Layout.of_shapes([(256, 256), (256,)] * 4)


def with_constants(program: Program, number: int) -> list[Program]:
    """Return the program `number` times with different constants, as in a tuning grid."""
    rng = Random(0)

    def vary(s: Statement) -> Statement:
        return s._replace(args=tuple(a if isinstance(a, str) else a * rng.uniform(0.5, 1.0) for a in s.args))

    return [Program(tuple(vary(s) for s in program.statements)) for _ in range(number)]


def seconds(function: Callable[[], object]) -> float:
    """Return the processor time of a call, in this process and in those that it waits for."""
    before = os.times()[:4]
    function()
    return sum(os.times()[:4]) - sum(before)


def clocked(function: Callable[[], object]) -> float:
    """Return the wall time of a call."""
    started = time.perf_counter()
    function()
    return time.perf_counter() - started


def compile_with_nvrtc(library: ctypes.CDLL, text: str) -> None:
    """Compile to machine code as `torch.cuda._compile_kernel` does."""
    program = ctypes.c_void_p()
    options = [f"--gpu-architecture={ARCHITECTURE}".encode(), *(option.encode() for option in cuda.OPTIONS)]
    library.nvrtcCreateProgram(ctypes.byref(program), text.encode(), b"rules.cu", 0, None, None)
    if library.nvrtcCompileProgram(program, len(options), (ctypes.c_char_p * len(options))(*options)):
        raise RuntimeError("NVRTC refused the source")
    library.nvrtcDestroyProgram(ctypes.byref(program))


def compile_all(pool: Executor, library: ctypes.CDLL, texts: list[str]) -> None:
    """Compile texts side by side."""
    list(pool.map(partial(compile_with_nvrtc, library), texts))


def compilation(title: str, programs: list[Program], nvrtc: ctypes.CDLL | None) -> None:
    """Time each compiler that is there and print the shortest times."""
    source = Source(Skeletons(programs))
    text = source.text(CUDA)
    compilers: dict[str, Callable[[], object]] = {"generated": lambda: Source(Skeletons(programs)).text(CUDA)}
    with tempfile.TemporaryDirectory() as folder:
        file, out = Path(folder, "rules.cu"), Path(folder, "out")
        file.write_text(text)
        Path(folder, "rules.c").write_text(source.text(C))
        commands = {
            "cc": [*c.COMMAND, "-o", out, Path(folder, "rules.c"), "-lm"],
            "nvcc": ["nvcc", "-w", "-cubin", f"-arch={ARCHITECTURE}", *cuda.OPTIONS, "-o", out, file],
        }
        for name, command in commands.items():
            if shutil.which(name):
                compilers[name] = lambda command=command: subprocess.run(command, check=True)  # type: ignore[misc]  # noqa: S603 - made above
        if nvrtc is not None:
            compilers["NVRTC"] = lambda: compile_with_nvrtc(nvrtc, text)
        times = {name: min(seconds(call) for _ in range(REPEATS)) for name, call in compilers.items()}
        if nvrtc is not None:
            parts = [part.text(CUDA) for part, _ in shared_out(Skeletons(programs), PART_LENGTH)]
            with ThreadPoolExecutor(len(parts)) as pool:
                for name, texts in (("wall time", [text]), (f"in {len(parts)} parts", parts)):
                    times[name] = min(clocked(partial(compile_all, pool, nvrtc, texts)) for _ in range(REPEATS))
    print(
        f"{title}: {len(source.phases)} rules, up to {max(source.phases)} phases, {len(text) / 1e3:.0f} kB of source; "
        + ", ".join(f"{name} {t:.3f} s" for name, t in times.items())
    )


def speed(title: str, programs: list[Program], layout: Layout, rounds: int, folder: str) -> None:
    """Time a step by torch and by the kernels, taken in turn from fresh rows."""
    skeletons = Skeletons(programs)
    tree, source = share(skeletons, range(len(programs))), Source(skeletons)
    rows = [Rows(*(torch.empty(len(programs), layout.width) for _ in range(4))) for _ in range(2)]
    alive = torch.ones(len(programs), dtype=torch.bool)
    launch = c.compiled(source, Path(folder))
    steps = (
        UpdateRules(skeletons, tree, layout, rows[0]).step,
        FusedRules(source, tree.programs, layout, rows[1], alive, launch).step,
    )
    best = shortest_steps(steps, rows, rounds)
    torch_, fused = (t * 1e9 / (len(programs) * layout.total) for t in best)
    print(
        f"{title}, R = {len(programs)}, P = {layout.total}: {torch_:.2f} ns for each weight by torch, "
        f"{fused:.2f} ns in C: {torch_ / fused:.2f} times as fast"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("store", nargs="?")
    parser.add_argument("search", nargs="?")
    parser.add_argument("births", nargs="*", type=int)
    parser.add_argument("--programs", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--nvrtc", type=Path)
    options = parser.parse_args()
    configure_process()
    nvrtc = ctypes.CDLL(str(options.nvrtc)) if options.nvrtc else None
    batches = {
        "AdamW": with_constants(zoo.load("adamw"), options.programs),
        "near AdamW": near_adamw(options.programs),
    }
    for birth in options.births if options.store else ():
        batches[f"from birth {birth}"] = trained_programs(options.store, options.search, birth, options.programs)
    for title, programs in batches.items():
        compilation(title, programs, nvrtc)
    with tempfile.TemporaryDirectory() as folder:
        for layout in (get_task("digits_mlp").load()[1].layout, LARGE):
            for title, programs in batches.items():
                speed(title, programs, layout, options.rounds, folder)


if __name__ == "__main__":
    main()
