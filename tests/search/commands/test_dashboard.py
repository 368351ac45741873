"""The dashboard as people have it: the server that the command starts, asked over HTTP."""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import sqlite3
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from html import unescape
from http.client import HTTPConnection
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

import psutil
import pytest

from search.commands.cli import main
from search.commands.dashboard import NAME, metadata
from search.results.results import Results
from search.store import ProofRow, SelectionRow, open_store, rows
from search.store.proofs import open_locked, set_proof
from search.store.rows import VIEWS

from tests.support.mounts import read_only
from tests.support.patience import OPTSEARCH, PATIENCE, Command
from tests.support.searches import PretendingEvaluator, opened, rows_of_query, run, settings_of, stop_at

QUERIES = metadata("")["databases"][NAME]["queries"]
ODD = "re sults?#100%.db"  # addresses give a meaning to each of these


class Server:
    """A dashboard that runs, and what it answers."""

    def __init__(self, command: Command) -> None:
        self.command = command
        said = command.answer()
        found = re.fullmatch(r"(.*): http://127\.0\.0\.1:(\d+)/results \(read-only; Ctrl-C ends\)", said)
        assert found, said
        self.file, self.port = found[1], int(found[2])

    def ask(self, path: str, method: str = "GET", body: str | None = None, *hosts: str) -> tuple[int, str]:
        """Status and content of a page; `hosts` are sent as the headers `Host` in place of the usual one."""
        with closing(HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE)) as connection:
            connection.putrequest(method, path, skip_host=bool(hosts))
            for host in hosts:
                connection.putheader("Host", host)
            content = (body or "").encode()
            connection.putheader("Content-Length", str(len(content)))
            connection.endheaders(content)
            answer = connection.getresponse()
            return answer.status, answer.read().decode()

    def rows(self, path: str, **parameters: object) -> list[dict[str, Any]]:
        """The rows of a view or of a prepared query."""
        status, text = self.ask(f"/results{path}.json?{urlencode({'_shape': 'objects', '_size': 'max', **parameters})}")
        assert status == 200, text
        return list(json.loads(text)["rows"])

    def sql(self, sql: str) -> tuple[int, str]:
        """Status and answer to any statement."""
        return self.ask(f"/results.json?{urlencode({'sql': sql, '_shape': 'objects'})}")


@contextmanager
def served(path: Path, **environment: str) -> Iterator[Server]:
    """The command on a database, in its folder."""
    words = (OPTSEARCH, "dashboard", "--store", path.name, "--port", "0")
    with Command(*words, folder=path.parent, environment=os.environ | environment) as command:
        yield Server(command)


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A search that can go on, a program of which has been through a funnel and a proof."""
    path = tmp_path_factory.mktemp("dashboard") / ODD
    with opened(path) as store:
        run(settings_of(baselines=["adamw"]), store, PretendingEvaluator(), stop_at(60))
        (best,) = Results(store).leaderboard(limit=1)
        passed = SelectionRow(
            funnel="final", search="small", stage=1, stages=1, task="digits_mlp", task_fingerprint="f",
            competitor=f"program {best.id}", program_id=best.id, passed=True, z=3.0, p=0.001, ahead=0.1,
            ahead_error=0.01, baseline="adamw", fitness=-0.5, standard_error=0.01, seeds=4, trials=9,
            learning_rate=0.01, weight_decay=0.1, genome=best.genome,
        )  # fmt: skip
        store.set_selection([passed])
        opening = open_locked(store, best.id, best.dataflow_hash, "final", 9000, {})
        row = ProofRow(
            competitor="adamw", program_id=None, locked_set="first", finalists=2, task="mnist1d_cnn",
            task_fingerprint="f", genome="-", learning_rate=0.01, weight_decay=0.1, trials=9, trials_failed=0, seeds=8,
            seeds_failed=0, fitness=-0.5, standard_error=0.01, ahead=0.1, ahead_error=0.01, task_z=2.0,
            steps_to_adamw=1.0, tolerance=0.1, one_setting=0.5, state_per_weight=2.0, step_time=1.5, z=4.0, p=0.001,
        )  # fmt: skip
        set_proof(store, opening, [row])
    return path


@pytest.fixture(scope="module")
def server(path: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A dashboard, in an environment where a plugin of another project is installed."""
    others = tmp_path_factory.mktemp("others")
    about = others / "intruder-1.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: intruder\nVersion: 1.0\n")
    (about / "entry_points.txt").write_text("[datasette]\nintruder = intruder\n")
    (others / "intruder.py").write_text(
        "from datasette import Response, hookimpl\n\n\n@hookimpl\ndef register_routes():\n"
        "    return [('/-/intruder$', lambda: Response.text('here'))]\n"
    )
    with served(path, PYTHONPATH=str(others)) as server:
        yield server


