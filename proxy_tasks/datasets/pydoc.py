"""The help texts of Python's own `pydoc` as a corpus of characters: real English and code, on every machine."""

from __future__ import annotations

from proxy_tasks.checks import whole
from proxy_tasks.datasets.dataset import Dataset
from proxy_tasks.datasets.windows import LONGEST_CONTEXT, characters_dataset


def load_pydoc(context: int = 32) -> Dataset:
    """Return topics in alphabetical order; the last tenth of the text is for validation.

    Python versions differ in this text, and so do the digests.

    Args:
        context: characters in a window.

    Raises:
        InputError: `context` is out of range.
    """
    whole("data set pydoc", "context", context, 1, LONGEST_CONTEXT)
    return characters_dataset("data set pydoc", _text(), context)


def _text() -> str:
    from pydoc_data.topics import topics  # imported here: half a megabyte that other data sets do not need

    return "\n".join(topics[name] for name in sorted(topics))
