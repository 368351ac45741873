"""Programs as plain immutable data, and their text form.

A program is a straight list of assignments, one function each, over the inputs `w, g, m, v, lr`. Its text is valid
Python, but it is only ever read through `ast` against a whitelist, never executed.
"""

from __future__ import annotations

import ast
import math
import re
import warnings
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

from programs.errors import InputError, StatementError
from programs.graph import INPUTS, Dataflow, trace
from programs.ops import INFIX, OPS, USER

SIGNATURE = "def train(w, g, m, v, lr):"
RETURN = "return update, m, v"
_RETURNED = ("(update, m, v)", "update, m, v")  # as ast.unparse writes it

MAX_TEXT = 100_000  # characters: far above any real program, far below what would trouble the parser

Argument = str | float


class Statement(NamedTuple):
    """`target = function(*args)`; an argument is the name of a variable or a constant."""

    target: str
    function: str
    args: tuple[Argument, ...]

    def __str__(self) -> str:
        args = [a if isinstance(a, str) else repr(a) for a in self.args]
        infix = OPS[self.function].infix
        call = f"{args[0]} {infix} {args[1]}" if infix else f"{self.function}({', '.join(args)})"
        return f"{self.target} = {call}"


@dataclass(frozen=True)
class Program:
    """An update rule. Making one does not check it; reading `dataflow` does, and raises `InputError`."""

    statements: tuple[Statement, ...]

    @cached_property
    def dataflow(self) -> Dataflow:
        return trace(self.statements)

    def __len__(self) -> int:
        return len(self.statements)

    def __str__(self) -> str:
        return "\n".join(map(str, self.statements))

    def __reduce__(self) -> tuple[type, tuple[tuple[Statement, ...]]]:
        return Program, (self.statements,)  # the cached dataflow does not travel

    def as_function(self) -> str:
        """Return the text as a whole function, the form in which people read it."""
        return "\n".join([SIGNATURE, *(f"    {s}" for s in self.statements), f"    {RETURN}"])


def parse(text: str, source: str = "program") -> Program:
    """Read and check a program.

    Args:
        text: assignments, either bare or inside `def train(w, g, m, v, lr): ... return update, m, v`. Comments are
            allowed, and a docstring in the function form.
        source: what to call the text in messages, e.g. a path.

    Raises:
        InputError: with line, column and what was expected.
    """
    nodes = _body(text, source)
    parsed = [_statement(node, source) for node in nodes]
    program = Program(tuple(statement for statement, _ in parsed))
    try:
        _ = program.dataflow
    except StatementError as error:
        if error.statement is None:
            raise InputError(f"{source}: {error.problem}") from None
        arguments = parsed[error.statement][1]
        node = nodes[error.statement] if error.argument is None else arguments[error.argument]
        raise _error(node, source, error.problem) from None
    return program


def _body(text: str, source: str) -> list[ast.stmt]:
    if len(text) > MAX_TEXT:
        raise InputError(f"{source}: text of {len(text)} characters, expected at most {MAX_TEXT}")
    try:
        with warnings.catch_warnings(action="ignore"):  # of Python, about the text
            body = ast.parse(text).body
    except SyntaxError as error:
        where = f"line {error.lineno}, column {error.offset}: " if error.lineno else ""
        raise InputError(
            f"{source}: {where}{error.msg}; expected assignments such as 'm = interp(g, m, 0.9)'"
        ) from None
    except (ValueError, RecursionError, MemoryError) as error:  # null bytes; nesting too deep for the parser
        raise InputError(f"{source}: cannot be read as a program ({str(error) or type(error).__name__})") from None
    if len(body) == 1 and isinstance(body[0], ast.FunctionDef):
        return _function_body(body[0], source)
    return body


def _function_body(function: ast.FunctionDef, source: str) -> list[ast.stmt]:
    same = function.name == "train" and ast.unparse(function.args) == ", ".join(INPUTS)
    if not same or function.decorator_list or function.returns is not None:
        raise _error(function, source, f"expected '{SIGNATURE}'")
    *body, last = function.body
    if not isinstance(last, ast.Return) or last.value is None or ast.unparse(last.value) not in _RETURNED:
        raise _error(last, source, f"expected '{RETURN}' at the end of the function")
    if ast.get_docstring(function) is not None:
        body = body[1:]
    return body


def _statement(node: ast.stmt, source: str) -> tuple[Statement, list[ast.expr]]:
    """Return the statement, and its arguments' places in the text."""
    if not isinstance(node, ast.Assign):
        raise _error(node, source, "expected an assignment such as 'update = update * lr'")
    target = node.targets[0]
    if len(node.targets) > 1 or not isinstance(target, ast.Name):
        raise _error(node, source, "expected one variable on the left of '='")
    if target.id in OPS and OPS[target.id].set != USER:  # a variable may have the name of a user-defined function
        raise _error(target, source, f"'{target.id}' is a function; expected the name of a variable on the left of '='")
    if not re.fullmatch(r"[A-Za-z_]\w*", target.id, re.ASCII):
        raise _error(target, source, "names of variables are ASCII letters, digits and '_'")
    function, args = _call(node.value, source)
    return Statement(target.id, function, tuple(_argument(a, source) for a in args)), args


def _call(node: ast.expr, source: str) -> tuple[str, list[ast.expr]]:
    if isinstance(node, ast.BinOp):
        symbol = {ast.Add: "+", ast.Sub: "-", ast.Mult: "*", ast.Div: "/"}.get(type(node.op))
        if symbol is None:
            raise _error(node, source, f"expected one of the operators {' '.join(INFIX)} or a function")
        return INFIX[symbol].name, [node.left, node.right]
    if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Name) or node.keywords:
        raise _error(node, source, f"expected one function of variables and numbers on the right of '='{_hint(node)}")
    op = OPS.get(node.func.id)
    if op is None:
        raise _error(node, source, f"unknown function '{node.func.id}'; `optsearch zoo --functions` lists all")
    if len(node.args) != op.arity:
        raise _error(node, source, f"{op.name} takes {op.arity} argument{'s' * (op.arity != 1)}, got {len(node.args)}")
    return op.name, node.args


def _hint(node: ast.expr) -> str:
    """Return what to write in place of what looks like a statement of Python and is none of the language."""
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub) and isinstance(node.operand, ast.Name):
        return f", such as negative({node.operand.id})"
    if isinstance(node, ast.Name):
        return f"; there are no copies: read {node.id} where it is needed"
    if isinstance(node, ast.Constant | ast.UnaryOp):
        return "; write a number where it is needed"
    return ""


def _argument(node: ast.expr, source: str) -> Argument:
    if isinstance(node, ast.Name):
        return node.id
    sign = 1.0
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        sign, node = -1.0, node.operand
    if isinstance(node, ast.Constant) and isinstance(node.value, int | float) and not isinstance(node.value, bool):
        try:
            value = sign * float(node.value)
        except OverflowError:
            value = math.inf
        if math.isfinite(value):
            return value
        raise _error(node, source, "constants must be finite")
    raise _error(node, source, "expected a variable or a number; give an inner expression a variable of its own")


def _error(node: ast.stmt | ast.expr, source: str, message: str) -> InputError:
    return InputError(f"{source}: line {node.lineno}, column {node.col_offset + 1}: {message}")
