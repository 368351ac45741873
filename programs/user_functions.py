"""User-defined functions. Their text is read against a whitelist, as programs are, and never executed.

    def softsign(x):
        return x / (1 + abs(x))

The result is an expression of numbers, of functions of the language that work number by number, of operators, which
mean what they mean in programs, and of choices, `a if x < y else b`. Its three meanings in the table of functions are
put together from those of its parts, so they agree as these do.

A database keeps the definitions beside the programs that need them, and files of programs begin with them. In one
process a name has one meaning, since programs know functions by their names.
"""

from __future__ import annotations

import ast
import operator
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

from programs.errors import InputError
from programs.kinds import ANY
from programs.later import np
from programs.ops import OPS, USER, Op, digest, largest
from programs.program import MAX_TEXT, Program, parse

MOST_ARGUMENTS = 3
MOST_CODE = 4_000  # characters of a function written out in torch or C; parts that are read twice stand there twice
FORM = "def softsign(x): return x / (1 + abs(x))"

_NAME = r"[a-z][a-z0-9_]{0,39}"
_OF_TENSORS = ("maximum", "minimum")  # torch calls these with tensors only
# The code of torch in the table takes tensors, and jax has no such function.
_INTERP = "(1 - {2}) * {0} + {2} * {1}", "(1.0f - {2}) * {0} + {2} * {1}", lambda x, y, a: (1 - a) * x + a * y
_LARGEST = (2 - 2.0**-23) * 2.0**127  # of float32
_OPERATORS = {ast.Add: "add", ast.Sub: "sub", ast.Mult: "mul", ast.Div: "div", ast.Pow: "power"}
_COMPARISONS: dict[type[ast.cmpop], tuple[str, Callable[..., Any]]] = {
    ast.Lt: ("<", operator.lt), ast.LtE: ("<=", operator.le), ast.Gt: (">", operator.gt), ast.GtE: (">=", operator.ge)
}  # fmt: skip


def read_functions(text: str, source: str) -> dict[str, str]:
    """Return the functions that a text defines: their definitions, in one form, by their names.

    Args:
        text: one `def` after another.
        source: what to call the text in messages, e.g. a path.

    Raises:
        InputError: one of them is none, or its name is that of a function of the language.
    """
    found: dict[str, str] = {}
    for node in _parsed(text, source):
        if _is_text(node):
            continue
        op = _read(node, source)
        if op.name in found:
            raise _error(node, source, f"{op.name} is defined twice")
        found[op.name] = op.definition
    if not found:
        raise InputError(f"{source}: defines no function; expected some such as '{FORM}'")
    return found


def define(definitions: Mapping[str, str], source: str) -> None:
    """Let programs of this process call functions.

    Args:
        definitions: as `read_functions` returns them.
        source: where they come from, for messages.

    Raises:
        InputError: one is not in the form of `read_functions`, or this process knows another function of its name.
    """
    for name, text in definitions.items():
        op = _from_definition(text)
        if op is None or op.name != name:
            raise InputError(f"{source}: the function {name!r} is not defined as functions are")
        known = OPS.setdefault(name, op)
        if digest(known) != digest(op):
            raise InputError(
                f"{source}: {name} is {_result(op)} there and {_result(known)} here; in a process, and in a database, a"
                " name has one meaning: set it back, give one of the two another name, or take another database"
            )


def user_definitions() -> dict[str, str]:
    """Return the definitions of all user-defined functions that this process knows, by name."""
    return {op.name: op.definition for op in OPS.values() if op.set == USER}


def as_text(program: Program) -> str:
    """Return a program as a whole function, after the definitions of the user-defined functions that it calls."""
    called = {statement.function for statement in program.statements}
    definitions = [OPS[name].definition for name in sorted(called) if OPS[name].set == USER]
    return "\n\n\n".join([*definitions, program.as_function()]) + "\n"


_BEGINS_WITH_TEXT = re.compile(r"(\s|#.*\n)*[rRuU]?[\"']")


