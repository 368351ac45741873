"""Text to program and back; bad text is refused with one line that says what and where, and is never executed."""

from __future__ import annotations

import builtins
import math
import pickle
import re
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from programs import InputError, Program, Statement, parse, zoo
from programs.ops import OPS

from tests.support.strategies import programs

GOOD = "update = g * lr"
AS_FUNCTION = "def train(w, g, m, v, lr):\n    {}\n    return update, m, v"


def refusal(text: str) -> str:
    """The message with which `text` is refused; it must be one line."""
    with pytest.raises(InputError) as caught:
        parse(text, "my.py")
    message = str(caught.value)
    assert len(message.splitlines()) == 1
    assert message.startswith("my.py: ")
    return message


def bits(program: Program) -> list[tuple[str, str, tuple[str, ...]]]:
    """The program with constants as exact hexadecimal text, in which -0.0 and 0.0 differ."""
    return [(t, f, tuple(a if isinstance(a, str) else a.hex() for a in args)) for t, f, args in program.statements]


# --- printing and reading back -------------------------------------------------------------------------------------


@given(program=programs())
def test_print_then_parse_gives_the_program_back(program: Program) -> None:
    """parse(print(p)) == p, constants bit-equal, in the bare form and as a whole function."""
    assert bits(parse(str(program))) == bits(program)
    assert bits(parse(program.as_function())) == bits(program)
    assert str(parse(str(program))) == str(program)


@given(
    value=st.floats(allow_nan=False, allow_infinity=False), function=st.sampled_from(["mul", "sub", "div", "maximum"])
)
@example(-0.0, "sub")
@example(5e-324, "mul")
@example(-2.2250738585072014e-308, "div")
@example(1e308, "mul")
@example(-1.7976931348623157e308, "maximum")
@example(1e22, "mul")
@example(0.1 + 0.2, "mul")
def test_every_finite_constant_prints_so_that_it_reads_back(value: float, function: str) -> None:
    program = Program((Statement("x", function, (value, value)), Statement("update", function, ("g", value))))
    assert bits(parse(str(program))) == bits(program)


@pytest.mark.parametrize("function", sorted(OPS))
def test_every_function_can_be_written_as_a_call(function: str) -> None:
    """Those with a sign too: `add(g, w)` is `g + w`."""
    args = {"clip": ("g", "lr"), "interp": ("g", "m", 0.9)}.get(function, ("g", "w")[: OPS[function].arity])
    program = parse(f"x = {function}({', '.join(map(str, args))})\n{GOOD}")
    assert program.statements[0] == Statement("x", function, tuple(args))


def test_both_forms_allow_comments_blank_lines_and_a_docstring() -> None:
    bare = "# a comment\n\nupdate = g * lr  # another\n"
    whole = (
        f"# before\n{AS_FUNCTION.format(chr(34) * 3 + 'What it is.' + chr(34) * 3 + chr(10) + '    update = g * lr')}\n"
    )
    assert parse(bare) == parse(whole) == parse(GOOD)


@pytest.mark.parametrize(
    ("text", "value"), [("3", 3.0), ("-2", -2.0), ("1e-3", 0.001), (".5", 0.5), ("1_000.0", 1000.0), ("-0.0", -0.0)]
)
def test_numbers_are_read_as_python_reads_them(text: str, value: float) -> None:
    (constant,) = (a for a in parse(f"update = g * {text}").statements[0].args if not isinstance(a, str))
    assert type(constant) is float
    assert constant.hex() == value.hex()


@given(program=programs())
def test_programs_are_values(program: Program) -> None:
    """Equal and hashable by content, and pickled without what was computed from them."""
    _ = program.dataflow
    copy = pickle.loads(pickle.dumps(program))
    assert copy == program
    assert hash(copy) == hash(program)
    assert "dataflow" not in vars(copy)
    assert len(copy) == len(program.statements)


# --- bad text: what is said, and where -----------------------------------------------------------------------------

