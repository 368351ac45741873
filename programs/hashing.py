"""Keys under which programs are the same program.

`dataflow_hash` walks the live graph with hashes in place of values. Names, order, dead statements and the order of
commutative arguments leave no trace in it; neither does which of the two state slots holds which state. Any change of a
live function, argument or constant does.

`structure_hash` is the same with all constants left open, so that numbers, which are tuned, leave no trace either. Here
it counts where each of them is read: Lion interpolates twice, with two coefficients, and Signum once.
"""

from __future__ import annotations

import struct
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from functools import lru_cache
from hashlib import blake2b
from typing import NamedTuple

from programs.graph import CONSTANT, LR, Dataflow, G, M, V, W
from programs.liveness import Liveness, live
from programs.ops import OPS, USER, digest
from programs.program import Program

DIGEST = 16  # bytes: with 10^9 programs the chance of any collision is below 10^-20


def _digest(data: bytes) -> bytes:
    return blake2b(data, digest_size=DIGEST).digest()


@lru_cache(maxsize=65_536)
def _constant(packed: bytes) -> bytes:  # of bytes, since 0.0 == -0.0 and programs can tell them apart
    return _digest(b"constant" + packed)


_pack = struct.Struct("<d").pack


_W, _G, _LR, _ZERO, _STATE_A, _STATE_B, _OPEN = (
    _digest(name) for name in (b"w", b"g", b"lr", b"zero", b"state a", b"state b", b"open constant")
)


class _Tags(dict[str, bytes]):
    """What stands for a function in keys."""

    def __missing__(self, function: str) -> bytes:
        op = OPS[function]
        text = f"{function} {digest(op)}|" if op.set == USER else f"{function}|"
        return self.setdefault(function, text.encode())


_TAGS = _Tags()


def dataflow_hash(program: Program) -> str:
    """Return the 128-bit canonical key of the live dataflow, as 32 hex digits."""
    return _least(program, lambda view: view.root(view.digests()))


def structure_hash(program: Program) -> str:
    """Return the 128-bit key of the live dataflow with its constants left open, as 32 hex digits.

    Two programs are of one structure where they differ only in the values of live constants. Every place where a
    constant stands is one of its own: a program that writes 0.9 twice has two constants, and not the structure of one
    in which what reads them is computed once.

    What would be alike with all constants the same is told apart by what reads it, as in one round of colour refinement
    (Weisfeiler and Leman, 1968). Some regular graphs of six or more such values, alike in all they read and are read
    by, are not told apart.
    """
    return _least(program, _structure)


class _View(NamedTuple):
    """A live dataflow in which the state slots `first` and `second` are called a and b; -1 is none."""

    flow: Dataflow
    liveness: Liveness
    first: int = -1
    second: int = -1

    def digests(self, constants: Mapping[int, bytes] | None = None) -> dict[int, bytes]:
        """Return the hash of each live node; those of the constants may be given by their numbers."""
        values = {W: _W, G: _G, LR: _LR, M: _ZERO, V: _ZERO, self.first: _STATE_A, self.second: _STATE_B}
        if constants is not None:
            values |= constants
        nodes = self.flow.nodes
        for number in self.liveness.nodes:
            function, args, _, value = nodes[number]
            if args:
                digests = [values[a] for a in args]
                if OPS[function].commutative:
                    digests.sort()
                values[number] = blake2b(_TAGS[function] + b"".join(digests), digest_size=DIGEST).digest()
            elif number not in values:
                values[number] = _constant(_pack(value)) if function == CONSTANT else _digest(_TAGS[function])
        return values

    def root(self, values: Mapping[int, bytes]) -> bytes:
        """Return the hash of (update, next first state, next second state)."""
        return _digest(b"".join(values[number] for number in self.outputs()))

    def outputs(self) -> list[int]:
        """Return the nodes of the update and of the next first and second state."""
        states = self.liveness.states
        return [self.flow.update, *(states[slot] for slot in (self.first, self.second) if slot >= 0)]


def _least(program: Program, key: Callable[[_View], bytes]) -> str:
    """Return the key of a program, the least over both ways to call its states."""
    flow = program.dataflow
    liveness = live(flow)
    states = tuple(liveness.states)
    if len(states) < 2:
        return key(_View(flow, liveness, *states)).hex()
    return min(key(_View(flow, liveness, M, V)), key(_View(flow, liveness, V, M))).hex()


def _structure(view: _View) -> bytes:
    nodes = view.flow.nodes
    constants = [n for n in view.liveness.nodes if nodes[n].is_constant]
    calls = [n for n in view.liveness.nodes if nodes[n].is_call]
    opened = view.digests(dict.fromkeys(constants, _OPEN))
    key = view.root(opened)
    if len({opened[n] for n in calls}) == len(calls):
        return key
    own = view.digests({n: _digest(b"constant %d" % n) for n in constants})
    different = sorted({own[n]: n for n in reversed(calls)}.values(), reverse=True)  # of equal ones the first
    if len({opened[n] for n in different}) == len(different):
        return key
    seats = _seats(view, different, own, opened)
    return _digest(key + view.root(view.digests({n: seats[own[n]] for n in constants})))


def _seats(
    view: _View, calls: Iterable[int], own: Mapping[int, bytes], opened: Mapping[int, bytes]
) -> dict[bytes, bytes]:
    """Return a hash of all that reads a value, now and through others, for each by the hash of its own.

    The calls come in descending order, so that all that reads a value comes before it.
    """
    entries = defaultdict[bytes, list[bytes]](list)
    for place, output in enumerate(view.outputs()):
        entries[own[output]].append(_digest(b"output %d" % place))
    for number in calls:
        function, args, _, _ = view.flow.nodes[number]
        seat = _digest(b"".join(sorted(entries[own[number]])))
        for place, arg in enumerate(args):
            side = b"" if OPS[function].commutative else b"%d" % place
            entries[own[arg]].append(_digest(seat + opened[number] + side))
    return {value: _digest(b"".join(sorted(readers))) for value, readers in entries.items()}
