"""Programs by ID, file or name: files as editors and shells save them."""

from __future__ import annotations

from pathlib import Path

import pytest

from programs import zoo
from programs.errors import InputError

from search.results.programs import find_program


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_a_file_is_the_same_program_in_every_encoding(tmp_path: Path, encoding: str, end: str) -> None:
    path = tmp_path / "mine.txt"
    path.write_bytes(zoo.load("lion").as_function().replace("\n", end).encode(encoding))
    found = find_program(str(path), None)
    assert (found.name, found.program) == ("mine", zoo.load("lion"))


def test_a_file_that_is_no_text_is_refused_with_what_to_do(tmp_path: Path) -> None:
    path = tmp_path / "mine.txt"
    path.write_bytes(zoo.load("lion").as_function().encode("utf-16-le"))
    with pytest.raises(InputError, match=r"is not text \(.+\); give a program such as .+ saved as UTF-8"):
        find_program(str(path), None)
