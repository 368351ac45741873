"""Texts that people write, as editors and shells save them: the one place that knows about encodings."""

from __future__ import annotations

import codecs
from pathlib import Path

from programs.errors import InputError

MOST_MIB = 16  # far above any program and any settings
# The marks with which a text may begin; that of UTF-16 is the beginning of one of UTF-32.
_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)


def encoding_of(start: bytes) -> str:
    """Return the encoding of a text by its first four bytes: UTF-8 unless it begins with a byte order mark.

    Raises:
        UnicodeError: there are null characters in them and no mark.
    """
    encoding = next((encoding for mark, encoding in _MARKS if start.startswith(mark)), "utf-8")
    if encoding == "utf-8" and b"\0" in start:
        raise UnicodeError("null characters, as in UTF-16 without a byte order mark")
    return encoding


def read_text(path: Path, expected: str) -> str:
    """Return the text of a file without its byte order mark, with all ends of lines as line feeds.

    Args:
        path: the file.
        expected: what the file should be, for messages, such as "a YAML file of settings".

    Raises:
        InputError: it cannot be read, is too large, or is no text.
    """
    try:
        with path.open("rb") as file:
            data = file.read(MOST_MIB * 2**20 + 1)
    except (OSError, ValueError) as error:  # a null character in the path is a ValueError
        reason = getattr(error, "strerror", None) or error
        raise InputError(f"{path}: cannot be read ({reason}); give the path of {expected}") from None
    if len(data) > MOST_MIB * 2**20:
        raise InputError(f"{path}: is larger than {MOST_MIB} MiB; give the path of {expected}")
    try:
        text = data.decode(encoding_of(data[:4]))
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise _no_text(path, f"line {line} is not {error.encoding.upper()}", expected) from None
    except UnicodeError as error:
        raise _no_text(path, str(error), expected) from None
    return text.replace("\r\n", "\n").replace("\r", "\n")


def _no_text(path: Path, reason: str, expected: str) -> InputError:
    return InputError(f"{path}: is not text ({reason}); give {expected}, saved as UTF-8")
