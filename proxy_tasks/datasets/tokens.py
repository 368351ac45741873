"""Texts from the disk, cut into tokens by byte-pair encoding (Sennrich et al., arXiv:1508.07909) over bytes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from programs.errors import InputError

from proxy_tasks.checks import real, whole
from proxy_tasks.datasets.dataset import Dataset
from proxy_tasks.datasets.files import divide, existing, extra, files_of, named_part, read_rows
from proxy_tasks.datasets.windows import LONGEST_CONTEXT, language_dataset

WHAT = "data set tokens"
SUFFIXES = (".parquet", ".jsonl", ".txt")
LEAST_VOCABULARY = 257  # all bytes and the end of a document
CHUNK = 1_000  # documents that are encoded together


def load_tokens(
    path: str, vocabulary: int = 3_000, context: int = 32, share: float = 1.0, valid: int = 2_000, column: str = "text"
) -> Dataset:
    """Return documents one after the other, each with an end token, in windows of `context` tokens.

    A document is a line of a .txt file, or one row of a .jsonl or .parquet file; empty ones are left out. In a folder
    only one kind of file is read: .parquet if there are any, else .jsonl, else .txt. Files or folders named `train`
    and `valid` (or `val`, `validation`, `test`) are used as such; else the last documents are set aside for validation.
    The vocabulary is learned from the training documents: the bytes, their most frequent pairs, and the end token,
    which is the last one. A token takes 8 bytes of memory, and the text is in memory while it is read.

    Args:
        path: file or folder.
        vocabulary: number of different tokens.
        context: tokens in a window.
        share: share of the training documents that are used, always the same ones.
        valid: the most documents for validation that are used; as many are set aside where there are none.
        column: name of the text in .jsonl and .parquet files.

    Raises:
        InputError: an argument is out of range; nothing usable is there; the text is too short for the vocabulary or
            the context.
    """
    whole(WHAT, "vocabulary", vocabulary, LEAST_VOCABULARY, 2**24)
    whole(WHAT, "context", context, 1, LONGEST_CONTEXT)
    real(WHAT, "share", share, 1e-6, 1)
    whole(WHAT, "valid", valid, 1)
    extra("tokenizers", WHAT)
    train, held_out = _documents(existing(path, WHAT), column, share, valid)
    tokenizer = _learn(train, vocabulary - 1)
    stream, held_out_stream = (_encode(tokenizer, documents, end=vocabulary - 1) for documents in (train, held_out))
    return language_dataset(WHAT, stream, held_out_stream, context, vocabulary)


def _documents(root: Path, column: str, share: float, valid: int) -> tuple[list[str], list[str]]:
    train_files, valid_files = divide(_one_kind(root), named_part(root), WHAT)
    train = list(_sample(_texts(train_files, column), share if valid_files else 1.0))
    if valid_files:
        return train, list(islice(_texts(valid_files, column), valid))
    if valid >= len(train):
        raise InputError(
            f"{WHAT}: '{root}' has {len(train)} documents and none for validation; set 'valid' to fewer than these"
        )
    return list(_sample(train[:-valid], share)), train[-valid:]


def _one_kind(root: Path) -> list[Path]:
    files = next(filter(None, (files_of(root, {suffix}) for suffix in SUFFIXES)), [])
    if not files:
        raise InputError(f"{WHAT}: '{root}' is neither a {', '.join(SUFFIXES)} file nor a folder with one")
    return files


def _texts(files: Sequence[Path], column: str) -> Iterator[str]:
    for file in files:
        name = "text" if file.suffix.lower() == ".txt" else column
        for i, row in enumerate(read_rows(file, (name,), WHAT), start=1):
            text = row[name]
            if not isinstance(text, str):
                raise InputError(f"{WHAT}: '{file}', row {i}: '{name}' is not text; name the column with 'column'")
            if text and not text.isspace():
                yield text


def _sample(texts: Iterable[str], share: float) -> Iterator[str]:
    """Return each text with probability `share`, always the same ones."""
    rng = np.random.default_rng(0)
    return (text for text in texts if rng.random() < share)


def _learn(documents: Sequence[str], size: int) -> Any:
    """Return a tokenizer with exactly `size` tokens."""
    from tokenizers import Tokenizer, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    trainer = trainers.BpeTrainer(vocab_size=size, initial_alphabet=alphabet, show_progress=False)
    tokenizer.train_from_iterator(documents, trainer)
    if tokenizer.get_vocab_size() < size:
        raise InputError(
            f"{WHAT}: the training text has pairs for {tokenizer.get_vocab_size() + 1} tokens only; "
            "lower 'vocabulary' to that, or give more text"
        )
    return tokenizer


def _encode(tokenizer: Any, documents: Sequence[str], end: int) -> Tensor:
    """Return all documents as one stream, [n]."""
    parts = [np.zeros(0, dtype=np.int64)]
    for start in range(0, len(documents), CHUNK):
        encodings = tokenizer.encode_batch_fast(documents[start : start + CHUNK], add_special_tokens=False)
        parts.append(np.array([token for encoding in encodings for token in (*encoding.ids, end)]))
    return torch.from_numpy(np.concatenate(parts))
