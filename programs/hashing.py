"""Keys under which programs are the same program.

`dataflow_hash` walks the live graph with hashes in place of values. Names, order, dead statements and the order of
commutative arguments leave no trace in it; neither does which of the two state slots holds which state. Any change of a
live function, argument or constant does.
"""

from __future__ import annotations

import struct
from functools import lru_cache
from hashlib import blake2b

from programs.graph import CONSTANT, LR, Dataflow, G, M, V, W
from programs.liveness import Liveness, live
from programs.ops import OPS, user_definitions
from programs.program import Program

DIGEST = 16  # bytes: with 10^9 programs the chance of any collision is below 10^-20


def _digest(data: bytes) -> bytes:
    return blake2b(data, digest_size=DIGEST).digest()


@lru_cache(maxsize=65_536)
def _constant(packed: bytes) -> bytes:  # of bytes, since 0.0 == -0.0 and programs can tell them apart
    return _digest(b"constant" + packed)


_pack = struct.Struct("<d").pack


_W, _G, _LR, _ZERO, _STATE_A, _STATE_B = (
    _digest(name) for name in (b"w", b"g", b"lr", b"zero", b"state a", b"state b")
)


def _tag(function: str) -> bytes:
    definition = user_definitions().get(function)
    return f"{function}|".encode() if definition is None else f"{function} {definition}|".encode()


_TAGS = {name: _tag(name) for name in OPS}


def dataflow_hash(program: Program) -> str:
    """Return the 128-bit canonical key of the live dataflow, as 32 hex digits."""
    flow = program.dataflow
    liveness = live(flow)
    states = tuple(liveness.states)
    if len(states) < 2:
        return _walk(flow, liveness, *states).hex()
    return min(_walk(flow, liveness, M, V), _walk(flow, liveness, V, M)).hex()


def _walk(flow: Dataflow, liveness: Liveness, first: int = -1, second: int = -1) -> bytes:
    """Return the hash of (update, next first state, next second state); the states are called a and b, -1 is none."""
    values = {W: _W, G: _G, LR: _LR, M: _ZERO, V: _ZERO, first: _STATE_A, second: _STATE_B}
    nodes, states = flow.nodes, liveness.states
    for number in liveness.nodes:
        function, args, _, value = nodes[number]
        if args:
            digests = [values[a] for a in args]
            if OPS[function].commutative:
                digests.sort()
            values[number] = blake2b(_TAGS[function] + b"".join(digests), digest_size=DIGEST).digest()
        elif function == CONSTANT:
            values[number] = _constant(_pack(value))
        elif number not in values:
            values[number] = _digest(_TAGS[function])
    return _digest(values[flow.update] + b"".join(values[states[slot]] for slot in (first, second) if slot >= 0))
