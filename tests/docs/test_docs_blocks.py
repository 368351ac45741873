"""Every command and code block of the pages is run: see `blocks`. Files in configs are short versions of themselves.

One search is made for all pages; each gets a folder with a copy of its database. Its best program stands for program
1041 of the pages, the winner of the search that the README shows.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import sys
from collections import Counter
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import yaml
from markdown import markdown

from programs import parse
from programs.kernels.source import C, Source
from programs.run.sharing import Skeletons

from search.evidence.comparison import Comparison
from search.settings.funnel import Funnel
from search.settings.settings import Settings
from search.settings.settings_file import SettingsFile
from search.store import open_store

from tests.support.blocks import LANGUAGES, PAGES, ROOT, Block, blocks_of
from tests.support.forked import ForkServer
from tests.support.patience import Result, call
from tests.support.searches import rows_of_query

WINNER = "1041"
MOST_NOT_RUN = 23


# --- short versions ---------------------------------------------------------------------------------------------------


def shortened(settings: dict[str, Any]) -> dict[str, Any]:
    """The same settings, but a search of a second."""
    short = dict(settings)
    for key, few in (("budget", {"programs": 30}), ("enter", 4)):
        if key in short:
            short[key] = few
    if "budget" in short:
        strategy = short.get("strategy", {})
        repeats = {"repeats": 2} if "repeats" in strategy else {}  # the best of each is trained on sixteen seeds
        short["strategy"] = strategy | repeats | {"population": 10, "start_tuned": False}
    if "budget" in short or "stages" in short:
        short["evaluator"] = {"kind": "inline", "batch": 8, "lookahead": 2}
    for key in ("tasks", "each"):
        if key in short:
            short[key] = [_short_task(task) for task in short[key]]
    if "meta_validation" in short:
        short["meta_validation"] = {"tasks": [_short_task(t) for t in short["meta_validation"]["tasks"]], "every": 20}
    if "stages" in short:
        tasks = [[_short_task(task) for task in stage["tasks"]] for stage in short["stages"]]
        short["baselines"] = short["baselines"][:1]
        short["stages"] = [{"tasks": t[:1], "keep": 2, "trials": 2, "fresh_seeds": 2} for t in tasks]
    if "arms" in short:
        short["baselines"] = ["adamw"]
        short["arms"] = {
            name: arm | ({"budget": {"programs": 20}} if "budget" in arm else {}) for name, arm in short["arms"].items()
        }
    return short


def _short_task(task: dict[str, Any]) -> dict[str, Any]:
    return task | {"seeds": 1, "steps": 20, "anchors": [2.0, 1.0]}


# --- a folder for each page -------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def searched(server: ForkServer, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The project's folder after its first search, as far as pages speak of it."""
    folder = tmp_path_factory.mktemp("searched")
    for path in (ROOT / "configs").rglob("*.yaml"):
        short = folder / path.relative_to(ROOT)
        short.parent.mkdir(parents=True, exist_ok=True)
        short.write_text(yaml.safe_dump(shortened(yaml.safe_load(path.read_text()))))
    (folder / "scripts").symlink_to(ROOT / "scripts")
    done = server.optsearch(folder, "run", "configs/quickstart.yaml")
    assert done.code == 0, done.err
    return folder


@pytest.fixture(scope="module")
def winner(searched: Path) -> str:
    with closing(open_store(str(searched / "results.db"))) as store:
        return str(rows_of_query(store, "SELECT id FROM v_leaderboard LIMIT 1")[0]["id"])