BAD_LINES = {
    "syntax error": ("update = (", 1, 10, "never closed"),
    "missing operand": ("x = g * w\nupdate = g *", 2, None, "syntax"),
    "stray indent": ("update = g * lr\n   m = g * g", 2, 3, "indent"),
    "nested call": ("update = add(mul(g, w), g)", 1, 14, "variable of its own"),
    "nested infix": ("update = g + w * lr", 1, 14, "variable of its own"),
    "attribute": ("update = g.real", 1, 10, "one function"),
    "method": ("update = w.sum(g)", 1, 10, "one function"),
    "subscript": ("update = g[0]", 1, 10, "one function"),
    "lambda": ("update = lambda: g", 1, 10, "one function"),
    "copy": ("update = g", 1, 10, "there are no copies: read g where it is needed"),
    "minus a variable": ("update = -g", 1, 10, "such as negative(g)"),
    "a number": ("update = -3.5", 1, 10, "write a number where it is needed"),
    "comparison": ("update = g < w", 1, 10, "one function"),
    "conditional": ("update = g if w else m", 1, 10, "one function"),
    "comprehension": ("update = [x for x in g]", 1, 10, "one function"),
    "f-string": ("update = f'{g}'", 1, 10, "one function"),
    "import": ("import os", 1, 1, "assignment"),
    "expression": ("g * lr", 1, 1, "assignment"),
    "loop": ("for i in g:\n    update = g * lr", 1, 1, "assignment"),
    "condition": ("if g:\n    update = g * lr", 1, 1, "assignment"),
    "class": ("class A: pass", 1, 1, "assignment"),
    "return in the bare form": (f"{GOOD}\nreturn update, m, v", 2, 1, "assignment"),
    "code after the function": (f"{AS_FUNCTION.format(GOOD)}\nx = g * g", 1, 1, "assignment"),
    "augmented": ("update += g", 1, 1, "assignment"),
    "annotated": ("update: int = sqrt(g)", 1, 1, "assignment"),
    "walrus": ("update = sqrt((x := g))", 1, 16, "variable"),
    "chained": ("update = x = sqrt(g)", 1, 1, "one variable"),
    "unpacking": ("a, update = g, g", 1, 1, "one variable"),
    "store to a subscript": ("x[0] = sqrt(g)", 1, 1, "one variable"),
    "store to an attribute": ("x.a = sqrt(g)", 1, 1, "one variable"),
    "target is a function": ("x = g * g\nsqrt = abs(g)", 2, 1, "'sqrt' is a function"),
    "target beyond ASCII": ("updat\u00e9 = sqrt(g)", 1, 1, "ASCII"),
    "unknown function": ("update = foo(g)", 1, 10, "unknown function 'foo'"),
    "builtin": ("update = eval(g)", 1, 10, "unknown function 'eval'"),
    "dunder import": ("update = __import__('os')", 1, 10, "unknown function '__import__'"),
    "too many arguments": ("update = sqrt(g, w)", 1, 10, "sqrt takes 1 argument, got 2"),
    "too few arguments": ("update = interp(g, m)", 1, 10, "interp takes 3 arguments, got 2"),
    "constant with arguments": ("update = get_pi(g)", 1, 10, "get_pi takes 0 arguments, got 1"),
    "keyword": ("update = sqrt(x=g)", 1, 10, "expected"),
    "double star": ("update = sqrt(**g)", 1, 10, "expected"),
    "star": ("update = sqrt(*g)", 1, 15, "expected"),
    "power sign": ("update = g ** w", 1, 10, "+ - * /"),
    "floor division": ("update = g // w", 1, 10, "+ - * /"),
    "matrix product": ("update = g @ w", 1, 10, "+ - * /"),
    "infinite float": ("update = g * 1e999", 1, 14, "finite"),
    "infinite negative float": ("update = g * -1e999", 1, None, "finite"),
    "huge integer": (f"update = g * 1{'0' * 400}", 1, 14, "finite"),
    "integer beyond Python's limit": (f"update = g * {'9' * 5000}", 1, None, "digits"),
    "True": ("update = g * True", 1, 14, "number"),
    "None": ("update = g * None", 1, 14, "number"),
    "string": ("update = g * 'a'", 1, 14, "number"),
    "bytes": ("update = g * b'a'", 1, 14, "number"),
    "ellipsis": ("update = g * ...", 1, 14, "number"),
    "complex": ("update = g * 1j", 1, 14, "number"),
    "double minus": ("update = g * --1.0", 1, None, "number"),
    "not a number": ("update = g * ~1", 1, 14, "number"),
    "inner error": (AS_FUNCTION.format("import os\n    update = g * lr"), 2, 5, "assignment"),
    "signature": (
        "def train(w, g, m, v):\n    update = g * lr\n    return update, m, v",
        1,
        1,
        "def train(w, g, m, v, lr)",
    ),
    "default": (AS_FUNCTION.format(GOOD).replace("lr)", "lr=1)"), 1, 1, "def train(w, g, m, v, lr)"),
    "annotation": (AS_FUNCTION.format(GOOD).replace("w, g", "w: int, g"), 1, 1, "def train(w, g, m, v, lr)"),
    "positional only": (AS_FUNCTION.format(GOOD).replace("v, lr", "v, /, lr"), 1, 1, "def train(w, g, m, v, lr)"),
    "decorator": (f"@x\n{AS_FUNCTION.format(GOOD)}", 2, 1, "def train(w, g, m, v, lr)"),
    "no return": ("def train(w, g, m, v, lr):\n    update = g * lr", 2, 5, "return update, m, v"),
    "one output": (AS_FUNCTION.format(GOOD).replace(", m, v\n", "\n")[: -len(", m, v")], 3, 5, "return update, m, v"),
    "outputs exchanged": (AS_FUNCTION.format(GOOD).replace("e, m, v", "e, v, m"), 3, 5, "return update, m, v"),
    "early return": (AS_FUNCTION.format(f"return update, m, v\n    {GOOD}"), 2, 5, "assignment"),
    "async": (f"async {AS_FUNCTION.format(GOOD)}", 1, 1, "assignment"),
}