def read_program(text: str, source: str) -> Program:
    """Read and check a program in front of which may stand the user-defined functions that it calls.

    Raises:
        InputError: as of `programs.parse`, `read_functions` and `define`.
    """
    has_more = re.search(r"^def (?!train\b)", text, re.MULTILINE) or _BEGINS_WITH_TEXT.match(text)
    if len(text) <= MAX_TEXT and has_more:
        body, lines = _parsed(text, source), [f"{line}\n" for line in text.split("\n")]  # as Python counts them
        if body and isinstance(body[0], ast.Expr) and isinstance(body[0].value, ast.Constant):  # what the file is about
            end = body.pop(0).end_lineno or 0
            lines[:end] = ["\n"] * end
        start = next((place for place, node in enumerate(body[:-1]) if not _is_definition(node)), len(body) - 1)
        if start > 0:
            end = body[start].lineno - 1
            define(read_functions("".join(lines[:end]), source), source)
            lines[:end] = ["\n"] * end  # so that messages have the lines of the file
        text = "".join(lines)
    return parse(text, source)


def _is_definition(node: ast.stmt) -> bool:
    """Return whether a statement is a function other than the program itself."""
    return isinstance(node, ast.FunctionDef) and node.name != "train"


def _parsed(text: str, source: str) -> list[ast.stmt]:
    if len(text) > MAX_TEXT:
        raise InputError(f"{source}: text of {len(text)} characters, expected at most {MAX_TEXT}")
    try:
        return ast.parse(text).body
    except SyntaxError as error:
        raise InputError(f"{source}: line {error.lineno}: {error.msg}; expected functions such as '{FORM}'") from None
    except (ValueError, RecursionError, MemoryError) as error:
        raise InputError(f"{source}: cannot be read ({str(error) or type(error).__name__})") from None


@lru_cache(maxsize=1024)
def _from_definition(text: str) -> Op | None:
    """Return the function that a definition is of, None if the text is no definition in its one form."""
    try:
        (node,) = _parsed(text, "definition")
        op = _read(node, "definition")
    except ValueError:  # an InputError, or more than one statement
        return None
    return op if op.definition == text else None


def _result(op: Op) -> str:
    """Return what a function returns, for messages."""
    return f"'{op.definition.rpartition('return ')[2][:80]}'" if op.definition else "a function of the language"


# --- one function ----------------------------------------------------------------------------------------------------


def _read(node: ast.stmt, source: str) -> Op:
    """Return the row of the table for a definition."""
    if not isinstance(node, ast.FunctionDef):
        raise _error(node, source, f"expected functions such as '{FORM}', and nothing else")
    names = _arguments(node, source)
    reader = _Reader(source, {name: _argument(place) for place, name in enumerate(names)})
    texts, body = (node.body[:1], node.body[1:]) if _is_text(node.body[0]) else ([], node.body)
    try:
        for statement in body[:-1]:
            reader.assign(statement)
        result = reader.result(body[-1] if body else node)
        torch = ast.unparse(ast.parse(result.torch, mode="eval"))
    except (SyntaxError, RecursionError, MemoryError):  # of Python, whose parser and compiler go only so deep
        raise _error(node, source, f"{node.name} has too long an expression; make it shorter") from None
    unused = [name for place, name in enumerate(names) if f"{{{place}}}" not in result.torch]
    if result.is_plain or unused:
        wrong = f"does not depend on {unused[0]}" if unused else "computes nothing"
        raise _error(node, source, f"{node.name} {wrong}; the result must depend on every argument")
    node.decorator_list, node.returns, node.type_comment = [], None, None
    meaning = " ".join((ast.get_docstring(node) or "").split()).rstrip(".")
    definition = ast.unparse(ast.FunctionDef(node.name, node.args, [*texts, *body], [], lineno=0))
    return Op(
        node.name, (ANY,) * len(names), largest, result.function(0), torch, result.c, set=USER, meaning=meaning,
        unguarded=result.function(1), names=names, definition=definition,
    )  # fmt: skip


