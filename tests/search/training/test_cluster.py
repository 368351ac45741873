"""Searches on a cluster: nodes that come, go or are not fit for it, wrong addresses, and the files for clusters."""

from __future__ import annotations

import importlib
import os
import re
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path

import pytest
import yaml
from jsonschema import ValidationError
from ray.autoscaler._private.util import prepare_config, validate_config

from programs.errors import InputError

from search.errors import RunError
from search.settings.settings import EvaluatorSettings
from search.training import ray_internals, ray_session
from search.training.ray_session import RaySession, connect

from tests.support.cluster_nodes import CONFIG, HEAD, Cluster, Node, begin, births
from tests.support.patience import wait_for
from tests.support.processes import Run, history

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="nodes stand on loopback addresses")

ROOT = Path(__file__).parents[3]
CONFIG_OF_TEST = CONFIG.format(programs=150, steps=200, batch=4)
USER_OPS = """\
import os, torch
from proxy_tasks import Task
from proxy_tasks.datasets import Dataset

def data():
    if os.environ.get("WITHOUT_DATA"):
        raise FileNotFoundError("/data/points.pt")
    x = torch.arange(80.0).reshape(40, 2) / 80 + float(os.environ.get("OTHER_DATA", 0))
    y = torch.arange(40) % 2
    return Dataset(x[:20], y[:20], x[20:], y[20:], classes=2)

def net(dataset):
    return torch.nn.Linear(2, 2)

def task():
    return Task("own", dataset="owntask:data", model="owntask:net", steps=20, batch_size=8)
"""


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    """A head, to which tests add the nodes that they need, and leave them to the next."""
    with Cluster() as cluster:
        yield cluster


def finished(run: Run) -> list[tuple[object, ...]]:
    assert run.wait() == 0, run.err
    return history(run.folder / "results.db", "nodes")


def trains(node: Node) -> bool:
    """Whether it is in the middle of a batch: Ray calls a process what it is doing."""
    return any(worker.cmdline()[:1] == ["ray::Worker.train"] for worker in node.workers())


def test_nodes_that_come_and_go_leave_no_trace(cluster: Cluster, tmp_path: Path) -> None:
    """Workers wait for two nodes; one is killed with its worker in the middle of a batch, one is added."""
    config = CONFIG.format(programs=150, steps=800, batch=8)  # long enough for all that
    run = begin(tmp_path / "cluster", config, f"evaluator.address={cluster.address}", "evaluator.workers=2")
    assert run.wait_for("connected"), run.err
    for _ in range(2):
        cluster.add()
    run.wait_until(lambda: births(run.folder) > 20, "20 births")
    victim = run.wait_until(lambda: next(filter(trains, cluster.nodes), None), "somebody who trains")
    assert victim is not None
    cluster.remove(victim)
    cluster.add()
    expected = finished(begin(tmp_path / "inline", config, "evaluator.kind=inline"))
    assert len(expected) == 150 and finished(run) == expected
    assert re.search(rf"worker \d+ on .* \({victim.address}\): .*; replaced", run.log)
    assert run.log.count("; trained again") <= 1, "more was lost than the batch that the node held"
    assert cluster.head.processes("gcs_server"), "the cluster was there before, and stays"
    wait_for(lambda: not any(node.workers() for node in cluster.nodes), "the end of the workers with their run")


def test_workers_end_with_a_driver_that_is_killed(cluster: Cluster, tmp_path: Path) -> None:
    nodes = cluster.nodes or [cluster.add()]

    def with_worker() -> Node | None:
        return next((node for node in nodes if node.workers()), None)  # Ray chooses on which

    run = begin(tmp_path, CONFIG_OF_TEST, f"evaluator.address={cluster.address}", "evaluator.workers=1")
    node = run.wait_until(with_worker, "a worker")
    assert node is not None
    run.kill()
    wait_for(lambda: with_worker() is None, "the end of the workers with their driver")
    assert node.processes("raylet") and cluster.head.processes("gcs_server")


