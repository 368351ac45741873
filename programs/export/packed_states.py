"""States of generated optimizers in 8 bits: what the file needs for it, where a rule has states that can be kept so."""

from __future__ import annotations

from collections.abc import Iterator

from programs.export.parts import Parts
from programs.graph import INPUTS
from programs.quantization import SMALLEST, exported_source

_OPENED = '''
def _opened(
    state: dict[str, Any], name: str, unsigned: bool, dtype: torch.dtype, opened: list[tuple[Any, ...]]
) -> Tensor:
    """A state to compute with; of 8 bits, the numbers that they stand for, which are then added to `opened`."""
    if f"{name}_scales" not in state:
        return _vector(state[name])
    codes = state[name]
    x = _dequantize(codes.flatten(), state[f"{name}_scales"], unsigned).view(codes.shape).to(dtype)
    opened.append((state, name, unsigned, x))
    return x
'''
_CLOSE = '''
def _close(opened: list[tuple[Any, ...]]) -> None:
    """Put states that were opened back into 8 bits."""
    for state, name, unsigned, x in opened:
        codes, scales = _quantize(x.flatten(), unsigned)
        state[name].copy_(codes.view(x.shape))
        state[f"{name}_scales"].copy_(scales)
'''


def packing_functions(parts: Parts) -> Iterator[str]:
    """Yield the functions of the file that states in 8 bits need."""
    if parts.packable:
        yield from (exported_source(), _OPENED, _CLOSE)


def packing_checks(parts: Parts) -> Iterator[str]:
    """Yield the lines that check the arguments of the class."""
    if parts.packable:
        yield "if state_bits not in (None, 8):"
        yield '    raise ValueError(f"Invalid state_bits value: {state_bits}")'
        yield "if state_bits and differentiable:"
        yield '    raise ValueError("state_bits and differentiable cannot both be set")'


def refuse_shards(parts: Parts) -> Iterator[str]:
    """Yield the lines that refuse a parameter of which this process has a part."""
    if parts.packable:
        yield 'if group["state_bits"] and hasattr(p, "placements"):'
        yield '    raise RuntimeError("state_bits=8 needs whole parameters, and this one is sharded: use state_dtype")'


def pack_new_states(parts: Parts) -> Iterator[str]:
    """Yield the lines that put new states into 8 bits, if they are to be."""
    if parts.packable:
        names = ", ".join(f'("{INPUTS[slot]}", {unsigned})' for slot, unsigned in parts.packable.items())
        yield f'if group["state_bits"] == 8 and like.numel() >= {SMALLEST}:'
        yield f"    for name, unsigned in ({names}{',' * (len(parts.packable) == 1)}):"
        yield '        codes, state[f"{name}_scales"] = _quantize(state[name].flatten(), unsigned)'
        yield "        state[name] = codes.view(like.shape)"


def read_state(parts: Parts, slot: int) -> str:
    """Return the line that adds a state of a parameter to those that a step computes with."""
    name = INPUTS[slot]
    if slot not in parts.packable:
        return f'{name}s.append(_vector(state["{name}"]))'
    return f'{name}s.append(_opened(state, "{name}", {parts.packable[slot]}, dtype, opened))'
