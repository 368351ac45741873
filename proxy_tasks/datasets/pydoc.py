"""The help texts of Python's own `pydoc` as a corpus of characters: real English and code, on every machine."""

from __future__ import annotations

from collections import Counter

import torch

from proxy_tasks.checks import whole
from proxy_tasks.datasets.dataset import Dataset
from proxy_tasks.datasets.windows import LONGEST_CONTEXT, language_dataset

RARE = 10  # a character seen less often in the training text becomes the unknown token, which is token 0


def load_pydoc(context: int = 32) -> Dataset:
    """Return topics in alphabetical order; the last tenth of the text is for validation.

    Python versions differ in this text, and so do the digests.

    Args:
        context: characters in a window.

    Raises:
        InputError: `context` is out of range.
    """
    whole("data set pydoc", "context", context, 1, LONGEST_CONTEXT)
    text = _text()
    valid = len(text) // 10
    counts = Counter(text[:-valid])
    characters = sorted(c for c, count in counts.items() if count >= RARE)
    number = {c: i for i, c in enumerate(characters, start=1)}
    tokens = torch.tensor([number.get(c, 0) for c in text])
    return language_dataset("data set pydoc", tokens[:-valid], tokens[-valid:], context, len(characters) + 1)


def _text() -> str:
    from pydoc_data.topics import topics  # imported here: half a megabyte that other data sets do not need

    return "\n".join(topics[name] for name in sorted(topics))
