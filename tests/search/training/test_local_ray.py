"""The Ray that a run starts on its own machine: nobody else gets in, and the environment does not decide what it is."""

from __future__ import annotations

import json
import os
import socket
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from tests.support.cluster_nodes import births
from tests.support.processes import Run, rows
from tests.support.scratch import SCRATCH

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")

ELSEWHERE = {  # what other tools and clusters leave in the environment of a shell
    "RAY_ADDRESS": "127.0.0.1:6399",
    "RAY_CLIENT_MODE": "1",
    "RAY_JOB_CONFIG_JSON_ENV_VAR": '{"runtime_env": {"env_vars": {"OMP_NUM_THREADS": "2"}}}',
    "RAY_OVERRIDE_RESOURCES": '{"CPU": 0}',
    "RAY_REDIS_ADDRESS": "127.0.0.1:6398",
    "RAY_RUNTIME_ENV_HOOK": "no_such_module.hook",
    "RAY_TMPDIR": "/no/such/folder",
    "RAY_USE_TLS": "1",
}
CALLED_LIKE_OTHERS = ("search", "code", "random", "statistics", "torch", "sklearn", "ray", "numpy")
TASK = """\
import torch
from proxy_tasks import Task
from proxy_tasks.datasets import Dataset

def data():
    x = torch.arange(80.0).reshape(40, 2) / 80
    return Dataset(x[:20], torch.arange(20) % 2, x[20:], torch.arange(20) % 2, classes=2)

def net(dataset):
    return torch.nn.Linear(2, 2)

def task():
    return Task("own", dataset="points:data", model="points:net", steps=200, batch_size=8)
"""
CONFIG = """\
name: own
strategy: {population: 20, start: adamw}
budget: {programs: 100000}
tasks: [{name: "points:task", seeds: 1}]
evaluator: {workers: 1, batch: 4, lookahead: 2}
baselines: []
"""
PATIENCE = 120.0  # seconds until something has gone wrong
# What another user tries, as JSON on the standard input: folders, files to replace, sockets to use, the head of Ray.
ATTACK = """
import json, os, socket, sys
from ray._raylet import GcsClient

goals = json.load(sys.stdin)
os.setgroups([])
os.setgid(65534)
os.setuid(65534)

def replace(path):
    os.rename(path, path + ".old")
    os.symlink(goals["precious"], path)

def connect(path):
    socket.socket(socket.AF_UNIX).connect(path)

def ask(head):
    os.environ["RAY_AUTH_MODE"] = "disabled"
    return GcsClient(address=head).internal_kv_keys(b"", None)

attempts = (os.listdir, "folders"), (open, "files"), (replace, "files"), (connect, "sockets"), (ask, "heads")
for action, wanted in attempts:
    for goal in goals[wanted]:
        try:
            action(goal)
            print(action.__name__, goal)
        except Exception as error:
            print("refused", type(error).__name__)
"""


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Run]:
    """A run with a Ray of its own, in an environment that speaks of others, and with a TMPDIR open to everybody."""
    folder = tmp_path_factory.mktemp("own")
    for name in CALLED_LIKE_OTHERS:
        (folder / f"{name}.py").write_text("raise ImportError('a file of the user, which nobody asked for')\n")
    for name in ("programs", "proxy_tasks"):
        (folder / name).mkdir()
    (folder / "configs").mkdir()
    (folder / "configs" / "points.py").write_text(TASK)
    (folder / "configs" / "own.yaml").write_text(CONFIG)
    with pytest.MonkeyPatch.context() as patched:
        for name, value in (ELSEWHERE | {"HOME": str(folder)}).items():
            patched.setenv(name, value)
        run = Run(folder, "configs/own.yaml")
    run.temporary.chmod(0o755)
    deadline = time.monotonic() + PATIENCE
    while not births(folder, "own"):
        assert run.code is None and time.monotonic() < deadline, run.err + run.log
        time.sleep(0.1)
    yield run
    run.kill()
    left, _ = run.leftovers()
    assert left == []


def folder_of(run: Run) -> Path:
    (folder,) = run.temporary.glob("optsearch-*")
    return folder


def test_what_ray_writes_lies_in_a_folder_that_only_this_user_can_enter(own: Run) -> None:
    folder = folder_of(own)
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    opened, mapped = set(), set()
    for process in own.family():
        with suppress(psutil.Error):
            opened |= {Path(file.path) for file in process.open_files() if file.mode != "r"}
            mapped |= {Path(found.path) for found in process.memory_maps() if found.path.startswith("/dev/shm/")}  # noqa: S108
    stores = {path for path in mapped if not path.is_relative_to(own.temporary)}
    written = {path for path in opened if path.is_relative_to(folder)}
    assert len(written) > 5
    for path in opened - written:
        assert path.is_relative_to(own.folder) or (
            path.parts[1] in ("dev", "proc") and not path.is_relative_to(SCRATCH)
        )
    assert stores and not any(path.exists() for path in stores), "the store of objects can be opened by its name"
    assert not (own.folder / ".ray").exists(), "a token in the home"


def test_it_listens_on_this_machine_only(own: Run) -> None:
    listening = [
        connection.laddr.ip
        for process in [*own.family(), psutil.Process(own.pid)]
        for connection in process.net_connections()
        if connection.status == psutil.CONN_LISTEN or (connection.laddr and connection.type == socket.SOCK_DGRAM)
    ]
    assert listening and {ip.removeprefix("::ffff:") for ip in listening} <= {"127.0.0.1", "::1"}


