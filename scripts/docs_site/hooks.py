"""Hooks of mkdocs: the reference is made from the code, and files of the project that pages link to are added."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

ROOT = Path(__file__).resolve().parents[2]
if str(ROOT) not in sys.path:  # mkdocs loads only this file
    sys.path.insert(0, str(ROOT))

from scripts.docs_site.commands_page import commands_page  # noqa: E402
from scripts.docs_site.functions_page import functions_page  # noqa: E402
from scripts.docs_site.python_page import python_page  # noqa: E402
from scripts.docs_site.settings_page import settings_page  # noqa: E402
from scripts.docs_site.store_page import store_page  # noqa: E402
from scripts.docs_site.tasks_page import tasks_page  # noqa: E402

PAGES = {
    "reference/commands.md": commands_page,
    "reference/functions.md": functions_page,
    "reference/python.md": python_page,
    "reference/settings.md": settings_page,
    "reference/store.md": store_page,
    "reference/tasks.md": tasks_page,
    "reference/changes.md": lambda: (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"),
}
_OUTSIDE = re.compile(r"\]\(\.\./((?:configs|scripts|tests|search|programs|proxy_tasks)/[^)#]+|README\.md|LICENSE)\)")


def on_files(files: Files, config: Any) -> Files:
    """Add the pages made from the code, and the files outside the folder of pages that pages link to."""
    for path, make in PAGES.items():
        files.append(File.generated(config, path, content=make()))
    linked = {match[1] for file in files.documentation_pages() for match in _OUTSIDE.finditer(file.content_string)}
    for path in sorted(linked):
        files.append(File.generated(config, f"files/{path}", abs_src_path=str(ROOT / path)))
    return files


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Let links to files outside the folder lead to their copies; pages in sub-folders have no such links."""
    return _OUTSIDE.sub(r"](files/\1)", markdown)