# --- nodes that are not fit -------------------------------------------------------------------------------------------


def test_nodes_unfit_for_the_task_are_named_and_left_out(cluster: Cluster, tmp_path: Path) -> None:
    """Without the data, with other data, without the package: a line for each, and the last ends the run."""
    for fit in list(cluster.nodes):
        cluster.remove(fit)
    (tmp_path / "owntask.py").write_text(USER_OPS)
    config = CONFIG_OF_TEST.replace("{name: digits_mlp, steps: 200, seeds: 1}", "{name: owntask:task, seeds: 1}")
    without, other = cluster.add({"WITHOUT_DATA": "1"}), cluster.add({"OTHER_DATA": "1"})
    bare = cluster.add(ray=bare_ray(tmp_path / "bare"))
    run = begin(tmp_path, config, f"evaluator.address={cluster.address}", "evaluator.workers=3")
    assert run.wait() == 2
    lines = run.err.replace("\r", "\n").splitlines()
    assert re.search(
        rf"\({without.address}\): .*FileNotFoundError: /data/points.pt \(.*; its data .* same path", run.err
    )
    assert re.search(rf"\({other.address}\): .* is not what it is where the search runs.*; install the same", run.err)
    # Its worker may find room on another node in the end; on the terminal it is said after the fifth attempt only.
    assert re.search(rf"on {bare.address}: ModuleNotFoundError: .*; install the same version of optsearch", run.log)
    said = [line for line in lines if line.startswith(("warning: ", "error: "))]
    assert len(said) >= 2 and [line.startswith("error") for line in said] == [False] * (len(said) - 1) + [True]
    assert "Traceback" not in run.err
    assert history(tmp_path / "results.db", "nodes")[1:] == [], "what a node lacks must not be held against programs"


def bare_ray(folder: Path) -> str:
    """The command `ray` of a virtual environment with everything that is installed here except this project."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True)
    site = next(folder.glob("lib/python*/site-packages"))
    here = Path(importlib.import_module("ray").__file__ or "").parents[1]
    for item in here.iterdir():
        if not item.name.startswith(("__editable__", "optsearch", "search", "programs", "proxy_tasks")):
            (site / item.name).symlink_to(item)
    command = folder / "bin" / "ray"
    command.write_text(f"#!{folder}/bin/python\nfrom ray.scripts.scripts import main\nmain()\n")
    command.chmod(0o755)
    return str(command)


# --- addresses --------------------------------------------------------------------------------------------------------


def test_wrong_addresses_are_said_in_one_line() -> None:
    with closing(socket.socket()) as listener:
        listener.bind((HEAD, 0))
        address = f"{HEAD}:{listener.getsockname()[1]}"  # taken, but nobody listens
        with pytest.raises(InputError) as told:
            connect(address, {})
    assert f"no Ray cluster at '{address}'" in str(told.value) and "\n" not in str(told.value)
    with pytest.raises(InputError, match=r"no Ray cluster at 'no\.such\.host\.invalid:6379'"):
        connect("no.such.host.invalid:6379", {})


def test_the_cluster_of_this_machine_is_not_the_one_that_the_environment_names(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "192.0.2.1:6379")
    with suppress(ConnectionError):  # none is running
        assert ray_internals.running_cluster() != "192.0.2.1:6379"
    assert os.environ["RAY_ADDRESS"] == "192.0.2.1:6379"


def test_what_listens_but_is_no_head_is_said_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ray_session, "HEAD_SECONDS", 1)
    with closing(socket.socket()) as listener:
        listener.bind((HEAD, 0))
        listener.listen()
        address = f"{HEAD}:{listener.getsockname()[1]}"
        with pytest.raises(InputError, match=rf"no Ray cluster at '{address}' \(what listens there is not the head"):
            connect(address, {})


def test_a_head_that_is_silent_and_a_node_that_is_lost_end_the_run(
    local_ray: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ray_session, "CHECK_SECONDS", 0.0)
    with closing(RaySession(None, 1)) as session:
        session.check()
        monkeypatch.setattr(session, "_node", "00")
        with pytest.raises(RunError, match=r"no longer a node of the cluster at .*; start Ray here again"):
            session.check()
        monkeypatch.setattr(ray_session, "answers", lambda _head: False)
        session.check()
        monkeypatch.setattr(ray_session, "SILENCE_SECONDS", 0.0)
        with pytest.raises(RunError, match=r"the head of Ray, .*, has not answered .*`optsearch run`.* goes on"):
            session.check()


# --- the files for clusters -------------------------------------------------------------------------------------------


def test_the_cluster_file_is_what_ray_up_expects() -> None:
    """By Ray's own validation, which fills in what is left out and compares with a schema."""
    config = yaml.safe_load((ROOT / "scripts" / "ray_cluster.yaml").read_text())
    validate_config(prepare_config(config))
    with pytest.raises(ValidationError):
        validate_config(prepare_config(config | {"cluster_name": 7}))


