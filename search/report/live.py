"""The report of a search while it runs, for a browser of this machine: served by a process of its own.

The process is nice to the run, which does not wait for it and goes on if it dies. It ends with the run, however that
ends: when the pipe to it closes. A page is made when it is asked for and the last one is old.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from html import escape
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from programs.errors import InputError

from search.report.loopback import HOST, hosts_of, listening
from search.report.page import html_of, page_of
from search.report.source import ReportedSearch
from search.results.results import Results, open_results

LEAST_SECONDS = 5.0  # between two pages
SHARE = 0.05  # of the time that pages are made in, at most
GRACE_SECONDS = 5.0  # in which the process ends by itself
_WAITING = """<!doctype html><html lang="en"><head><meta charset="utf-8"><meta http-equiv="refresh" content="2">
<title>optsearch report</title></head><body><p>waiting: {}</p></body></html>"""


@contextmanager
def serving(location: str, search: str, port: int = 0) -> Iterator[str]:
    """Serve the report of a search until the context ends, and give its address.

    Args:
        location: of the database, a URL or the path of a SQLite file; it need not be there yet.
        search: the name of the search, which need not be there yet either.
        port: to listen on; with 0 any that is free.

    Raises:
        InputError: the port cannot be used.
    """
    with listening(port) as listener:
        command = [sys.executable, "-P", "-m", "search.report.live", str(listener.fileno())]
        process = subprocess.Popen(  # noqa: S603 - this very file
            command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            pass_fds=[listener.fileno()], start_new_session=True,
        )  # fmt: skip
        assert process.stdin is not None
        try:
            with suppress(BrokenPipeError):  # what the process is told goes this way: others could read its arguments
                process.stdin.write(f"{json.dumps([location, search])}\n".encode())
                process.stdin.flush()
            yield f"http://{HOST}:{listener.getsockname()[1]}/"
        finally:
            _end(process)


def _end(process: subprocess.Popen[bytes]) -> None:
    with suppress(BrokenPipeError, subprocess.TimeoutExpired):
        process.communicate(timeout=GRACE_SECONDS)  # which closes the pipe
    process.kill()
    process.wait()


class LivePage:
    """The page of a search, made anew when it is old.

    Args:
        location: of the database.
        search: the name of the search.
    """

    def __init__(self, location: str, search: str) -> None:
        self._location, self._search = location, search
        self._results: Results | None = None
        self._lock = threading.Lock()
        self._html, self._until = "", 0.0

    def html(self) -> str:
        """Return the page, or what it waits for."""
        with self._lock:
            if time.monotonic() >= self._until:
                self._make()
            return self._html

    def _make(self) -> None:
        began = time.monotonic()
        try:
            self._results = self._results or open_results(self._location)
            page = page_of(ReportedSearch(self._results, self._search))
        except InputError as error:
            self._html = _WAITING.format(escape(str(error)))
            return
        wait = max(LEAST_SECONDS, (time.monotonic() - began) / SHARE)
        self._html, self._until = html_of(page, round(wait, 1)), time.monotonic() + wait


def server_of(page: LivePage, listener: socket.socket) -> ThreadingHTTPServer:
    """Return a server that answers requests for the one page, and for nothing else."""
    hosts = hosts_of(listener.getsockname()[1])

    class Handler(BaseHTTPRequestHandler):
        """Answers GET and HEAD for the page."""

        def do_GET(self) -> None:
            if self._is_ours():
                self._answer(200, "text/html", page.html())

        def do_HEAD(self) -> None:  # an open page asks whether it is still served
            if self._is_ours():
                self._answer(200, "text/html", "")

        def _is_ours(self) -> bool:
            asked = [host.lower() for host in self.headers.get_all("Host", [])]
            if len(asked) != 1 or asked[0] not in hosts:
                self._answer(403, "text/plain", f"This report answers only to http://{HOST}.\n")
                return False
            if self.path.partition("?")[0] != "/":
                self._answer(404, "text/plain", "There is one page, /.\n")
                return False
            return True

        def _answer(self, status: int, kind: str, text: str) -> None:
            content = text.encode()
            self.send_response(status)
            self.send_header("Content-Type", f"{kind}; charset=utf-8")
            self.send_header("Content-Length", str(len(content)))
            self.send_header("Cache-Control", "no-store")
            self.send_header("Content-Security-Policy", "frame-ancestors 'none'")
            self.send_header("X-Content-Type-Options", "nosniff")
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: Any) -> None:
            """Say nothing: the terminal is that of the run."""

    server = ThreadingHTTPServer(listener.getsockname(), Handler, bind_and_activate=False)
    server.socket.close()
    server.socket, server.daemon_threads = listener, True
    return server


def main() -> None:
    """Serve what the first line of the standard input names, until that ends."""
    os.nice(10)
    location, search = json.loads(sys.stdin.readline())
    server = server_of(LivePage(location, search), socket.socket(fileno=int(sys.argv[1])))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    sys.stdin.read()  # until the run ends


if __name__ == "__main__":
    main()
