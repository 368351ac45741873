r"""A program as LaTeX: what one step computes, time as an index, hyperparameters by their names.

Values that are used once stand where they are used, the others have equations of their own. The learning rate is
$\eta_t$, its peak $\eta$ times the value of the schedule; the weights move by $w_{t+1} = w_t - u_t$.
"""

from __future__ import annotations

import math
import re
from typing import NamedTuple

from programs.dataflow import LR, N_INPUTS, G, M, V, W
from programs.export.lowering import Rule, lower
from programs.export.naming import hyperparameters
from programs.liveness import live
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
        """In brackets where the place asks for more."""
        return self.latex if self.binding >= binding else rf"\left({self.latex}\right)"


def equations(program: Program) -> str:
    r"""The live statements of a program as LaTeX, an `aligned` block followed by the values of the hyperparameters.

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
        self._nodes, self._slots = live(self._flow)
        self._rule: Rule = lower(program)
        self._hypers = {n: h.name for n, h in hyperparameters(self._rule).items()}
        self._texts: dict[int, _Text] = {n: _Text(_INPUTS.get(n, r"s_t"), _ATOM) for n in range(N_INPUTS)}
        for slot in (M, V):
            if slot not in self._slots:
                self._texts[slot] = _Text("0", _ATOM)
        self._texts[LR] = _Text(r"\eta_t" if self._rule.lr == 1.0 else "s_t", _ATOM)
        following = {M: self._flow.m, V: self._flow.v}
        self._named = {following[slot]: {M: "m_t", V: "v_t"}[slot] for slot in self._slots}

    def rows(self) -> list[str]:
        """`symbol &= expression` for outputs, and for whatever is used more than once."""
        uses = self._uses()
        extra = 0
        rows = []
        for node in self._nodes:
            if node < N_INPUTS:
                continue
            text = self._expression(node)
            symbol = self._named.get(node)
            if symbol is None and uses[node] > 1 and len(text.latex) > _SHORT:
                extra += 1
                symbol = f"x^{{({extra})}}_t"
            if symbol is not None:
                rows.append(f"{symbol} &= {text.latex}")
                text = _Text(symbol, _ATOM)
            self._texts[node] = text
        return [*rows, f"u_t &= {self._texts[self._flow.update].latex}"]

    def _uses(self) -> dict[int, int]:
        uses = dict.fromkeys(self._nodes, 0)
        for node in self._nodes:
            for arg in self._flow.args[node - N_INPUTS] if node >= N_INPUTS else ():
                if type(arg) is int:
                    uses[arg] += 1
        return uses

    def _expression(self, node: int) -> _Text:
        value = self._rule.of_node[node]
        if value == LR and node != LR:
            return _Text(r"\eta_t", _ATOM)
        if value in self._rule.constants:
            return self._constant(value)
        function = self._flow.ops[node - N_INPUTS].name
        literals = iter(self._rule.literals[node])
        args = [
            self._constant(next(literals)) if type(arg) is float else self._texts[int(arg)]
            for arg in self._flow.args[node - N_INPUTS]
        ]
        return _call(function, args)

    def _constant(self, value: int) -> _Text:
        name = self._hypers.get(value)
        return _number(self._rule.constants[value]) if name is None else _Text(_symbol(name), _ATOM)

    def values(self) -> list[str]:
        """The line that gives the hyperparameters their values, if there are any."""
        shown = [(_symbol(name), self._rule.constants[n]) for n, name in self._hypers.items()]
        if self._rule.is_read(LR) and self._rule.lr != 1.0:
            shown.insert(0, (r"\eta_t = s_t \cdot \eta,\ \eta", self._rule.lr))
        text = r",\quad ".join(f"{symbol} = {_number(value).latex}" for symbol, value in shown)
        return [rf"\qquad {text}"] if text else []


def _call(function: str, args: list[_Text]) -> _Text:
    if function == "mul":  # numbers and hyperparameters first
        args = sorted(
            args, key=lambda a: not re.match(r"-?\d|\\(beta|lambda|mu|theta|varepsilon|eta)(?![a-z])|c_\{", a.latex)
        )
    if function in _TEMPLATES:
        template, binding, places = _TEMPLATES[function]
        return _Text(template.format(*(a.within(p) for a, p in zip(args, places, strict=True))), binding)
    name = _PLAIN_NAMES.get(function, function.replace("_", r"\_"))
    inside = ", ".join(a.latex for a in args)
    return _Text(rf"\operatorname{{{name}}}\left({inside}\right)", _ATOM)


def _symbol(name: str) -> str:
    """beta2 as \\beta_{2}."""
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