@pytest.mark.parametrize(("text", "line", "column", "what"), BAD_LINES.values(), ids=BAD_LINES)
def test_bad_text_is_refused_with_line_column_and_what(text: str, line: int, column: int | None, what: str) -> None:
    message = refusal(text)
    assert what in message
    found = re.match(r"my\.py: line (\d+), column (\d+): ", message)
    assert found, message
    assert int(found[1]) == line
    assert column is None or int(found[2]) == column


@pytest.mark.parametrize("name", ["inf", "nan", "sqrt", "q"])
def test_a_name_that_no_line_assigns_is_refused(name: str) -> None:
    """`inf` and `nan` are no numbers, and a function is no value."""
    message = refusal(f"x = g * g\nupdate = g * {name}")
    assert "line 2" in message
    assert f"'{name}'" in message


@pytest.mark.parametrize("text", ["", "  \n\n", "# nothing", AS_FUNCTION.format("'only a docstring'"), "x = g * g"])
def test_a_program_without_update_is_refused(text: str) -> None:
    assert "'update'" in refusal(text)


HOSTILE = {
    "null byte": "update = g\x00",
    "surrogate": "update = \ud800",
    "200k parentheses": f"update = {'(' * 200_000}g{')' * 200_000}",
    "40k parentheses": f"update = {'(' * 40_000}g{')' * 40_000}",
    "20k calls": f"update = {'sqrt(' * 15_000}g{')' * 15_000}",
    "90k minus signs": f"update = g * {'-' * 90_000}1",
    "30k sums": f"update = {'+'.join('g' * 30_000)}",
    "30k powers": f"update = {'**'.join('g' * 30_000)}",
    "40k attributes": f"update = g{'.a' * 40_000}",
    "120 levels": "\n".join(" " * i + "if g:" for i in range(120)),
    "huge text": "update = g * lr\n" * 100_000,
}


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE)
def test_hostile_text_is_refused_like_any_other(text: str) -> None:
    refusal(text)


def test_a_refusal_says_something_when_the_parser_runs_out_of_memory() -> None:
    assert "()" not in refusal(HOSTILE["90k minus signs"])


def test_a_null_byte_is_refused_without_a_position_called_none() -> None:
    assert "None" not in refusal(HOSTILE["null byte"])


