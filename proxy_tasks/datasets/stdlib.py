"""The sources of Python's standard library as a corpus of characters: real code, wherever Python is installed."""

from __future__ import annotations

import sys
import sysconfig
import tokenize
from hashlib import sha256
from pathlib import Path

from programs.errors import InputError

from proxy_tasks.checks import real, whole
from proxy_tasks.datasets.dataset import Dataset
from proxy_tasks.datasets.masking import masked
from proxy_tasks.datasets.windows import LONGEST_CONTEXT, characters_dataset

CHARACTERS = 500_000  # of the text, about as long as that of pydoc


def load_stdlib(context: int = 32) -> Dataset:
    """Return modules in a fixed shuffled order, 500,000 characters of them; the last tenth is for validation.

    Python versions differ in this text, and so do the digests.

    Args:
        context: characters in a window.

    Raises:
        InputError: `context` is out of range; this Python has no sources of its library.
    """
    return _load("data set stdlib", context)


def load_masked_stdlib(context: int = 32, share: float = 0.15) -> Dataset:
    """Return the same text with tokens masked at random in every window, as for BERT.

    Args:
        context: characters in a window.
        share: of the characters of a window that are to be predicted, at least one.

    Raises:
        InputError: an argument is out of range; this Python has no sources of its library.
    """
    what = "data set masked_stdlib"
    real(what, "share", share, 1e-6, 1)
    return masked(_load(what, context), share)


def _load(what: str, context: int) -> Dataset:
    whole(what, "context", context, 1, LONGEST_CONTEXT)
    return characters_dataset(what, _text(what), context)


def _text(what: str) -> str:
    """Return the sources of modules that are one file, without packages and what others have installed."""
    folder = Path(sysconfig.get_path("stdlib"))
    files = (folder / f"{name}.py" for name in sorted(sys.stdlib_module_names, key=_shuffled))
    text = ""
    for file in files:
        if len(text) < CHARACTERS and file.is_file():
            with tokenize.open(file) as opened:
                text += opened.read()
    if len(text) < CHARACTERS:
        raise InputError(
            f"{what}: {folder} has {len(text):,} characters of sources, {CHARACTERS:,} are needed; install Python with"
            " the sources of its library"
        )
    return text[:CHARACTERS]


def _shuffled(name: str) -> str:
    return sha256(name.encode()).hexdigest()
