"""Texts as editors and shells save them."""

from __future__ import annotations

from pathlib import Path

import pytest

from programs import parse
from programs.errors import InputError
from programs.text_file import MOST_MIB, encoding_of, read_text

TEXT = "# naïve – 数\nupdate = g * lr\n"
ENCODINGS = ("utf-8", "utf-8-sig", "utf-16", "utf-32", "utf-16-le with mark", "utf-16-be with mark")


def encoded(text: str, encoding: str) -> bytes:
    name, _, mark = encoding.partition(" ")
    return (f"\ufeff{text}" if mark else text).encode(name)


def refusal(path: Path) -> str:
    with pytest.raises(InputError) as refused:
        read_text(path, "a program")
    message = str(refused.value)
    assert message.startswith(f"{path}: ") and "\n" not in message
    return message


@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_every_marked_encoding_and_every_end_of_line_gives_the_same_text(
    tmp_path: Path, encoding: str, end: str
) -> None:
    path = tmp_path / "p.txt"
    path.write_bytes(encoded(TEXT.replace("\n", end), encoding))
    assert read_text(path, "a program") == TEXT
    assert str(parse(read_text(path, "a program"))) == "update = g * lr"


@pytest.mark.parametrize(
    ("data", "said"),
    [
        ("update = g\n".encode("utf-16-le"), "is not text (null characters, as in UTF-16 without a byte order mark)"),
        ("update = g\n".encode("utf-16-be"), "null characters"),
        (
            "a = g\nupdate = g  # é".encode("latin-1"),
            "is not text (line 2 is not UTF-8); give a program, saved as UTF-8",
        ),
        (b"\xff\xfea", "is not text (line 1 is not UTF-16-LE)"),
        (b"\x00\x01", "is not text"),
        (b"x" * (MOST_MIB * 2**20 + 1), "is larger than 16 MiB"),
    ],
)
def test_what_is_no_text_is_refused_with_what_to_do(tmp_path: Path, data: bytes, said: str) -> None:
    path = tmp_path / "p.txt"
    path.write_bytes(data)
    assert said in refusal(path)


def test_what_cannot_be_read(tmp_path: Path) -> None:
    assert "(No such file or directory); give the path of a program" in refusal(tmp_path / "absent")
    assert "(Is a directory)" in refusal(tmp_path)
    assert "(embedded null byte)" in refusal(Path("a\0b"))
    assert "is larger than" in refusal(Path("/dev/zero"))


@pytest.mark.parametrize("end", ["\0", "\0" * 4096, "\f\n", "\n\f"])
def test_what_editors_and_full_disks_leave_behind_is_read_or_refused_in_one_line(tmp_path: Path, end: str) -> None:
    path = tmp_path / "p.txt"
    path.write_bytes(f"update = g * lr\n{end}".encode())
    text = read_text(path, "a program")
    if "\0" in end:
        with pytest.raises(InputError, match="null bytes"):
            parse(text)
    else:
        assert str(parse(text)) == "update = g * lr"


def test_the_mark_of_utf_32_is_not_taken_for_that_of_utf_16() -> None:
    assert encoding_of("a".encode("utf-32")[:4]) == "utf-32"
    assert encoding_of("a".encode("utf-16")[:4]) == "utf-16"
    assert encoding_of(b"") == "utf-8"
