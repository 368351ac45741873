"""The one exception that means "the user's input is wrong"."""


class InputError(ValueError):
    """Bad input. The message is one line: what is wrong, where, and the mend."""
