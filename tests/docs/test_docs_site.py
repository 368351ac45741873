"""The site: built strictly, complete, in need of no network; and what pages name exists."""

from __future__ import annotations

import re
import shlex
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
import yaml
from markdown.extensions.toc import slugify

from scripts.docs_site.commands_page import commands
from tests.support.blocks import PAGES, ROOT
from tests.support.patience import call

README = ROOT / "README.md"
_LOADED = {"script": "src", "link": "href", "img": "src", "iframe": "src", "source": "src", "video": "src"}
_LINK = re.compile(r"\]\(([^)\s]+)\)")
_CODE = re.compile(r"(?<!`)`([^`\n]+)`(?!`)")
_FILE = re.compile(r"\b(?:programs|proxy_tasks|search|configs|scripts|tests|docs)/[\w./-]*\w\.(?:py|yaml|md|json|sh)\b")


class Page(HTMLParser):
    """What a page of the site loads, where its links lead, and the anchors in it."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.loaded: list[str] = []
        self.links: list[str] = []
        self.anchors: set[str] = set()
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        if tag in _LOADED and (address := values.get(_LOADED[tag])):
            self.loaded.append(address)
        if tag == "a" and (address := values.get("href")):
            self.links.append(address)
        if values.get("id"):
            self.anchors.add(str(values["id"]))


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built as `make docs` builds it: any warning, of a broken link or an unlisted page, is an error."""
    folder = tmp_path_factory.mktemp("site")
    mkdocs = Path(sys.executable).with_name("mkdocs")
    built = call(mkdocs, "build", "--strict", "--site-dir", folder, folder=ROOT)
    assert built.code == 0, built.out + built.err
    return folder


@pytest.fixture(scope="module")
def pages(site: Path) -> dict[Path, Page]:
    return {path: Page(path.read_text(encoding="utf-8")) for path in site.rglob("*.html")}


def test_every_page_is_in_the_navigation(pages: dict[Path, Page], site: Path) -> None:
    text = re.sub(r"!\w+", "", (ROOT / "mkdocs.yml").read_text())
    listed = re.findall(r"[\w/]+\.md", str(yaml.safe_load(text)["nav"]))
    assert {path.name for path in (ROOT / "docs").glob("*.md")} <= set(listed)
    assert {site / name.replace(".md", ".html") for name in listed} <= pages.keys()
    assert len(listed) == len(set(listed))


def test_nothing_is_loaded_from_a_network(pages: dict[Path, Page], site: Path) -> None:
    for path, page in pages.items():
        for address in page.loaded:
            assert not urlsplit(address).netloc, f"{path.name} loads {address}"
            if path.name != "404.html":  # which is shown at any address, and so names its files from the root
                assert (path.parent / unquote(urlsplit(address).path)).exists(), f"{path.name} lacks {address}"
    for path in site.rglob("*.css"):
        assert not re.search(r"@import|url\(['\"]?(https?:)?//", path.read_text(encoding="utf-8")), path


def test_links_lead_somewhere(pages: dict[Path, Page]) -> None:
    for path, page in pages.items():
        for link in page.links:
            address = urlsplit(link)
            if address.scheme or address.netloc or path.name == "404.html" or link == ".":
                continue
            target = (path.parent / unquote(address.path)).resolve() if address.path else path
            assert target.exists(), f"{path.name}: {link}"
            if address.fragment and target in pages:
                assert unquote(address.fragment) in pages[target].anchors | {"__comments"}, f"{path.name}: {link}"


def test_links_of_the_readme_lead_somewhere() -> None:
    for link in _LINK.findall(README.read_text(encoding="utf-8")):
        address = urlsplit(link)
        if address.scheme:
            continue
        target = ROOT / address.path
        assert target.exists(), link
        if address.fragment:
            titles = re.findall(r"^#+ (.+)$", target.read_text(encoding="utf-8"), re.MULTILINE)
            assert address.fragment in {slugify(title.replace("`", ""), "-") for title in titles}, link


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_files_and_commands_in_the_text_exist(page: Path) -> None:
    """Those in prose and tables, which are not run: `optsearch leaderboard --pareto`."""
    text = page.read_text(encoding="utf-8")
    missing = [name for name in _FILE.findall(text) if not (ROOT / name).exists()]
    assert not missing, missing
    known = commands()
    for code in _CODE.findall(text):
        words = shlex.split(code) if code.startswith("optsearch ") else []
        if len(words) < 2 or words[1].isupper() or words[1].startswith("-"):
            continue
        assert words[1] in known, code
        command, _ = known[words[1]]
        options = {name for param in command.params for name in (*param.opts, *param.secondary_opts)}
        wrong = [word for word in words[2:] if word.startswith("-") and word.partition("=")[0] not in options]
        assert not wrong, f"{code}: {wrong}"