def test_the_batch_script_starts_one_ray_on_each_node_and_one_search(tmp_path: Path) -> None:
    """With stand-ins for SLURM and Ray that write down how they were called, and the mode of Ray's folder."""
    script = ROOT / "scripts" / "slurm_search.sh"
    subprocess.run(["bash", "-n", str(script)], check=True)
    then = {
        "srun": 'while [[ $1 == --* ]]; do shift; done; "$@"',
        "ray": 'echo "$RAY_TMPDIR"; stat -c %a "$RAY_TMPDIR"',
    }
    for name in ("srun", "ray"):
        stand_in = tmp_path / name
        stand_in.write_text(f'#!/bin/bash\nprintf "%s\\n" {name} "$@" >> {tmp_path}/{name}.calls\n{then[name]}\n')
        stand_in.chmod(0o755)
    (tmp_path / "scontrol").write_text("#!/bin/bash\nprintf 'node7\\nnode8\\n'\n")
    (tmp_path / "scontrol").chmod(0o755)
    environment = {
        "PATH": f"{tmp_path}:/usr/bin:/bin", "HOME": str(tmp_path), "SLURM_JOB_NUM_NODES": "2",
        "SLURM_JOB_ID": str(os.getpid()), "SLURM_JOB_NODELIST": "node[7-8]", "SLURM_CPUS_PER_TASK": "4",
    }  # fmt: skip
    done = subprocess.run(
        ["bash", str(script), "my.yaml", "--name", "x y"], env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    place, mode = done.stdout.split()
    assert mode == "700" and not Path(place).exists(), "others can enter Ray's folder, or it is left behind"
    assert (tmp_path / "ray.calls").read_text().split("\n")[:2] == ["ray", "symmetric-run"]
    calls = (tmp_path / "srun.calls").read_text().split("\n")
    assert "symmetric-run" in calls and "--min-nodes=2" in calls and "--num-cpus=4" in calls
    address = next(call.removeprefix("--address=") for call in calls if call.startswith("--address="))
    assert re.fullmatch(r"node7:\d+", address)
    after = calls[calls.index("--") + 1 :]
    assert after[:3] == ["optsearch", "run", "my.yaml"] and "x y" in after and f"evaluator.address={address}" in after
    refused = subprocess.run(["bash", str(script)], env=environment, capture_output=True, text=True)
    assert refused.returncode == 2 and len(refused.stderr.splitlines()) == 1


def test_the_page_names_only_what_exists() -> None:
    page = (ROOT / "docs" / "cluster.md").read_text()
    for name in re.findall(r"\b(?:scripts|configs)/[\w./]+\w", page):
        assert (ROOT / name).exists(), name
    settings = EvaluatorSettings.model_fields
    for name in re.findall(r"evaluator\.(\w+)", page):
        assert name in settings, name
