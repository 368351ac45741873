"""The exceptions that mean "the user's input is wrong"."""


class InputError(ValueError):
    """Bad input. The message is one line: what is wrong, where, and what to do about it."""


class StatementError(InputError):
    """A statement that is not valid. `statement` and `argument` count from 0; None stands for the whole."""

    def __init__(self, problem: str, statement: int | None = None, argument: int | None = None) -> None:
        where = "" if statement is None else f"statement {statement + 1}: "
        super().__init__(where + problem)
        self.problem = problem
        self.statement = statement
        self.argument = argument
