"""Whether SQLite can read all that a write-ahead log holds (https://www.sqlite.org/fileformat2.html, section 4).

A log is read up to its first frame whose checksum is wrong; what was committed after that is dropped without a word.
A process that is killed leaves at most one such frame, cut short or over older frames, and no commit behind it. Damage
does, and sometimes a power cut.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, NamedTuple

from programs.later import np

if TYPE_CHECKING:
    from numpy.typing import NDArray

HEAD, FRAME_HEAD = 32, 24  # bytes
_MAGIC = {0x377F0682: "<u4", 0x377F0683: ">u4"}  # with the type of the words that checksums are of
_SMALLEST_PAGE, _LARGEST_PAGE = 512, 65536
_AT_ONCE = 1000  # frames
_SETTLE_SECONDS = 0.1  # within which a run that is writing goes on

Checksum = tuple[int, int]
_Matrix = tuple[tuple[int, int], tuple[int, int]]


class Unreadable(NamedTuple):
    """The damaged frame, from 1, or 0 for the head of the log, and how many commits lie there and behind it."""

    frame: int
    commits: int


def unreadable_commits(log: Path) -> Unreadable | None:
    """Return what of a log SQLite does not read although it was committed; None where all is well.

    It is looked at twice, since a run may be writing it.
    """
    with suppress(FileNotFoundError), log.open("rb") as file:
        first = _look(file)
        if first is not None:
            time.sleep(_SETTLE_SECONDS)
            file.seek(0)
            second = _look(file)
            return second if second is not None and second.frame == first.frame else None
    return None


def _look(file: BinaryIO) -> Unreadable | None:
    head = file.read(HEAD)
    if len(head) < HEAD or not any(head):  # nothing has been committed yet
        return None
    magic, _, page, _, *salts, first, second = np.frombuffer(head, ">u4").tolist()
    words = _MAGIC.get(magic)
    start = None if words is None else _checksums(np.frombuffer(head[:24], np.uint8)[None], (0, 0), words)[0]
    if words is None or start != (first, second) or not _SMALLEST_PAGE <= page <= _LARGEST_PAGE:
        return Unreadable(0, 1) if len(file.read(FRAME_HEAD + _SMALLEST_PAGE)) > FRAME_HEAD else None
    found = _first_damaged(_frames(file, page), salts, start, words)
    file.seek(0)
    return found if file.read(HEAD) == head else None  # else the log was begun anew meanwhile


def _frames(file: BinaryIO, page: int) -> Iterator[NDArray[np.uint8]]:
    """Yield whole frames, [F, FRAME_HEAD + page] bytes."""
    size = FRAME_HEAD + page
    while len(part := file.read(_AT_ONCE * size)) >= size:
        yield np.frombuffer(part, np.uint8, len(part) // size * size).reshape(-1, size)


def _first_damaged(
    parts: Iterator[NDArray[np.uint8]], salts: list[int], checksum: Checksum, words: str
) -> Unreadable | None:
    number, damaged, commits = 0, 0, []
    for frames in parts:
        heads = frames[:, :FRAME_HEAD].copy().view(">u4").tolist()  # page, size if a commit, two salts, two checksums
        covered = np.concatenate([frames[:, :8], frames[:, FRAME_HEAD:]], axis=1)
        for head, found in zip(heads, _checksums(covered, checksum, words), strict=True):
            number, checksum = number + 1, found
            if not damaged and (head[2:4] != salts or tuple(head[4:]) != found):
                damaged = number
            if damaged and head[1] and head[2:4] == salts:  # others are left of an earlier log
                commits.append(number)
    if commits == [damaged] and number > damaged:  # the writer may have been killed within it
        return None
    return Unreadable(damaged, len(commits)) if commits else None


def _checksums(rows: NDArray[np.uint8], before: Checksum, words: str) -> list[Checksum]:
    """Return the checksum after each row of bytes, [F, 8 P], each beginning with that of the row before.

    With each pair (a, b) of words SQLite adds a + s2 to s1, then b + s1 to s2, modulo 2**32. That is a linear map of
    (s1, s2), so pairs can be weighed with its powers and added up.
    """
    pairs = rows.copy().view(words).astype(np.uint32).reshape(len(rows), -1, 2)  # [F, P, 2]
    added = np.stack([pairs[:, :, 0], pairs[:, :, 0] + pairs[:, :, 1]], axis=-1)
    whole, weights = _powers(pairs.shape[1])
    sums = (added[:, None] * weights).sum(axis=(2, 3), dtype=np.uint32)  # [F, 2]
    found = []
    (m11, m12), (m21, m22) = whole
    for first, second in sums.tolist():
        s1, s2 = before
        before = (m11 * s1 + m12 * s2 + first) % 2**32, (m21 * s1 + m22 * s2 + second) % 2**32
        found.append(before)
    return found


@cache
def _powers(pairs: int) -> tuple[_Matrix, NDArray[np.uint32]]:
    """Return the map of so many pairs, and for both checksums the weights of each pair, [2, P, 2]."""
    a, b, c, d, weights = 1, 0, 0, 1, []
    for _ in range(pairs):
        weights.append(((a, b), (c, d)))
        a, b, c, d = ((x % 2**32) for x in (a + b, a + 2 * b, c + d, c + 2 * d))
    return ((a, b), (c, d)), np.array(weights[::-1], np.uint32).transpose(1, 0, 2)