def _arguments(node: ast.FunctionDef, source: str) -> tuple[str, ...]:
    """Return the names of the arguments of a definition whose head is as it should be."""
    if not re.fullmatch(_NAME, node.name, re.ASCII) or node.name == "train":
        raise _error(node, source, f"'{node.name}' cannot be the name of a function; take small letters, digits and _")
    if node.name in OPS and OPS[node.name].set != USER:
        raise _error(node, source, f"{node.name} is a function of the language; give yours another name")
    plain = ast.arguments([], node.args.args, None, [], [], None, [])
    if ast.dump(plain) != ast.dump(node.args) or node.decorator_list:
        raise _error(node, source, f"{node.name} must be written plainly, such as '{FORM}'")
    if not 1 <= len(node.args.args) <= MOST_ARGUMENTS:
        raise _error(
            node, source, f"{node.name} takes {len(node.args.args)} arguments, expected from 1 to {MOST_ARGUMENTS}"
        )
    for argument in node.args.args:
        argument.annotation = None
    return tuple(argument.arg for argument in node.args.args)


def _is_text(node: ast.stmt) -> bool:
    """Return whether a statement is a docstring."""
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)


def _error(node: ast.stmt | ast.expr, source: str, message: str) -> InputError:
    return InputError(f"{source}: line {node.lineno}: {message}")


# --- expressions -----------------------------------------------------------------------------------------------------

_Meaning = Callable[[Sequence[Any]], Any]  # from the arguments of the function to the value


class _Part(NamedTuple):
    """An expression of the arguments, written as in the columns of the table.

    `numpy` holds its meaning with the guards of divisors, and with infinitesimal ones. `number` is the value of what
    depends on no argument. `is_plain` says that it is an argument or a number as it stands.
    """

    torch: str
    c: str
    numpy: tuple[_Meaning, _Meaning]
    number: float | None = None
    is_plain: bool = False

    def function(self, guard: int) -> Callable[..., Any]:
        """Return the meaning as a function of arrays."""
        return lambda *arrays: self.numpy[guard](arrays)


def _argument(place: int) -> _Part:
    meaning: _Meaning = lambda given: given[place]  # noqa: E731
    return _Part(f"{{{place}}}", f"{{{place}}}", (meaning, meaning), is_plain=True)


def _number(value: float) -> _Part:
    meaning: _Meaning = lambda given: np.asarray(value, given[0].dtype)  # noqa: E731
    return _Part(repr(value), f"{value!r}f", (meaning, meaning), value, is_plain=True)


