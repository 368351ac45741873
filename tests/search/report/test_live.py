"""The live report: for browsers of this machine alone, one page, made anew, gone with its run."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import closing
from http.client import HTTPConnection, HTTPResponse
from itertools import count
from pathlib import Path
from types import SimpleNamespace

import pytest

from programs.errors import InputError

from search.report import live
from search.report.live import LivePage, server_of, serving
from search.report.loopback import listening

from tests.support.patience import PATIENCE
from tests.support.searches import PretendingEvaluator, opened, run, settings_of, stop_at


def ask(port: int, path: str = "/", method: str = "GET", host: str | None = None) -> tuple[HTTPResponse, str]:
    with closing(HTTPConnection("127.0.0.1", port, timeout=PATIENCE)) as connection:
        connection.request(method, path, headers={} if host is None else {"Host": host})
        response = connection.getresponse()
        return response, response.read().decode()


@pytest.fixture
def port(tmp_path: Path) -> Iterator[int]:
    """Of a server of a search that is not there yet."""
    with listening(0) as listener:
        server = server_of(LivePage(str(tmp_path / "results.db"), "small"), listener)
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield listener.getsockname()[1]
        server.shutdown()
        thread.join()


def test_a_page_follows_the_search(port: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = count(0.0, 2 * live.LEAST_SECONDS)  # at every look a page is old
    monkeypatch.setattr(live, "time", SimpleNamespace(monotonic=lambda: next(clock)))
    monkeypatch.setattr(live, "SHARE", 1e9)
    response, text = ask(port)
    assert response.status == 200 and 'http-equiv="refresh"' in text
    assert "waiting: " in text and "no such database" in text
    with opened(tmp_path / "results.db") as store:
        run(settings_of(), store, PretendingEvaluator(), stop_at(30))
        response, text = ask(port)
        assert response.headers["Cache-Control"] == "no-store" and "small – optsearch report" in text
        assert "data-reload-after" in text and "connect-src 'self'" in text
        run(settings_of(), store, PretendingEvaluator())
        assert ask(port)[1] != text
    assert ask(port, method="HEAD")[1] == ""


def test_one_page_made_no_more_often_than_is_cheap(tmp_path: Path) -> None:
    with opened(tmp_path / "results.db") as store:
        run(settings_of(), store, PretendingEvaluator(), stop_at(30))
        page = LivePage(str(tmp_path / "results.db"), "small")
        before = page.html()
        run(settings_of(), store, PretendingEvaluator())
        assert page.html() == before


def test_nobody_else_and_nothing_else_is_answered(port: int) -> None:
    for host in ("evil.example", f"evil.example:{port}", "127.0.0.1", f"127.0.0.1:{port + 1}"):
        assert ask(port, host=host)[0].status == 403
    for host in (f"localhost:{port}", f"[::1]:{port}"):
        assert ask(port, host=host)[0].status == 200
    for path in ("/results.db", "/..", "/etc/passwd"):
        assert ask(port, path)[0].status == 404
    for method in ("POST", "PUT", "DELETE", "OPTIONS"):
        assert ask(port, method=method)[0].status == 501


def test_a_port_in_use_is_refused() -> None:
    with listening(0) as taken:
        refused = serving("results.db", "small", taken.getsockname()[1])
        with pytest.raises(InputError, match="cannot be used"), refused:
            pass


def test_it_is_served_until_the_run_ends(tmp_path: Path) -> None:
    with opened(tmp_path / "results.db") as store:
        run(settings_of(), store, PretendingEvaluator())
    with serving(str(tmp_path / "results.db"), "small") as url:
        port = int(url.removesuffix("/").rpartition(":")[2])
        assert "small – optsearch report" in ask(port)[1]
    with pytest.raises(ConnectionError):
        ask(port)


def test_it_ends_with_a_run_that_is_killed(tmp_path: Path) -> None:
    code = (
        "import sys, time\nfrom search.report.live import serving\n"
        "with serving(sys.argv[1], 'small') as url:\n    print(url, flush=True)\n    time.sleep(1000)"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "results.db")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        port = int(process.stdout.readline().strip().removesuffix("/").rpartition(":")[2])
        assert ask(port)[0].status == 200
        os.kill(process.pid, signal.SIGKILL)
        process.wait(PATIENCE)
    with closing(socket.socket()) as other:
        other.settimeout(PATIENCE)
        while other.connect_ex(("127.0.0.1", port)) == 0:  # until nobody listens any more
            other.close()
            other = socket.socket()
