"""What mkdocs does beside turning Markdown into pages: the reference is made from the code, files of the project that
pages link to become part of the site."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

ROOT = Path(__file__).resolve().parents[2]
if str(ROOT) not in sys.path:  # mkdocs knows this file alone
    sys.path.insert(0, str(ROOT))

from scripts.docs_site.commands_page import commands_page  # noqa: E402
from scripts.docs_site.functions_page import functions_page  # noqa: E402
from scripts.docs_site.python_page import python_page  # noqa: E402
from scripts.docs_site.settings_page import settings_page  # noqa: E402
from scripts.docs_site.store_page import store_page  # noqa: E402

PAGES = {
    "reference/commands.md": commands_page,
    "reference/functions.md": functions_page,
    "reference/python.md": python_page,
    "reference/settings.md": settings_page,
    "reference/store.md": store_page,
    "reference/changes.md": lambda: (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"),
}
_OUTSIDE = re.compile(r"\]\(\.\./((?:configs|scripts|tests|search|programs|proxy_tasks)/[^)#]+|README\.md|LICENSE)\)")


def on_files(files: Files, config: Any) -> Files:
    """Add the pages that are made, and the files outside the folder of pages that these link to."""
    for path, make in PAGES.items():
        files.append(File.generated(config, path, content=make()))
    linked = {match[1] for file in files.documentation_pages() for match in _OUTSIDE.finditer(file.content_string)}
    for path in sorted(linked):
        files.append(File.generated(config, f"files/{path}", abs_src_path=str(ROOT / path)))
    return files


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Links to files outside the folder lead to their copies; pages that lie in a folder link no such files."""
    return _OUTSIDE.sub(r"](files/\1)", markdown)