class Reader:
    """Does what a page says, in a folder of its own."""

    def __init__(self, folder: Path, server: ForkServer, winner: str, urls: dict[str, str]) -> None:
        self._folder = folder
        self._server = server
        self._replaced = {WINNER: winner} | urls

    def follow(self, blocks: list[Block]) -> None:
        scripts = [block for block in blocks if is_script(block)]
        for block in blocks:
            if block.marker == "file":
                (self._folder / block.value).write_text(self._ours(block.text))
            elif block.marker != "no run" and not is_script(block):
                self._follow(block)
            elif scripts and block is scripts[-1]:
                self._run_script(scripts)

    def _follow(self, block: Block) -> None:
        if block.language == "sh":
            for command in block.commands():
                self._run(block, command)
        elif block.language == "yaml":
            check_settings(block, self._folder)
        elif block.language == "c":
            check_rule(block)
        elif block.language == "python":
            parse(block.text, block.place)

    def _ours(self, text: str) -> str:
        for theirs, ours in self._replaced.items():
            text = text.replace(theirs, ours)
        return text

    def _run(self, block: Block, command: list[str] | str) -> None:
        if isinstance(command, str):
            code, out, err = self._in_shell(self._ours(command))
        elif command[0] in ("optsearch", ".venv/bin/optsearch"):
            words = [self._ours(word) for word in command[1:]]
            code, out, err = self._server.optsearch(self._folder, *words, *block.more(words[0]))
        elif command[0] == "python" and (command[1] == "-m" or command[1].endswith(".py")):
            code, out, err = self._server.python(self._folder, *command[1:])
        else:
            code, out, err = self._in_shell(self._ours(shlex.join(command)))
        assert code == 0, f"{block.place}: {command}\n{out}{err}"
        assert "Traceback" not in err, f"{block.place}: {command}\n{err}"

    def _in_shell(self, command: str) -> Result:
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        return call("bash", "-c", command, folder=self._folder, environment=os.environ | {"PATH": path})

    def _run_script(self, blocks: list[Block]) -> None:
        """Statements keep the numbers of their lines, for tracebacks."""
        lines = [""] * (blocks[-1].line + blocks[-1].text.count("\n"))
        for block in blocks:
            text = self._ours(block.text).splitlines()
            lines[block.line - 1 : block.line - 1 + len(text)] = text
        script = self._folder / f"{blocks[0].page.stem}_page.py"
        script.write_text("\n".join(lines))
        code, out, err = self._server.python(self._folder, script.name)
        assert code == 0, f"{blocks[0].page.name}: {out}{err}"


def is_script(block: Block) -> bool:
    """Whether a block is Python to be run; a `def train(w, g, m, v, lr):` is a program of the language."""
    return block.language == "python" and not block.marker and not block.text.startswith("def train(w, g, m, v, lr):")


def check_settings(block: Block, folder: Path) -> None:
    """Raise InputError unless a block is settings or a part of them."""
    path = folder / "block.yaml"
    path.write_text(block.text)
    file = SettingsFile(path)
    if "stages" in file.data:
        file.read(Funnel)
        return
    if "arms" in file.data:
        Comparison(file)
        return
    whole = yaml.safe_load((ROOT / "configs" / "quickstart.yaml").read_text())
    file.read(Settings, whole | file.data)


def check_rule(block: Block) -> None:
    """The block must be part of what is made of its program."""
    assert block.marker == "of", f"{block.place}: of which program?"
    program = parse(block.value.replace(";", "\n").replace("\n ", "\n"), block.place)
    assert block.text in Source(Skeletons([program])).text(C), block.place


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_what_a_page_says_works(
    page: Path, server: ForkServer, searched: Path, winner: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    blocks = blocks_of(page)
    urls = {}
    if "postgresql://me@server/optsearch" in " ".join(b.text for b in blocks if b.language == "sh"):
        urls["postgresql://me@server/optsearch"] = request.getfixturevalue("postgres_server").database()
    folder = tmp_path / "project"
    shutil.copytree(searched, folder, symlinks=True)
    Reader(folder, server, winner, urls).follow(blocks)


# --- what blocks and pages must be ------------------------------------------------------------------------------------


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_blocks_name_a_language_and_their_markers_are_right(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    blocks = blocks_of(page)
    for block in blocks:
        assert block.language in LANGUAGES, f"{block.place}: ```{block.language}; there are {', '.join(LANGUAGES)}"
        assert block.marker != "run" or block.language == "sh", block.place
        assert block.marker != "no run" or len(block.value.split()) > 2, f"{block.place}: say why"
    assert len(re.findall(r"<!--", text)) == sum(bool(block.marker) for block in blocks), "a marker marks nothing"
    html = markdown(text, extensions=["tables", "pymdownx.superfences"])
    assert not re.search(r"<pre><code>", html), f"{page.name}: a block is indented; put it between ``` with a language"


def test_few_blocks_are_not_run() -> None:
    skipped = [block for page in PAGES for block in blocks_of(page) if block.marker == "no run"]
    reasons = Counter(block.value for block in skipped)
    listed = "\n".join(f"{block.place}: {block.value}" for block in skipped)
    print(f"{len(skipped)} blocks are not run:\n{listed}")
    assert len(skipped) <= MOST_NOT_RUN, f"{reasons}\n{listed}"