def test_it_answers_and_offers_views_and_prepared_queries_but_no_tables(server: Server) -> None:
    assert server.file == ODD
    status, page = server.ask("/results")
    assert status == 200
    linked = set(re.findall(r'href="/results/([^"?#]+)[^"]*"', page))
    assert {*VIEWS, *QUERIES} <= linked
    assert not linked & {*rows.metadata.tables, "alembic_version"}
    for table in rows.metadata.tables:
        assert server.ask(f"/results/{table}")[0] == 403
    assert server.ask("/results/nonsense")[0] == 404


@pytest.mark.parametrize("view", VIEWS)
def test_every_view_has_a_page_with_its_rows(view: str, server: Server, path: Path) -> None:
    with closing(open_store(str(path))) as store:
        expected = rows_of_query(store, f"SELECT * FROM {view}")
    status, page = server.ask(f"/results/{view}")
    assert status == 200 and metadata("")["databases"][NAME]["tables"][view]["description"] in unescape(page)
    assert server.rows(f"/{view}") == expected


@pytest.mark.parametrize("name", [name for name in QUERIES if name != "lineage"])
def test_every_prepared_query_has_a_page_and_rows(name: str, server: Server) -> None:
    status, page = server.ask(f"/results/{name}")
    assert status == 200 and QUERIES[name]["title"] in page
    assert server.rows(f"/{name}")


def test_prepared_queries_say_what_the_commands_say(server: Server, path: Path, capsys: Any) -> None:
    def printed(*words: str) -> list[dict[str, Any]]:
        with pytest.MonkeyPatch.context() as patched:
            patched.setattr(sys, "argv", ["optsearch", *words, "--store", str(path), "--json"])
            with pytest.raises(SystemExit):
                main()
        return list(json.loads(capsys.readouterr().out)["tables"][words[0]])

    best = [row["id"] for row in printed("leaderboard", "--limit", "10")]
    assert [row["id"] for row in server.rows("/best")] == best and len(best) == 10
    assert [row["id"] for row in server.rows("/pareto")] == [row["id"] for row in printed("leaderboard", "--pareto")]
    line = [(row["id"], row["fitness"], row["gain"]) for row in printed("lineage", str(best[0]))]
    assert [(row["id"], row["fitness"], row["gain"]) for row in server.rows("/lineage", id=best[0])] == line
    assert len(line) > 2
    counts = {(row["status"], row["reason"]): row["programs"] for row in printed("failures")}
    assert {(row["status"], row["reason"]): row["programs"] for row in server.rows("/failures")} == counts
    assert sum(row["percent"] for row in server.rows("/failures")) == pytest.approx(100, abs=1)


def test_of_no_program_there_is_no_lineage(server: Server) -> None:
    assert server.rows("/lineage", id="") == server.rows("/lineage", id="9999") == []
    assert server.ask("/results/lineage")[0] == 200  # asks for the ID


@pytest.mark.parametrize(
    "sql",
    ["DELETE FROM program", "UPDATE search SET name = 'x'", "DROP VIEW v_pace", "CREATE TABLE x (y)",
     "WITH x AS (SELECT 1) DELETE FROM program", "ATTACH '/tmp/x.db' AS x", "PRAGMA journal_mode = DELETE",
     "SELECT 1; DELETE FROM program", "VACUUM INTO 'copy.db'", "SELECT writefile('x', 'y')",
     "SELECT load_extension('x')"],
)  # fmt: skip
def test_nothing_can_be_written(sql: str, server: Server, path: Path) -> None:
    before = path.read_bytes()
    status, answer = server.sql(sql)
    assert status == 400 and "rror" in answer
    assert server.ask("/results", "POST", f"sql={quote(sql)}")[0] in (403, 405)
    assert path.read_bytes() == before
    assert {p.name.removeprefix(ODD) for p in path.parent.iterdir()} <= {"", "-wal", "-shm", ".log"}


def test_a_value_that_would_fill_the_memory_is_refused(server: Server) -> None:
    status, answer = server.sql("SELECT length(randomblob(100000000))")
    assert status == 400 and "too big" in answer


def test_plugins_that_are_installed_beside_it_are_left_out(server: Server) -> None:
    assert server.ask("/-/intruder")[0] == 404
    assert "intruder" not in server.ask("/-/plugins.json?all=1")[1]


def test_it_listens_on_this_machine_alone(server: Server) -> None:
    processes = [psutil.Process(server.command.pid), *psutil.Process(server.command.pid).children(recursive=True)]
    listening = [c.laddr for p in processes for c in p.net_connections("inet") if c.status == psutil.CONN_LISTEN]
    assert listening == [("127.0.0.1", server.port)]


