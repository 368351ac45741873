"""The user's files: finding them, telling training from validation, reading rows. Nothing is downloaded."""

from __future__ import annotations

import glob
import logging
import re
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from programs.errors import InputError
from programs.text_file import encoding_of

PARTS = {"train": "train", "training": "train", "valid": "valid", "val": "valid", "validation": "valid", "test": "test"}


def extra(module: str, what: str) -> Any:
    """Return a module of the extra `data`.

    Raises:
        InputError: it is not installed.
    """
    try:
        return import_module(module)
    except ImportError as error:
        raise InputError(f"{what} needs the package '{module}': pip install 'optsearch[data]'") from error


def existing(path: Any, what: str) -> Path:
    """Return `path` as an absolute path of something that exists.

    Raises:
        InputError: it is not a path, or nothing exists there.
    """
    if not isinstance(path, str | Path) or not str(path):
        raise InputError(f"{what}: 'path' is {path!r}; give a file or a folder")
    found = Path(path).expanduser().absolute()
    if not found.exists():
        raise InputError(f"{what}: nothing exists at '{path}'; give a file or a folder that exists")
    return found


def files_of(root: Path, suffixes: Collection[str]) -> list[Path]:
    """Return the file itself, or all files in and below the folder, in alphabetical order, without hidden ones."""
    found = [root] if root.is_file() else sorted(p for p in root.rglob("*") if p.is_file())
    return [p for p in found if p.suffix.lower() in suffixes and not p.name.startswith(".")]


def part_of(name: str) -> str:
    """Return what a file or folder is for, by the first word of its name: "train", "valid", "test", or ""."""
    word = re.match(r"[a-z]*", name.lower())
    return PARTS.get(word[0], "") if word else ""


def divide(files: Sequence[Path], part: Callable[[Path], str], what: str) -> tuple[list[Path], list[Path]]:
    """Return files for training, and files for validation, named `valid` or else `test`, if there are any.

    Raises:
        InputError: there are files for validation only.
    """
    parts: dict[str, list[Path]] = {"train": [], "valid": [], "test": [], "": []}
    for file in files:
        parts[part(file)].append(file)
    train = parts["train"] or parts[""]
    if not train:
        raise InputError(f"{what}: all files are named for validation ({files[0]}); name some 'train'")
    return train, parts["valid"] or parts["test"]


def named_part(root: Path) -> Callable[[Path], str]:
    """Return a function that gives the part of a file below `root`, by the outermost name that says so."""
    return lambda file: next(filter(None, map(part_of, file.relative_to(root).parts)), "")


def parquet_rows(file: Path, columns: Sequence[str], what: str) -> int:
    """Return the number of rows of a parquet file that has all of the columns.

    Raises:
        InputError: it is not a parquet file, or lacks a column.
    """
    parquet = extra("pyarrow.parquet", what)
    try:
        metadata = parquet.read_metadata(file)
    except (ValueError, OSError) as error:
        raise _unreadable(file, error, what) from error
    names = metadata.schema.to_arrow_schema().names
    for column in columns:
        if column not in names:
            raise InputError(f"{what}: '{file}' has no column '{column}'; it has {', '.join(names)}")
    return int(metadata.num_rows)


def read_rows(file: Path, columns: Sequence[str], what: str) -> Iterator[dict[str, Any]]:
    """Yield rows of a .parquet or .jsonl file, or the lines of a .txt file as the column "text".

    Raises:
        InputError: the file is broken, or a row lacks one of the columns.
    """
    reader = extra("datasets", what).IterableDataset
    with TemporaryDirectory() as cache, _one_message_only():  # the cache holds locks, no data
        try:
            read, options = _method(reader, file, columns, what)
            rows = read(glob.escape(str(file)), cache_dir=cache, **options)
            for i, row in enumerate(rows.decode(False) if rows.features else rows, start=1):
                for column in columns:
                    if column not in row:
                        raise InputError(f"{what}: '{file}', row {i} has no '{column}'; it has {', '.join(row)}")
                if file.suffix.lower() == ".txt" and "\0" in row["text"]:
                    raise InputError(f"{what}: '{file}', row {i} has null characters; save it as text in UTF-8")
                yield row
        except InputError:
            raise
        except (ValueError, TypeError, KeyError, OSError) as error:
            raise _unreadable(file, error, what) from error


def _method(reader: Any, file: Path, columns: Sequence[str], what: str) -> tuple[Callable[..., Any], dict[str, Any]]:
    """Return the method that reads this kind of file, and its options.

    Raises:
        InputError: the file is broken, or in an encoding that is not read.
    """
    suffix = file.suffix.lower()
    if suffix == ".parquet":
        parquet_rows(file, columns, what)
        return reader.from_parquet, {"columns": list(columns)}
    with file.open("rb") as opened:
        encoding = encoding_of(opened.read(4))
    if suffix == ".txt":
        return reader.from_text, {"encoding": encoding}
    if not encoding.startswith("utf-8"):
        raise InputError(f"{what}: '{file}' is in {encoding.upper()}; save it as UTF-8")
    return reader.from_json, {}


def _unreadable(file: Path, error: Exception, what: str) -> InputError:
    reason = " ".join(str(error).split())[:150]
    mend = "save it as UTF-8" if isinstance(error, UnicodeError) else "replace it"
    return InputError(f"{what}: '{file}' cannot be read as {file.suffix} file ({reason}); {mend}")


@contextmanager
def _one_message_only() -> Iterator[None]:
    """Silence the package's log, since it logs what it raises as well."""
    logger = logging.getLogger("datasets")
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        logger.setLevel(level)
