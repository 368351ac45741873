"""Ordered rewriting against equality saturation, with the same table of rules, on evolved programs.

    pip install egglog
    python -m scripts.record.compare_simplifiers [--programs N] [--seconds S]

The programs are those of tests/programs/equivalence_corpus.json. Five ways to simplify each are compared by the live
statements and state slots that are left, and by the time they take:

- ordered: `programs.simplify` without linear forms and without rules about states, one rule at a time, while it pays;
- saturation: the same rules in an e-graph of the package egglog, with commutativity, associativity, distributivity and
  the meaning of interpolation as rules too, for at most S seconds, then the program of fewest different statements;
- ordered with linear forms and states: `simplify_algebra` as it ships;
- saturation after it, and it after saturation.

Every result is run against the original on sample gradients; one that moves weights differently counts as unchanged.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
import types
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import mean
from typing import Any, NamedTuple

from programs import InputError, Program, live, live_program, parse
from programs.graph import CONSTANT, INPUT, LR, M, V
from programs.ops import OPS
from programs.simplify import simplify_algebra
from programs.simplify.cost import cost, is_simpler
from programs.simplify.evidence import Checker, sample_recordings
from programs.simplify.graph import Graph, KindError, Roots, read, trimmed
from programs.simplify.patterns import NUMBERS, SCALARS, SMALL, Pattern, pattern
from programs.simplify.rewriting import FOLDING, rewritings
from programs.simplify.rules import DOMAIN, ROUNDING, RULES, TAGS, Rule
from programs.simplify.writing import write

try:
    import egglog as egg
except ImportError:
    sys.exit("this comparison needs the package egglog: pip install egglog")

CORPUS = Path(__file__).parents[2] / "tests/programs/equivalence_corpus.json"
INPUT_NAMES = ("w", "g", "m", "v", "lr")
LARGEST_GRAPH = 40_000  # nodes and facts

# --- the language in egglog ----------------------------------------------------------------------------------------


class Value(egg.Expr):
    """A value of a program."""

    @classmethod
    def number(cls, value: egg.f64Like) -> Value: ...
    @classmethod
    def input(cls, name: egg.StringLike) -> Value: ...


def _arity_0() -> Value: ...  # type: ignore[empty-body]
def _arity_1(x: Value) -> Value: ...  # type: ignore[empty-body]
def _arity_2(x: Value, y: Value) -> Value: ...  # type: ignore[empty-body]
def _arity_3(x: Value, y: Value, z: Value) -> Value: ...  # type: ignore[empty-body]


def _function(name: str, arity: int) -> Any:
    """A function of the language as a function of egglog."""
    template = (_arity_0, _arity_1, _arity_2, _arity_3)[arity]
    named = types.FunctionType(template.__code__, template.__globals__, name)
    named.__annotations__, named.__qualname__, named.__module__ = template.__annotations__, name, __name__
    return egg.function(egg_fn=f"op_{name}")(named)


FUNCTIONS = {name: _function(name, op.arity) for name, op in OPS.items()}
OUTPUTS = _function("outputs", 3)
SCALAR, SMALL_KIND, TREE = (egg.relation(name, Value) for name in ("is_scalar", "is_small", "is_tree"))
POSITIVE, NOT_NEGATIVE = (egg.relation(name, Value) for name in ("is_positive", "is_not_negative"))

# Functions of numbers that egglog can compute.
NUMERIC: dict[str, Callable[..., Any]] = {
    "add": lambda a, b: a + b,
    "sub": lambda a, b: a - b,
    "mul": lambda a, b: a * b,
    "div": lambda a, b: a / (b + 1e-8),
    "negative": lambda a: -a,
    "abs": abs,
    "norm": abs,
    "global_norm": abs,
    "square": lambda a: a * a,
    "cube": lambda a: a * a * a,
    "sqrt": lambda a: abs(a) ** 0.5,
    "cbrt": lambda a: a ** (1 / 3),
    "reciprocal": lambda a: egg.f64(1.0) / a,
    "power": lambda a, b: a**b,
    "maximum": lambda a, b: a.max(b),
    "minimum": lambda a, b: a.min(b),
}


class Letters:
    """The letters of a rule as variables of egglog."""

    def __init__(self) -> None:
        self.numbers: dict[str, Any] = {}
        self.values: dict[str, Any] = {}

    def expression(self, shape: Pattern, fold: bool) -> Any:
        """A pattern as an expression; with `fold`, functions of numbers are computed."""
        if fold and (number := self.number(shape)) is not None:
            return Value.number(number)
        if isinstance(shape, str) and shape in NUMBERS:
            return Value.number(self.numbers.setdefault(shape, egg.var(f"n_{shape}", egg.f64)))
        if isinstance(shape, str):
            return self.values.setdefault(shape, egg.var(f"v_{shape}", Value))
        if isinstance(shape, float):
            return Value.number(shape)
        return FUNCTIONS[str(shape[0])](*(self.expression(s, fold) for s in shape[1:]))  # type: ignore[arg-type]

    def number(self, shape: Pattern) -> Any:
        """A pattern of numbers alone as a computation, or None."""
        if isinstance(shape, float):
            return egg.f64(shape)
        if isinstance(shape, str):
            return self.numbers[shape] if shape in NUMBERS else None
        args = [self.number(s) for s in shape[1:]]  # type: ignore[arg-type]
        return None if not args or any(a is None for a in args) else NUMERIC[str(shape[0])](*args)

    def facts(self, rule: Rule) -> Iterator[Any]:
        """The conditions of a rule, and what its letters stand for."""
        for letter, value in self.values.items():
            if letter in SCALARS or letter in SMALL:
                yield (SCALAR if letter in SCALARS else SMALL_KIND)(value)
        for condition in rule.when:
            letter, relation, _ = condition.split()
            if letter in self.numbers:
                a = self.numbers[letter]
                yield {">": a > 0.0, ">=": a >= 0.0, "<": a < 0.0, "<=": a <= 0.0}[relation]
            else:
                yield {"is": TREE, ">": POSITIVE, ">=": NOT_NEGATIVE}[relation](self.values[letter])


def table() -> Iterator[Any]:
    """The rules of the table, and those that ordered rewriting has built in."""
    for rule in RULES:
        letters = Letters()
        left = letters.expression(pattern(rule.left), fold=False)
        right = letters.expression(pattern(rule.right), fold=True)
        yield egg.rewrite(left).to(right, *letters.facts(rule))
    a, b = egg.vars_("a b", egg.f64)
    for name, function in NUMERIC.items():
        numbers = (a, b)[: OPS[name].arity]
        yield egg.rewrite(FUNCTIONS[name](*map(Value.number, numbers))).to(Value.number(function(*numbers)))


def structure() -> Iterator[Any]:
    """Commutativity, associativity, distributivity and interpolation."""
    x, y, z = egg.vars_("x y z", Value)
    a, b = egg.vars_("a b", egg.f64)
    add, mul, interp, number = FUNCTIONS["add"], FUNCTIONS["mul"], FUNCTIONS["interp"], Value.number
    for name, op in OPS.items():
        if op.commutative:
            yield egg.rewrite(FUNCTIONS[name](x, y)).to(FUNCTIONS[name](y, x))
    for f in (add, mul):
        yield egg.rewrite(f(f(x, y), z)).to(f(x, f(y, z)))
    yield egg.rewrite(mul(add(x, y), number(a))).to(add(mul(x, number(a)), mul(y, number(a))))
    yield egg.rewrite(FUNCTIONS["sub"](x, y)).to(add(x, mul(y, number(-1.0))))
    yield egg.rewrite(FUNCTIONS["negative"](x)).to(mul(x, number(-1.0)))
    yield egg.rewrite(add(x, mul(y, number(-1.0)))).to(FUNCTIONS["sub"](x, y))
    yield egg.rewrite(add(mul(x, number(a)), mul(x, number(b)))).to(mul(x, number(a + b)))
    yield egg.rewrite(add(x, mul(x, number(b)))).to(mul(x, number(b + 1.0)))
    yield egg.rewrite(interp(x, y, number(a))).to(add(mul(x, number(egg.f64(1.0) - a)), mul(y, number(a))))
    yield egg.rewrite(add(mul(x, number(a)), mul(y, number(b)))).to(
        interp(x, y, number(b)), abs(a + b - 1.0) < 1e-12, b > 0.0
    )


def facts() -> Iterator[Any]:
    """Kinds, and signs that follow from the function or its arguments."""
    x, y = egg.vars_("x y", Value)
    a = egg.var("a", egg.f64)
    yield egg.rule(egg.eq(x).to(Value.number(a))).then(SCALAR(x))
    yield egg.rule(egg.eq(x).to(Value.number(a)), a > 0.0).then(POSITIVE(x))
    yield egg.rule(egg.eq(x).to(Value.number(a)), a >= 0.0).then(NOT_NEGATIVE(x))
    yield egg.rule(SCALAR(x)).then(SMALL_KIND(x))
    yield egg.rule(POSITIVE(x)).then(NOT_NEGATIVE(x))
    for name in INPUT_NAMES:
        fact = SCALAR if name == "lr" else TREE
        yield egg.rule(egg.eq(x).to(Value.input(name))).then(fact(x))
    for name in ("abs", "sqrt", "square", "norm", "global_norm"):
        yield egg.rule(egg.eq(x).to(FUNCTIONS[name](y))).then(NOT_NEGATIVE(x))
    for name in ("exp", "exp2", "exp10", "cosh"):
        yield egg.rule(egg.eq(x).to(FUNCTIONS[name](y))).then(POSITIVE(x))
    for name, op in OPS.items():
        args = list(egg.vars_("p q r", Value))[: op.arity]
        here = egg.eq(x).to(FUNCTIONS[name](*args))
        if name in ("global_norm", "dot", "cosine_sim") or not args:
            yield egg.rule(here).then(SCALAR(x))
        elif name == "norm":
            yield egg.rule(here).then(SMALL_KIND(x))
        else:
            yield egg.rule(here, *map(SCALAR, args)).then(SCALAR(x))
            yield egg.rule(here, *map(SMALL_KIND, args)).then(SMALL_KIND(x))
            yield from (egg.rule(here, TREE(arg)).then(TREE(x)) for arg in args)
        if name in ("add", "mul", "maximum", "minimum"):
            yield egg.rule(here, *map(NOT_NEGATIVE, args)).then(NOT_NEGATIVE(x))
            yield egg.rule(here, *map(POSITIVE, args)).then(POSITIVE(x))
        if name == "div":
            yield egg.rule(here, *map(NOT_NEGATIVE, args)).then(NOT_NEGATIVE(x))


REWRITES = egg.ruleset(*table(), *structure(), name="table")
FACTS = egg.ruleset(*facts(), name="facts")


def saturated(program: Program, seconds: float) -> Program:
    """The program that equality saturation finds."""
    graph, roots, _ = read(program)
    roots = folded(graph, roots)
    values = encoded(graph, roots)
    following = dict(roots.states)
    egraph = egg.EGraph()
    outputs = egraph.let(
        "root", OUTPUTS(values[roots.update], values[following.get(M, LR)], values[following.get(V, LR)])
    )
    for node in graph.live(roots):
        if graph.nodes[node].function == INPUT and node == LR:
            egraph.register(NOT_NEGATIVE(values[node]))
    backoff = egg.back_off(match_limit=1000, ban_length=3)
    stop = time.perf_counter() + seconds
    while time.perf_counter() < stop and sum(n for _, n in egraph.all_function_sizes()) < LARGEST_GRAPH:
        report = egraph.run(egg.run(FACTS).saturate() + egg.run(REWRITES, scheduler=backoff))
        if not report.updated:
            break
    best = egraph.extract(outputs, cost_model=egg.greedy_dag_cost_model())
    return decoded(best, roots, program)


def folded(graph: Graph, roots: Roots) -> Roots:
    """With functions of numbers computed, egglog having but few of them."""
    while (step := next((c for c in rewritings(graph, roots, {ROUNDING}) if c.kind == FOLDING), None)) is not None:
        roots = step.roots
    return roots


def encoded(graph: Graph, roots: Roots) -> dict[int, Any]:
    """The nodes of a program as expressions of egglog."""
    values = {LR: Value.input("lr")}
    for node in graph.live(roots):
        function, args, _, number = graph.nodes[node]
        if function == INPUT:
            values[node] = Value.input(INPUT_NAMES[node])
        elif function == CONSTANT:
            values[node] = Value.number(number)
        else:
            values[node] = FUNCTIONS[function](*(values[a] for a in args))
    return values


def decoded(outputs: Any, old: Roots, original: Program) -> Program:
    """The program of an extracted expression, or the original if its kinds do not fit."""
    graph = Graph()
    known: dict[str, int] = {}

    def node(expression: Any) -> int:
        text = str(expression)
        if text not in known:
            name, args = str(egg.get_callable_fn(expression)), egg.get_callable_args(expression) or ()
            if name == "Value.number":
                known[text] = graph.constant(float(args[0].value))
            elif name == "Value.input":
                known[text] = INPUT_NAMES.index(args[0].value)
            else:
                known[text] = graph.call(name, map(node, args))
        return known[text]

    try:
        update, m, v = map(node, egg.get_callable_args(outputs) or ())
        states = tuple((slot, n) for slot, n in ((M, m), (V, v)) if slot in dict(old.states))
        return live_program(write(graph, trimmed(graph, Roots(update, states))))
    except (KindError, InputError):
        return original


# --- the comparison ------------------------------------------------------------------------------------------------


def ordered(program: Program) -> Program:
    """One rule of the table at a time, as long as the program gets simpler."""
    graph, roots, names = read(program)
    while True:
        now = cost(graph, roots)
        better = (c for c in rewritings(graph, roots, TAGS) if is_simpler(graph, c.roots, now))
        step = next(better, None)
        if step is None:
            return write(graph, roots, names)
        roots = step.roots


class Result(NamedTuple):
    """What one way made of a program: live statements, slots in use, seconds, and whether that had to be refused."""

    statements: int
    slots: int
    seconds: float
    refused: bool


def measured(simplify: Callable[[Program], Program], program: Program) -> Result:
    """One way on one program, checked on sample gradients."""
    started = time.perf_counter()
    result = simplify(program)
    seconds = time.perf_counter() - started
    refused = not is_right(program, result)
    kept = program if refused else result
    return Result(len(live_program(kept)), len(live(kept.dataflow).states), seconds, refused)


def is_right(program: Program, result: Program) -> bool:
    """Whether two programs move weights alike on sample gradients."""
    return Checker(sample_recordings()).check(program, result, DOMAIN, "").passed


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--programs", type=int, default=200)
    parser.add_argument("--seconds", type=float, default=2.0, help="limit of saturation for one program")
    options = parser.parse_args()
    entries = json.loads(CORPUS.read_text(encoding="utf-8"))[: options.programs]
    programs = [live_program(parse(entry["program"])) for entry in entries]

    def ours(program: Program) -> Program:
        return simplify_algebra(program).program

    def theirs(program: Program) -> Program:
        return saturated(program, options.seconds)

    def ours_then_theirs(program: Program) -> Program:
        simplified = ours(program)
        result = theirs(simplified)
        return result if is_right(simplified, result) else simplified

    ways: dict[str, Callable[[Program], Program]] = {
        "ordered": ordered,
        "saturation": theirs,
        "ordered + linear + states (ships)": ours,
        "ships, then saturation": ours_then_theirs,
        "saturation, then ships": lambda p: ours(theirs(p)),
    }
    results = {name: [measured(way, p) for p in programs] for name, way in ways.items()}
    before = sum(map(len, programs))
    slots = sum(len(live(p.dataflow).states) for p in programs)
    print(f"{len(programs)} programs, {before} live statements, {slots} state slots")
    print("| way | statements | slots | smaller than ordered | larger | seconds mean | largest | refused |")
    print("|---|---|---|---|---|---|---|---|")
    for name, found in results.items():
        smaller = sum(r.statements < o.statements for r, o in zip(found, results["ordered"], strict=True))
        larger = sum(r.statements > o.statements for r, o in zip(found, results["ordered"], strict=True))
        seconds = [r.seconds for r in found]
        cells = (
            name,
            sum(r.statements for r in found),
            sum(r.slots for r in found),
            smaller,
            larger,
            f"{mean(seconds):.3f}",
            f"{max(seconds):.2f}",
            sum(r.refused for r in found),
        )
        print("|", " | ".join(map(str, cells)), "|")


if __name__ == "__main__":
    main()