@pytest.mark.parametrize(
    ("text", "line"),
    [
        (AS_FUNCTION.format("update = g * q"), 2),
        ("# a comment\n\nupdate = g * q", 3),
        ("x = g * lr\n\nupdate = dot(g, lr)", 3),
    ],
)
def test_a_wrong_variable_or_kind_is_reported_at_its_line_of_the_text(text: str, line: int) -> None:
    assert f"line {line}" in refusal(text)


def test_a_wrong_variable_or_kind_is_reported_with_its_column() -> None:
    assert "line 1, column 14" in refusal("update = g * q")


@pytest.mark.parametrize(
    "text",
    [
        AS_FUNCTION.format(GOOD).replace("train", "other"),
        AS_FUNCTION.format(GOOD).replace("lr):", "lr) -> int:"),
        AS_FUNCTION.format(GOOD).replace(", m, v", ", m(), v").replace("g, m()", "g, m"),
        AS_FUNCTION.format(f"3\n    {GOOD}"),
    ],
    ids=["other name", "return annotation", "call in the return", "number as docstring"],
)
def test_the_function_form_is_exact(text: str) -> None:
    refusal(text)


@pytest.mark.parametrize(
    "statement",
    [
        Statement("update", "foo", ("g",)),
        Statement("update", "mul", ("g",)),
        Statement("update", "mul", ("g", 2)),  # an int would be taken for the number of a node
        Statement("update", "mul", ("g", math.nan)),
    ],
    ids=["unknown function", "arity", "int", "nan"],
)
def test_a_program_made_by_hand_is_checked_like_text(statement: Statement) -> None:
    """`Program` promises InputError when `dataflow` is read."""
    with pytest.raises(InputError):
        _ = Program((statement,)).dataflow


# --- bad text: never another exception, never execution ------------------------------------------------------------

PIECES = r"""w g m v lr update x = ( ) + - * / , . : ; [ ] { } @ % ** // := -> # \ 0.9 -1e999 1j True 'a' " '
sqrt interp get_pi lambda yield await 0x 1_ """
SENTENCES = ["def train(w, g, m, v, lr):", "return update, m, v", "import os"]
TOKENS = [*PIECES.split(), *SENTENCES, "\n", "\n    ", " ", "\t", "\x0c", "\r", "\u2028", "\u00e9"]


@given(text=st.one_of(st.text(max_size=60), st.lists(st.sampled_from(TOKENS), max_size=25).map(" ".join)))
def test_any_text_is_a_program_or_an_input_error_of_one_line(text: str) -> None:
    try:
        program = parse(text)
    except InputError as error:
        assert len(str(error).splitlines()) == 1
    else:
        assert parse(str(program)) == program


@given(program=programs(longest=6), place=st.integers(0, 10**6), token=st.sampled_from(TOKENS))
def test_one_inserted_token_leaves_a_program_or_an_input_error(program: Program, place: int, token: str) -> None:
    """Near misses go deeper into the reader than noise does."""
    text = program.as_function()
    place %= len(text)
    try:
        changed = parse(text[:place] + token + text[place:])
    except InputError as error:
        assert len(str(error).splitlines()) == 1
    else:
        assert parse(str(changed)) == changed


@pytest.mark.parametrize(
    "line",
    [
        "update = __import__('pathlib').Path('{}').touch()",
        "update = open('{}', 'w')",
        "@open('{}', 'w')\ndef train(w, g, m, v, lr):\n    update = g * lr\n    return update, m, v",
        "def train(w, g, m, v, lr=open('{}', 'w')):\n    update = g * lr\n    return update, m, v",
        "update = sqrt(open('{}', 'w'))",
        "class A(open('{}', 'w')): pass",
    ],
)
def test_nothing_is_executed(line: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def forbidden(*_: object, **__: object) -> None:
        raise AssertionError("executed")

    monkeypatch.setattr(builtins, "eval", forbidden)
    monkeypatch.setattr(builtins, "exec", forbidden)
    trap = tmp_path / "trap"
    refusal(line.format(trap))
    assert not trap.exists()


def test_zoo_programs_read_from_text_are_the_same_in_both_forms() -> None:
    for name in zoo.names():
        program = zoo.load(name)
        assert parse(str(program)) == parse(program.as_function()) == program
