"""Under which key a program's evaluations are kept."""

from __future__ import annotations

from typing import NamedTuple

from programs.fingerprint import fingerprint
from programs.hashing import dataflow_hash
from programs.program import Program

from proxy_tasks.torch_optimizers import TorchOptimizer

from search.settings.settings import Dedup
from search.training.service import Candidate


class Identity(NamedTuple):
    """`key`: of the program's evaluations. `rejection`: why it need not be trained, if so."""

    key: str
    rejection: str | None


def identify(program: Program, dataflow_key: str, dedup: Dedup) -> Identity:
    """The fingerprint, or the dataflow hash where fingerprints are off.

    Args:
        program: a checked program.
        dataflow_key: its `dataflow_hash`, which callers have at hand.
        dedup: the settings that decide.
    """
    if not dedup.fingerprint:
        return Identity(dataflow_key, None)
    key, rejection = fingerprint(program, dedup.bits)
    return Identity(key, rejection)


def candidate(program: Program | TorchOptimizer, dedup: Dedup) -> Candidate:
    """The program, or optimizer of torch, with the key of its evaluations."""
    if isinstance(program, TorchOptimizer):
        return Candidate(program.key, program)
    return Candidate(identify(program, dataflow_hash(program), dedup).key, program)
