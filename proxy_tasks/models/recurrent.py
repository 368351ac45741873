"""Recurrent layers, step by step out of products: what torch's fused ones compute, for a replica axis."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.nn import functional

State = tuple[Tensor, ...]
"""What a cell hands to its next step: h `[B, H]`, and c of an LSTM."""


def _lstm(x: Tensor, h: Tensor, state: State) -> State:
    """`x`, `h`: the gates' inputs from the sample and from the state, [B, 4 H]: input, forget, cell, output."""
    gates = x + h
    _, _, cell, _ = gates.chunk(4, -1)
    taken, kept, _, shown = gates.sigmoid().chunk(4, -1)
    c = torch.addcmul(kept * state[1], taken, cell.tanh())
    return shown * c.tanh(), c


def _gru(x: Tensor, h: Tensor, state: State) -> State:
    """`x`, `h`: the same, [B, 3 H]: reset, update, new."""
    x_new, h_new = x.chunk(3, -1)[2], h.chunk(3, -1)[2]
    reset, update, _ = (x + h).sigmoid().chunk(3, -1)
    return (torch.lerp(torch.addcmul(x_new, reset, h_new).tanh(), state[0], update),)


def _tanh(x: Tensor, h: Tensor, _: State) -> State:
    return (torch.tanh(x + h),)


def _relu(x: Tensor, h: Tensor, _: State) -> State:
    return (torch.relu(x + h),)


CELLS: dict[str, Callable[[Tensor, Tensor, State], State]] = {
    "lstm": _lstm, "gru": _gru, "rnn_tanh": _tanh, "rnn_relu": _relu,
}  # fmt: skip


def recurrent(
    kind: str, drop: Callable[[Tensor], Tensor], x: Tensor, start: Tensor | State, weights: Sequence[Tensor],
    has_biases: bool, layers: int, bidirectional: bool, batch_first: bool,
) -> tuple[Tensor, ...]:  # fmt: skip
    """Compute recurrent layers as the function of torch called `kind` does.

    Args:
        kind: one of `CELLS`.
        drop: applied to the output of every layer but the last.
        x: `[T, B, I]`, or `[B, T, I]` with `batch_first`, or without B.
        start: the states before the first step, `[layers * directions, B, H]`; h and c of an LSTM.
        weights: of each layer and direction W_ih, W_hh, b_ih and b_hh with biases, and W_hr where h is projected.
        has_biases: whether there are biases.
        layers: the number of layers.
        bidirectional: whether each layer has a direction from the end, too.
        batch_first: see `x`.

    Returns:
        The outputs, arranged as `x`, and the last states, arranged as `start`.
    """
    h = x.transpose(0, 1) if batch_first and x.dim() == 3 else x  # [T, B, I]
    directions = 2 if bidirectional else 1
    starts = [tuple(s.unbind(0)) for s in (start if isinstance(start, tuple | list) else (start,))]
    each = len(weights) // (layers * directions)
    ends: list[State] = []
    for layer in range(layers):
        outputs = []
        for direction in range(directions):
            number = len(ends)
            state = tuple(s[number] for s in starts)
            of_layer = weights[number * each : (number + 1) * each]
            output, end = _layer(CELLS[kind], h.flip(0) if direction else h, state, of_layer, has_biases)
            outputs.append(output.flip(0) if direction else output)
            ends.append(end)
        h = torch.cat(outputs, -1) if bidirectional else outputs[0]
        h = drop(h) if layer < layers - 1 else h
    h = h.transpose(0, 1) if batch_first and x.dim() == 3 else h
    return (h, *(torch.stack(parts) for parts in zip(*ends, strict=True)))


def _layer(
    cell: Callable[[Tensor, Tensor, State], State], x: Tensor, state: State, weights: Sequence[Tensor], has_biases: bool
) -> tuple[Tensor, State]:
    """Return the outputs of one layer in one direction, and its last state. `x`: [T, B, I]."""
    w_x, w_h, *others = weights
    b_x, b_h = (others.pop(0), others.pop(0)) if has_biases else (None, None)
    outputs = []
    for now in functional.linear(x, w_x, b_x).unbind(0):
        state = cell(now, functional.linear(state[0], w_h, b_h), state)
        if others:
            state = functional.linear(state[0], others[0]), *state[1:]
        outputs.append(state[0])
    return torch.stack(outputs), state


def cell(
    kind: str, x: Tensor, start: Tensor | State, w_x: Tensor, w_h: Tensor,
    b_x: Tensor | None = None, b_h: Tensor | None = None,
) -> Tensor | State:  # fmt: skip
    """Compute one step as the function of torch called `kind` with `_cell` does."""
    state = start if isinstance(start, tuple | list) else (start,)
    end = CELLS[kind](functional.linear(x, w_x, b_x), functional.linear(state[0], w_h, b_h), tuple(state))
    return end if kind == "lstm" else end[0]