class _Reader:
    """Reads the body of one function. `scope`: what its names stand for."""

    def __init__(self, source: str, scope: dict[str, _Part]) -> None:
        self._source = source
        self._scope = scope

    def assign(self, node: ast.stmt) -> None:
        """Let a name stand for an expression."""
        if not isinstance(node, ast.Assign) or len(node.targets) > 1 or not isinstance(node.targets[0], ast.Name):
            raise self._error(node, "expected assignments such as 'a = abs(x)', and 'return' at the end")
        self._scope[node.targets[0].id] = self.part(node.value)

    def result(self, node: ast.stmt) -> _Part:
        """Return what the last statement returns."""
        if not isinstance(node, ast.Return) or node.value is None:
            raise self._error(node, "expected 'return' and an expression at the end of the function")
        return self.part(node.value)

    def part(self, node: ast.expr) -> _Part:
        """Return an expression."""
        if isinstance(node, ast.Name):
            if node.id not in self._scope:
                raise self._error(node, f"unknown name '{node.id}'; there are {', '.join(self._scope)}")
            return self._scope[node.id]
        if isinstance(node, ast.Constant) and isinstance(node.value, int | float) and not isinstance(node.value, bool):
            return self._of_value(node, node.value)
        if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
            return self._called(node, "negative", [node.operand])
        if isinstance(node, ast.BinOp) and type(node.op) in _OPERATORS:
            return self._called(node, _OPERATORS[type(node.op)], [node.left, node.right])
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and not node.keywords:
            return self._called(node, node.func.id, node.args)
        if isinstance(node, ast.IfExp):
            return self._choice(node)
        known = "numbers, + - * / **, functions of the language such as abs(x), and choices such as 'x if x < y else y'"
        raise self._error(node, f"'{ast.unparse(node)[:40]}' cannot stand here; a function is made of {known}")

    def _of_value(self, node: ast.expr, value: float) -> _Part:
        if not abs(value) <= _LARGEST:
            raise self._error(node, f"'{ast.unparse(node)[:40]}' is no finite number of 32 bits")
        return _number(float(value))

    def _called(self, node: ast.expr, name: str, nodes: Iterable[ast.expr]) -> _Part:
        """Return a call of a function of the language."""
        op, args = OPS.get(name), list(map(self.part, nodes))
        if op is None or op.set == USER:
            raise self._error(node, f"'{name}' is no function of the language; `optsearch zoo --functions` lists all")
        if op.of_training or (op.arity and op.result is not largest):
            raise self._error(
                node, f"{name} does not work number by number, as user-defined functions do; call it in programs"
            )
        if len(args) != op.arity:
            raise self._error(node, f"{name} takes {op.arity} argument{'s' * (op.arity != 1)}, got {len(args)}")
        numbers = [arg.number for arg in args if arg.number is not None]
        if len(numbers) == len(args):
            return self._of_value(node, op.number(numbers))
        torch, c, numpy = _INTERP if name == "interp" else (op.torch, op.c, op.numpy)
        if name in _OF_TENSORS:
            torch = torch.format(*_tensors(args))
        unguarded = op.unguarded or numpy
        return self._made(node, torch, c, args, (_composed(numpy, args, 0), _composed(unguarded, args, 1)))

    def _choice(self, node: ast.IfExp) -> _Part:
        test = node.test
        if not isinstance(test, ast.Compare) or len(test.ops) > 1 or type(test.ops[0]) not in _COMPARISONS:
            raise self._error(node, "expected a choice such as 'x if x < y else y', by one of < <= > >=")
        sign, compare = _COMPARISONS[type(test.ops[0])]
        args = [self.part(arg) for arg in (test.left, test.comparators[0], node.body, node.orelse)]
        left, right, first, second = args
        if left.number is not None and right.number is not None:
            return first if compare(left.number, right.number) else second

        def meaning(guard: int) -> _Meaning:
            def choose(given: Sequence[Any]) -> Any:
                left, right, first, second = (arg.numpy[guard](given) for arg in args)
                return np.where(compare(left, right), first, second)

            return choose

        compared = "{0} " + sign + " {1}"
        _, _, *chosen = _tensors(args)
        torch, c = f"torch.where({compared}, {', '.join(chosen)})", f"{compared} ? {{2}} : {{3}}"
        return self._made(node, torch, c, args, (meaning(0), meaning(1)))

    def _made(
        self, node: ast.expr, torch: str, c: str, args: Sequence[_Part], numpy: tuple[_Meaning, _Meaning]
    ) -> _Part:
        texts = torch.format(*(f"({arg.torch})" for arg in args)), c.format(*(f"({arg.c})" for arg in args))
        if max(map(len, texts)) > MOST_CODE:
            raise self._error(node, f"written out, this has more than {MOST_CODE} characters; make it shorter")
        return _Part(*texts, numpy)

    def _error(self, node: ast.stmt | ast.expr, message: str) -> InputError:
        return _error(node, self._source, message)


def _tensors(args: Sequence[_Part]) -> list[str]:
    """Return the places of arguments, numbers as tensors like the first argument that is one."""
    like = next(place for place, arg in enumerate(args) if arg.number is None)
    return [f"{{{n}}}" if arg.number is None else f"torch.full_like({{{like}}}, {{{n}}})" for n, arg in enumerate(args)]


def _composed(meaning: Callable[..., Any], args: Sequence[_Part], guard: int) -> _Meaning:
    return lambda given: meaning(*(arg.numpy[guard](given) for arg in args))