@pytest.mark.parametrize(
    "hosts",
    [["attacker.example:PORT"], ["127.0.0.1.attacker.example:PORT"], ["localhost.attacker.example:PORT"],
     ["attacker.example"], ["127.0.0.1"], ["127.0.0.1:1"], ["127.0.0.1:PORT1"], ["0.0.0.0:PORT"], ["127.0.0.2:PORT"],
     ["localhost@attacker.example:PORT"], ["attacker.example:PORT", "127.0.0.1:PORT"], [""]],
)  # fmt: skip
def test_a_host_name_of_somebody_else_that_points_here_is_refused(server: Server, hosts: list[str]) -> None:
    """As a page of theirs would ask in the browser of whoever looks at the dashboard."""
    hosts = [host.replace("PORT", str(server.port)) for host in hosts]
    for path in ("/results", "/results/v_leaderboard.json", "/-/static/app.css"):
        status, answer = server.ask(path, "GET", None, *hosts)
        assert status in (400, 403) and "fitness" not in answer and "table" not in answer
    if hosts != [""] and len(hosts) == 1:
        assert answer == (
            f"This dashboard answers only to http://127.0.0.1:{server.port}; forward it to a port of the same number.\n"
        )


@pytest.mark.parametrize("name", ["127.0.0.1", "localhost", "LocalHost", "[::1]"])
def test_the_names_of_this_machine_are_answered(server: Server, name: str) -> None:
    assert server.ask("/results/best.json", "GET", None, f"{name}:{server.port}")[0] == 200


def test_a_request_that_names_no_host_is_refused(server: Server) -> None:
    with socket.create_connection(("127.0.0.1", server.port), timeout=PATIENCE) as asking:
        asking.sendall(b"GET /results.json HTTP/1.0\r\n\r\n")
        assert asking.recv(1000).split()[1] in (b"400", b"403")


def test_a_port_in_use_is_refused_in_one_line(server: Server, path: Path) -> None:
    message = refused("--store", str(path), "--port", str(server.port))
    assert message.startswith(f"error: --port {server.port}: cannot be used (address already in use); name another")


def test_a_search_goes_on_meanwhile_and_is_seen(server: Server, path: Path) -> None:
    before = len(server.rows("/v_lineage"))
    assert before < 100
    with opened(path) as store:
        run(settings_of(baselines=["adamw"]), store, PretendingEvaluator())
    assert [row["id"] for row in server.rows("/v_lineage")] == [*range(1, 101)]


def test_a_file_that_may_not_be_written_is_served(tmp_path: Path) -> None:
    """With all that a killed run has committed, which is still in its log."""
    folder = tmp_path / "folder"
    folder.mkdir()
    with opened(tmp_path / "results.db") as store:
        run(settings_of(), store, PretendingEvaluator(), stop_at(60))
        for name in ("results.db", "results.db-wal"):
            shutil.copy(tmp_path / name, folder)
        births = len(list(store.births(1)))
    with read_only(folder), served(folder / "results.db") as server:
        assert len(server.rows("/v_lineage")) == births
        assert server.sql("DELETE FROM program")[0] == 400
        assert server.ask("/results")[0] == 200


def test_ctrl_c_ends_it_during_a_query_too_and_leaves_nothing(tmp_path: Path) -> None:
    path = tmp_path / "results.db"
    with opened(path) as store:
        run(settings_of(), store, PretendingEvaluator())
    endless = urlencode({"sql": "WITH RECURSIVE a(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM a) SELECT MAX(x) FROM a"})
    with served(path) as server:
        assert server.rows("/best")
        with socket.create_connection(("127.0.0.1", server.port), timeout=PATIENCE) as asking:
            asking.sendall(f"GET /results.json?{endless} HTTP/1.1\r\nHost: localhost:{server.port}\r\n\r\n".encode())
            family = psutil.Process(server.command.pid).children(recursive=True)
            server.command.interrupt()
            code, out, err = server.command.result()
    assert (code, out.count("\n"), err, family) == (0, 1, "", [])
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", server.port), timeout=PATIENCE)
    assert [p.name for p in tmp_path.iterdir()] == ["results.db"]


# --- refusals ---------------------------------------------------------------------------------------------------------


def refused(*words: str) -> str:
    """What is said when the command is refused."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(sys, "argv", ["optsearch", "dashboard", *words])
        said: list[str] = []
        patched.setattr(sys.stderr, "write", said.append)
        with pytest.raises(SystemExit) as ended:
            main()
    message = "".join(said)
    assert ended.value.code == 2 and message.startswith("error: ") and message.count("\n") == 1
    return message


def test_without_the_extra_it_says_how_to_install_it(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "datasette.app", None)
    message = refused("--store", str(path))
    assert message == "error: dashboard: Datasette is not installed; pip install 'optsearch[dashboard]'\n"


def test_a_server_is_refused_without_its_password() -> None:
    message = refused("--store", "postgresql://me:sesame@localhost/optsearch")
    assert "the dashboard reads SQLite files only" in message and "sesame" not in message


def test_what_is_no_database_of_ours_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "results.db"
    assert "no such database; `optsearch run CONFIG` writes one" in refused("--store", str(path))
    assert not path.exists()
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE bookmarks (url TEXT)")
    assert "holds tables of another program" in refused("--store", str(path))


def test_a_port_that_is_none_is_refused() -> None:
    assert "65535" in refused("--port", "70000")