@pytest.mark.skipif(os.getuid() != 0, reason="needs a second user")
def test_another_user_of_the_machine_gets_nowhere(own: Run, tmp_path: Path) -> None:
    precious = tmp_path / "precious"
    precious.write_text("mine")
    folder = folder_of(own)
    session = (folder / "r" / "session_latest").resolve()
    (port,) = session.glob("gcs_server_port_*")
    goals = {
        "precious": str(precious),
        "folders": [str(folder), str(session / "logs")],
        "files": [str(session / "logs" / "debug_state.txt"), str(folder / "token")],
        "sockets": [str(session / "sockets" / name) for name in ("raylet", "plasma_store")],
        "heads": [f"127.0.0.1:{port.read_text().strip()}"],
    }
    assert all(Path(path).exists() for path in goals["files"] + goals["sockets"])
    done = subprocess.run(
        [sys.executable, "-c", ATTACK], input=json.dumps(goals), capture_output=True, text=True, timeout=120
    )
    assert done.stdout.split("\n")[:-1] == ["refused PermissionError"] * 8 + ["refused AuthenticationError"], done
    assert precious.read_text() == "mine"


def test_neither_the_environment_nor_files_called_like_ours_decide_anything(own: Run) -> None:
    """Workers have trained a task whose file lies beside the config, whatever lies in the working directory."""
    assert rows(own.folder / "results.db", "SELECT DISTINCT answered_by FROM program WHERE status = 'ok'")
    assert not own.log.count("Traceback") and not own.log.count("which nobody asked for")
    for worker in own.workers():
        variables = worker.environ()
        assert not {name for name in ELSEWHERE if variables.get(name) == ELSEWHERE[name]}
        assert variables["RAY_AUTH_TOKEN_PATH"] == str(folder_of(own) / "token")
    assert own.workers()


# --- in a program of the user's --------------------------------------------------------------------------------------

PROGRAM = """
import json, os, signal, sys, tempfile, threading
from pathlib import Path
import psutil
from search import run
from search.errors import RunError
from search.training import ray_session
from search.training.ray_session import RaySession
from programs.errors import InputError

Path("search.py").write_text("raise ImportError('a file of the user')")
said, settings = {}, json.loads(sys.argv[1])

def left():
    names = [process.name() for process in psutil.Process().children(recursive=True)]
    return names + [path.name for path in Path(tempfile.gettempdir()).glob("optsearch-*")]

def begin(name, **changes):
    result = run(settings | {"store": f"{name}.db"} | changes)
    said[name] = [(entry.id, entry.fitness) for entry in result.leaderboard()]
    result.results.close()

def together(*names):
    threads = [threading.Thread(target=begin, args=(name,)) for name in names]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

usual, ray_session.OBJECT_STORE_BYTES = ray_session.OBJECT_STORE_BYTES, 1
try:
    RaySession(None, 1)
except RunError as error:
    said["failure"] = str(error)
said["left by it"] = left()
ray_session.OBJECT_STORE_BYTES = usual

handler = signal.getsignal(signal.SIGTERM)
begin("first", evaluator={"kind": "inline", "batch": 4, "lookahead": 1})
together("second", "third")
said["handler kept"] = signal.getsignal(signal.SIGTERM) == handler
session, other = RaySession(None, 1), RaySession(None, 1)
try:
    RaySession("127.0.0.1:6399", 1)
except InputError as error:
    said["another"] = str(error)
session.close()
session.close()
other.check()
other.close()
said["left"] = left()
print(json.dumps(said))
"""


def test_runs_in_threads_share_one_ray_and_leave_none(tmp_path: Path) -> None:
    """Also where Ray could not be started before; the program goes on, with its own handlers of signals.

    In its folder, where it looks first, are files that are called as our packages are.
    """
    for name in ("programs", "proxy_tasks"):
        (tmp_path / f"{name}.py").write_text("raise ImportError('a file of the user')")
    settings = {
        "name": "threads", "strategy": {"population": 4}, "budget": {"programs": 8}, "baselines": [],
        "tasks": [{"name": "digits_mlp", "steps": 10, "seeds": 1}],
        "evaluator": {"workers": 1, "batch": 4, "lookahead": 1},
    }  # fmt: skip
    with tempfile.TemporaryDirectory(dir=SCRATCH, prefix="r") as temporary:
        done = subprocess.run(
            [sys.executable, "-c", PROGRAM, json.dumps(settings)], cwd=tmp_path, capture_output=True, text=True,
            env=os.environ | {"TMPDIR": temporary},
        )  # fmt: skip
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout.splitlines()[-1])
    assert {"second", "third"} <= said.keys(), done.stderr  # a run in a thread ends the thread alone
    assert said["first"] == said["second"] == said["third"] and len(said["first"]) > 2
    assert said["failure"].startswith("Ray cannot be started on this machine (ValueError: ")
    assert "\n" not in said["failure"] and said["failure"].endswith("evaluator.kind=inline does without it")
    assert said["another"] == (
        "evaluator.address: another run of this process uses a Ray of its own, not the cluster '127.0.0.1:6399';"
        " a process has one Ray at a time"
    )
    assert said["handler kept"] and said["left by it"] == said["left"] == []
