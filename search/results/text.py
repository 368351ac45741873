"""Text from a database as it may be shown, in a terminal or on a page."""


def printable(text: str, most: int = 1000) -> str:
    """Return a text without characters that steer a terminal, and cut after `most` characters."""
    shown = "".join(c if c.isprintable() or c == "\n" else "\N{REPLACEMENT CHARACTER}" for c in text[:most])
    return shown + "..." if len(text) > most else shown
