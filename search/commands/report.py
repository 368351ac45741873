"""The command `optsearch report`: a page about a search, written once or again and again while it runs."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Annotated

import typer

from programs.errors import InputError

from search.commands.export import refuse_database
from search.commands.options import RESULTS, SearchOption, StoreOption
from search.commands.terminal import console
from search.commands.watch import seconds_of
from search.report.page import Page, html_of, page_of
from search.report.source import ReportedSearch
from search.results.results import open_results


def command(
    seconds: Annotated[str | None, typer.Argument(metavar="SECONDS", help="With --watch: between two pages.")] = None,
    output: Annotated[Path, typer.Option("--output", "-o", help="File to write: a page for browsers.")] = Path(
        "report.html"
    ),
    store: StoreOption = RESULTS,
    search: SearchOption = None,
    watch: Annotated[
        bool, typer.Option("--watch", help="Write it again every 60 s, or every SECONDS, until Ctrl-C.")
    ] = False,
) -> None:
    """A page about a search, in one file that needs no network: curves, the winner, its family, the evidence."""
    if watch:
        watch_report(output, store, search, seconds_of(seconds or "60"))
        return
    if seconds is not None:
        raise InputError(f"report: unexpected '{seconds}'; the file is named with -o FILE, a search with --search NAME")
    write_report(output, store, search)


def write_report(output: Path, location: str, search: str | None) -> None:
    """Write the page and say so.

    Raises:
        InputError: there is no such database or search, it holds what optsearch did not write, or the file cannot be
            written.
    """
    _check_folder(output)
    _write(output, html_of(_read(location, search)))
    console.print(f"wrote {output} ({output.stat().st_size / 2**20:.1f} MiB); open it in a browser", soft_wrap=True)


def watch_report(
    output: Path, location: str, search: str | None, seconds: float, wait: Callable[[float], None] = time.sleep
) -> None:
    """Write the page again and again until it is interrupted; an open page reloads itself meanwhile.

    Raises:
        InputError: as `write_report`.
    """
    _check_folder(output)
    page = None
    with suppress(KeyboardInterrupt):
        while True:
            page = _read(location, search)
            _write(output, html_of(page, seconds))
            console.print(f"{page.made:%H:%M:%S} UTC: wrote {output}; Ctrl-C ends this", soft_wrap=True)
            wait(seconds)
    if page is not None:
        _write(output, html_of(page))  # which no longer reloads itself


def _read(location: str, search: str | None) -> Page:
    with open_results(location) as results:
        return page_of(ReportedSearch(results, search))


def _check_folder(output: Path) -> None:
    """Refuse a file that cannot be written, before anything is read."""
    refuse_database(output)
    try:
        is_folder, has_folder = output.is_dir(), output.parent.is_dir()
    except OSError as error:  # such as a name that is too long, or a folder that may not be looked into
        raise _unwritable(output, error) from None
    if is_folder:
        raise InputError(f"{output}: is a folder; name a file in it with -o, such as {output / 'report.html'}")
    if not has_folder:
        raise InputError(f"{output}: no folder {output.parent}; make it, or name another file with -o")


def _write(output: Path, text: str) -> None:
    """Put the whole file in its place at once: a reader sees the old one or the new one.

    Raises:
        InputError: it cannot be written.
    """
    try:
        mode = output.stat().st_mode & 0o777 if output.exists() else 0o666 & ~_umask()
        handle, name = tempfile.mkstemp(dir=output.parent, prefix=f".{output.name}.", suffix=".part")
        try:
            with os.fdopen(handle, "w", encoding="utf-8") as file:
                file.write(text)
            Path(name).chmod(mode)
            Path(name).replace(output)
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise
    except OSError as error:
        raise _unwritable(output, error) from None


def _unwritable(output: Path, error: OSError) -> InputError:
    return InputError(f"{output}: cannot be written ({error.strerror}); name another file with -o")


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
