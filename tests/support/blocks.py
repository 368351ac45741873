"""The code blocks of pages, and what a test does with each.

Every block in backticks names its language, which decides what is done with it:

- `sh`: every command is run, and must succeed;
- `python`: the blocks of a page are run as one script, at the place of the last one; a `def train(w, g, m, v, lr):` is
  a program of the language, which must check;
- `yaml`: must be settings: of a search, a comparison or a funnel, or a part of those of a search;
- `c`: must stand in the fused update rule of the program that the comment above it names;
- `text`: is output, or says how something looks; nothing is done with it.

A comment of HTML in the line above a block, which readers of the page do not see, changes that:

- `<!-- file: NAME -->`: the block is the content of this file, which the blocks after it may use;
- `<!-- run: COMMAND ARGUMENTS; COMMAND ARGUMENTS -->`: these arguments are added to these commands of `optsearch`, so
  that they do less;
- `<!-- of: PROGRAM -->`: the program, with `;` between statements, of a block in C;
- `<!-- no run: WHY -->`: nothing is done with it.
"""

from __future__ import annotations

import re
import shlex
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
LANGUAGES = ("sh", "python", "yaml", "c", "text")

_FENCE = re.compile(r"( *)```(.*)")
_MARKER = re.compile(r" *<!-- (file|of|run|no run): (.+) -->")


class Block(NamedTuple):
    """A code block. `line` is that of its first line in the page; `marker` is "", file, of, run, or no run."""

    page: Path
    line: int
    language: str
    text: str
    marker: str
    value: str

    @property
    def place(self) -> str:
        """Where it stands."""
        return f"{self.page.relative_to(ROOT)}:{self.line}"

    def more(self, command: str) -> list[str]:
        """Arguments that are added to a command of optsearch."""
        parts = [shlex.split(part) for part in self.value.split(";")] if self.marker == "run" else []
        return [word for name, *words in parts if name == command for word in words]

    def commands(self) -> Iterator[list[str] | str]:
        """The commands of a shell block, each as its words, or as a line where a shell must read it."""
        for line in self.text.replace("\\\n", " ").splitlines():
            words = shlex.split(line, comments=True)
            if words:
                yield line if _needs_shell(line) else words


def _needs_shell(command: str) -> bool:
    """Whether a command is more than words."""
    lexer = shlex.shlex(command, posix=True, punctuation_chars="|&;<>")
    lexer.whitespace_split = True
    return any(set(word) <= set("|&;<>") for word in lexer)


def blocks_of(page: Path) -> list[Block]:
    """The blocks of a page in their order."""
    found: list[Block] = []
    lines = page.read_text(encoding="utf-8").splitlines()
    number = 0
    while number < len(lines):
        opening = _FENCE.fullmatch(lines[number])
        number += 1
        if not opening:
            continue
        start, marker = number, _MARKER.fullmatch(lines[number - 2]) if number > 1 else None
        while lines[number] != f"{opening[1]}```":
            number += 1
        text = textwrap.dedent("\n".join(lines[start:number])) + "\n"
        kind, value = (marker[1], marker[2]) if marker else ("", "")
        found.append(Block(page, start + 1, opening[2], text, kind, value))
        number += 1
    return found
