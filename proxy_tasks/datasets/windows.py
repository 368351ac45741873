"""Windows of a token stream: the samples of every language data set."""

from __future__ import annotations

from collections import Counter

import torch
from torch import Tensor

from programs.errors import InputError

from proxy_tasks.datasets.dataset import Dataset

LONGEST_CONTEXT = 2**16
RARE = 10  # a character seen less often in the training text becomes the unknown token, which is token 0


def windows(tokens: Tensor, context: int, stride: int) -> tuple[Tensor, Tensor]:
    """Return all windows `[N, context]` with a next token, and the next tokens of their positions `[N, context]`.

    Both are views of `tokens` `[n]`: overlapping windows take no more memory.
    """
    return tokens[:-1].unfold(0, context, stride), tokens[1:].unfold(0, context, stride)


def characters_dataset(what: str, text: str, context: int) -> Dataset:
    """Return a data set of next-character prediction; the last tenth of the text is for validation.

    Args:
        what: the name of the data set, for messages.
        text: the text.
        context: characters in a window.

    Raises:
        InputError: the text is too short for the context.
    """
    valid = len(text) // 10
    counts = Counter(text[:-valid])
    characters = sorted(c for c, count in counts.items() if count >= RARE)
    number = {c: i for i, c in enumerate(characters, start=1)}
    tokens = torch.tensor([number.get(c, 0) for c in text])
    return language_dataset(what, tokens[:-valid], tokens[-valid:], context, len(characters) + 1)


def language_dataset(what: str, train: Tensor, valid: Tensor, context: int, vocabulary: int) -> Dataset:
    """Return a data set of next-token prediction.

    Training windows start at every token, validation windows do not overlap.

    Args:
        what: the name of the data set, for messages.
        train: tokens for training, int64 `[n]`.
        valid: tokens for validation, int64 `[m]`.
        context: length of a window.
        vocabulary: number of different tokens.

    Raises:
        InputError: a text is too short for one window and the token after it.
    """
    for part, tokens in (("training", train), ("validation", valid)):
        if len(tokens) <= context:
            raise InputError(
                f"{what}: the {part} text has {len(tokens)} tokens; a context of {context} needs at least {context + 1}"
            )
    x, y = windows(train, context, stride=1)
    valid_x, valid_y = windows(valid, context, stride=context)
    # Validation samples are digested as they are: their shape contains the context.
    return Dataset(x, y, valid_x, valid_y, classes=vocabulary, content=(train, valid_x, valid_y))
