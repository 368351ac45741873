"""What `optsearch init` writes: a search to begin with, and the configs that come with optsearch."""

from __future__ import annotations

from pathlib import Path

import pytest

from programs.errors import InputError

from search.commands.init import CONFIGS, begin, command, unpack
from search.commands.options import SEARCH_FILE
from search.settings.settings import Settings
from search.settings.settings_file import SettingsFile

from tests.support.command_line import contents

ROOT = Path(__file__).parents[3]


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_search_to_begin_with(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    begin(Path("my_search"))
    assert capsys.readouterr().out.splitlines() == [
        "wrote my_search/task.py", "wrote my_search/search.yaml", "Next:", "    cd my_search", "    optsearch run"
    ]  # fmt: skip
    config = folder / "my_search" / SEARCH_FILE
    assert SettingsFile(config).read(Settings).name == "my_search"
    commented = [line for line in config.read_text().splitlines() if line.lstrip().startswith("# ") and ": {" in line]
    assert len(commented) >= 4, "settings that wait to be used"
    for name in ("2024", "2x", "_1", "no", "1e5", "null", "True"):
        begin(Path(name))
        assert SettingsFile(folder / name / SEARCH_FILE).read(Settings).name == name


def test_nothing_is_overwritten(folder: Path) -> None:
    for write, there in (
        (lambda: begin(Path("one")), "one/search.yaml"),
        (lambda: unpack("all"), "configs/suite.yaml"),
    ):
        (folder / there).parent.mkdir()
        (folder / there).write_text("mine")
        before = contents(folder)
        with pytest.raises(InputError, match=rf"{there} is there already, and nothing is overwritten") as refused:
            write()
        assert contents(folder) == before and "\n" not in str(refused.value)


def test_an_example_comes_with_its_funnel_where_the_pages_have_it(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    unpack("quickstart")
    assert capsys.readouterr().out.count("wrote ") == 2
    for name in ("configs/quickstart.yaml", "configs/funnels/quickstart.yaml"):
        assert (folder / name).read_bytes() == (ROOT / name).read_bytes()


def test_all_examples_and_the_commands_that_read_them(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    unpack("all")
    assert contents(folder / "configs") == contents(ROOT / "configs") == contents(CONFIGS.resolve())
    out = capsys.readouterr().out
    for said in (
        "run configs/suite.yaml",
        "select configs/funnels/discovery.yaml",
        "compare configs/comparisons/figure2",
    ):
        assert f"    optsearch {said}" in out


def test_without_a_name_it_says_what_there_is(capsys: pytest.CaptureFixture[str]) -> None:
    command()
    out = capsys.readouterr().out
    for path in (ROOT / "configs").rglob("*.yaml"):
        assert f"\n{path.stem} " in out
    command(name="x", listed=True)
    assert capsys.readouterr().out == out


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"example": "quickest"}, "init: no example 'quickest'; there are all, discovery, "),
        ({"name": "x", "example": "suite"}, "init: give either the folder x or --example suite"),
        ({"name": "a b"}, "init: 'a b' cannot be the name of a search; take letters, digits, and . _ -"),
        ({"name": "file/below"}, "init: file/below/task.py cannot be written"),
    ],
)
def test_mistakes_get_one_line(folder: Path, arguments: dict[str, str], said: str) -> None:
    (folder / "file").write_text("")
    with pytest.raises(InputError) as refused:
        command(**arguments)
    assert str(refused.value).startswith(said) and "\n" not in str(refused.value)
    assert list(folder.iterdir()) == [folder / "file"]
