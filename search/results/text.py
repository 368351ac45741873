"""What a database holds as it may be shown, in a terminal or on a page."""


def printable(text: str, most: int = 1000) -> str:
    """Return a text without characters that steer a terminal, and cut after `most` characters."""
    shown = "".join(c if c.isprintable() or c == "\n" else "\N{REPLACEMENT CHARACTER}" for c in text[:most])
    return shown + "..." if len(text) > most else shown


def states(slots: float) -> str:
    """Return a number of state slots: 2, or such as 1.01 where one is kept by rows or columns."""
    return f"{slots:.3g}"


def in_states(slots: float, what: str = "state") -> str:
    """Return the same in words: 1 state, 1.01 states."""
    return f"{states(slots)} {what}{'s' * (slots != 1)}"
