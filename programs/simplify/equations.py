r"""A program as LaTeX: what one step computes, time as an index, hyperparameters by their names.

Values that are used once stand where they are used, the others have equations of their own. The learning rate is
$\eta_t$, its peak $\eta$ times the value of the schedule; steps count from $t = 1$ to $T$, and the weights move by
$w_{t+1} = w_t - u_t$.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from typing import NamedTuple

from programs.export.named_constants import named_constants
from programs.graph import LR, G, M, V, W
from programs.liveness import live
from programs.lowering import lower
from programs.program import Program

_INPUTS = {W: "w_t", G: "g_t", M: "m_{t-1}", V: "v_{t-1}"}
_GREEK = {
    "beta": r"\beta",
    "weight_decay": r"\lambda",
    "momentum": r"\mu",
    "max_norm": r"\theta",
    "eps": r"\varepsilon",
}
_SUM, _PRODUCT, _PREFIX, _ATOM = range(4)  # how tightly an expression holds together

_TEMPLATES = {
    "add": ("{0} + {1}", _SUM, (_SUM, _SUM)),
    "sub": ("{0} - {1}", _SUM, (_SUM, _PRODUCT)),
    "mul": (r"{0} \cdot {1}", _PRODUCT, (_PRODUCT, _PRODUCT)),
    "div": (r"\frac{{{0}}}{{{1} + 10^{{-8}}}}", _ATOM, (_SUM, _SUM)),
    "negative": ("-{0}", _SUM, (_PRODUCT,)),
    "reciprocal": (r"\frac{{1}}{{{0}}}", _ATOM, (_SUM,)),
    "square": ("{0}^{{2}}", _PREFIX, (_ATOM,)),
    "cube": ("{0}^{{3}}", _PREFIX, (_ATOM,)),
    "power": ("{0}^{{{1}}}", _PREFIX, (_ATOM, _SUM)),
    "sqrt": (r"\sqrt{{\left|{0}\right|}}", _ATOM, (_SUM,)),
    "cbrt": (r"\sqrt[3]{{{0}}}", _ATOM, (_SUM,)),
    "abs": (r"\left|{0}\right|", _ATOM, (_SUM,)),
    "exp": ("e^{{{0}}}", _PREFIX, (_SUM,)),
    "exp2": ("2^{{{0}}}", _PREFIX, (_SUM,)),
    "exp10": ("10^{{{0}}}", _PREFIX, (_SUM,)),
    "expm1": ("e^{{{0}}} - 1", _SUM, (_SUM,)),
    "log": (r"\ln\left|{0}\right|", _PREFIX, (_SUM,)),
    "log2": (r"\log_2\left|{0}\right|", _PREFIX, (_SUM,)),
    "log10": (r"\log_{{10}}\left|{0}\right|", _PREFIX, (_SUM,)),
    "log1p": (r"\ln\left|1 + {0}\right|", _PREFIX, (_SUM,)),
    "norm": (r"\left\lVert {0} \right\rVert_{{\mathrm{{leaf}}}}", _ATOM, (_SUM,)),
    "global_norm": (r"\left\lVert {0} \right\rVert", _ATOM, (_SUM,)),
    "dot": (r"\left\langle {0}, {1} \right\rangle", _ATOM, (_SUM, _SUM)),
    "interp": ("(1 - {2})\\,{0} + {2}\\,{1}", _SUM, (_PREFIX, _PREFIX, _ATOM)),
    "get_step": ("t", _ATOM, ()),
    "get_steps": ("T", _ATOM, ()),
    "get_pi": (r"\pi", _ATOM, ()),
    "get_e": ("e", _ATOM, ()),
}
_SHORT = 10  # characters of an expression that is written again rather than given a name
_PLAIN_NAMES = {"maximum": "max", "minimum": "min"}


class _Text(NamedTuple):
    """An expression in LaTeX, and how tightly it holds together."""

    latex: str
    binding: int

    def within(self, binding: int) -> str:
        """Return the expression, in brackets where the place asks for more."""
        return self.latex if self.binding >= binding else rf"\left({self.latex}\right)"


def equations(program: Program) -> str:
    r"""Return the live statements of a program as LaTeX: an `aligned` block and the values of hyperparameters.

    Args:
        program: a checked program; names of constants are those of its export.
    """
    writer = _Equations(program)
    rows = [*writer.rows(), r"w_{t+1} &= w_t - u_t"]
    lines = [r"\begin{aligned}", *(f"{row} \\\\" for row in rows[:-1]), rows[-1], r"\end{aligned}"]
    return "\n".join([*lines, *writer.values()])


class _Equations:
    def __init__(self, program: Program) -> None:
        self._flow = program.dataflow
        self._alive, self._states = live(self._flow)
        self._rule = lower(program)
        named = named_constants(self._rule)
        self._names = {n: constant.name for n, constant in named.items() if n != self._rule.steps}
        self._texts = {n: _Text(latex, _ATOM) for n, latex in _INPUTS.items()}
        for slot in (M, V):
            if slot not in self._states:
                self._texts[slot] = _Text("0", _ATOM)
        self._texts[LR] = _Text(r"\eta_t" if self._rule.lr == 1.0 else "s_t", _ATOM)

    def rows(self) -> list[str]:
        """Return `symbol &= expression` for outputs, and for whatever is used more than once."""
        uses = Counter(a for n in self._alive for a in self._flow.nodes[n].args)
        named = {n: {M: "m_t", V: "v_t"}[slot] for slot, n in self._states.items()}
        extra = 0
        rows = []
        for n in self._alive:
            if not self._flow.nodes[n].is_call:
                continue
            text = self._expression(n)
            symbol = named.get(n)
            if symbol is None and uses[n] > 1 and len(text.latex) > _SHORT:
                extra += 1
                symbol = f"x_{{{extra},t}}"
            if symbol is not None:
                rows.append(f"{symbol} &= {text.latex}")
                text = _Text(symbol, _ATOM)
            self._texts[n] = text
        return [*rows, f"u_t &= {self._texts[self._flow.update].latex}"]

    def _expression(self, n: int) -> _Text:
        value, node = self._rule.of_node[n], self._flow.nodes[n]
        if value == LR:
            return _Text(r"\eta_t", _ATOM)
        if value in self._rule.constants and value != self._rule.steps:
            return self._constant(value)
        return _call(node.function, [self._argument(a) for a in node.args])

    def _argument(self, n: int) -> _Text:
        return self._constant(self._rule.of_node[n]) if self._flow.nodes[n].is_constant else self._texts[n]

    def _constant(self, value: int) -> _Text:
        name = self._names.get(value)
        return _number(self._rule.constants[value]) if name is None else _Text(_symbol(name), _ATOM)

    def values(self) -> list[str]:
        """Return the line that gives the hyperparameters their values, if there are any."""
        shown = list({_symbol(name): self._rule.constants[n] for n, name in self._names.items()}.items())
        if self._rule.is_read(LR) and self._rule.lr != 1.0:
            shown.insert(0, (r"\eta_t = s_t \cdot \eta,\ \eta", self._rule.lr))
        text = r",\quad ".join(f"{symbol} = {_number(value).latex}" for symbol, value in shown)
        return [rf"\qquad {text}"] if text else []


def _call(function: str, args: list[_Text]) -> _Text:
    if function == "mul":  # numbers and hyperparameters first
        args = sorted(
            args, key=lambda a: not re.match(r"-?\d|\\(beta|lambda|mu|theta|varepsilon|eta)(?![a-z])|c_\{", a.latex)
        )
    if function == "add" and args[1].latex.startswith("-"):  # a sum with what has a sign of its own
        return _Text(f"{args[0].latex} {args[1].latex}", _SUM)
    if function in _TEMPLATES:
        template, binding, places = _TEMPLATES[function]
        return _Text(template.format(*(a.within(p) for a, p in zip(args, places, strict=True))), binding)
    name = _PLAIN_NAMES.get(function, function.replace("_", r"\_"))
    inside = ", ".join(a.latex for a in args)
    return _Text(rf"\operatorname{{{name}}}\left({inside}\right)", _ATOM)


def _symbol(name: str) -> str:
    """Return the LaTeX of a name: beta2 becomes \\beta_{2}."""
    base, number = re.fullmatch(r"(\w*?)(\d*)", name).groups()  # type: ignore[union-attr]
    latex = _GREEK.get(base, base.replace("_", r"\_"))
    return latex + (f"_{{{number}}}" if number else "")


def _number(value: float) -> _Text:
    if not math.isfinite(value):
        return _Text(r"\mathrm{nan}" if math.isnan(value) else r"\infty" if value > 0 else r"-\infty", _ATOM)
    mantissa, _, exponent = repr(value).partition("e")
    mantissa = mantissa.removesuffix(".0")
    if not exponent:
        return _Text(mantissa, _ATOM if value >= 0 else _SUM)
    factor = "" if mantissa == "1" else rf"{mantissa} \cdot "
    return _Text(rf"{factor}10^{{{int(exponent)}}}", _PRODUCT if value >= 0 else _SUM)
