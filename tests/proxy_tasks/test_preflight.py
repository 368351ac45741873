"""What is refused before anything is trained on a user's data and models: files on disk, as users have them."""

from __future__ import annotations

import re
import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from programs.errors import InputError

from proxy_tasks import get_task
from proxy_tasks.preflight import check_task
from proxy_tasks.sources import sources

USER = """
import torch
from torch import nn
from proxy_tasks import Task
from proxy_tasks.datasets import Dataset

def data(noise=0.0):
    x = torch.randn(40, 3, generator=torch.Generator().manual_seed(0))
    y = (x[:, 0] > 0).long()
    {data}
    return {returned}

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.out = nn.Linear(3, 2)
        {init}

    def forward(self, x):
        return {forward}

def net(dataset, width=4):
    {net}
    return Net()

def task():
    return Task("mine", dataset="{module}:data", model="{module}:net", steps=20, batch_size=16{task})
"""
USUAL = {
    "data": "pass",
    "returned": "Dataset(x[:30], y[:30], x[30:], y[30:], classes=2)",
    "init": "pass",
    "forward": "self.out(x)",
    "net": "pass",
    "task": "",
}
Write = Callable[..., str]


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Write]:
    """Write a user's file, and return the name of its task."""
    monkeypatch.syspath_prepend(str(tmp_path))
    before = set(sys.modules)

    def write(module: str, **changes: str) -> str:
        text = USER.format(module=module, **(USUAL | changes))
        (tmp_path / f"{module}.py").write_text(text, encoding="utf-8")
        return f"{module}:task"

    yield write
    for name in set(sys.modules) - before:
        del sys.modules[name]


def refused(task: str) -> str:
    with pytest.raises(InputError) as caught:
        check_task(get_task(task))
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_usual_task_passes(write: Write) -> None:
    check_task(get_task(write("usual_task")))


def test_a_gradient_that_is_nothing_but_rounding_tells_nothing(write: Write) -> None:
    """That of a bias whose mean a normalization takes away."""
    layers = "self.first, self.norm = nn.Linear(3, 8), nn.BatchNorm1d(8); self.out = nn.Linear(8, 2)"
    assert check_task(get_task(write("normal", init=layers, forward="self.out(self.norm(self.first(x)))"))) == ""


def test_what_is_not_on_the_replica_axis_is_returned_with_what_it_costs(write: Write) -> None:
    counted = "(setattr(self, 'calls', self.calls + 1), self.out(x) * self.calls)[1]"
    name = write("counting_calls", init="self.calls = 0", forward=counted)
    remark = check_task(get_task(name))
    part = "the module, Net, keeps 'calls' as an attribute, not as a buffer"
    assert remark.startswith(f"model 'counting_calls:net' is trained one replica at a time ({part}): ")
    assert re.search(r": 8 replicas take \d+\.\d times as long as one \(\d+\.\d ms\)$", remark)
    assert check_task(get_task(name)) is remark, "measured once"
    assert check_task(get_task(write("usual_too"))) == "" == check_task(get_task("digits_mlp"))


BAD = {
    "float64": ({"data": "x = x.double()"}, "train_x is float64; give float32: .float()"),
    "float16": ({"data": "x = x.half()"}, "train_x is float16"),
    "complex": ({"data": "x = x + 0j"}, "train_x is complex64"),
    "int32 labels": ({"data": "y = y.int()"}, "train_y is int32; give int64: .long()"),
    "labels as truth values": ({"data": "y = y.bool()"}, "train_y is bool"),
    "labels from 5": ({"data": "y = y + 5"}, "train_y has labels from 5 to 6, and 'classes' is 2"),
    "labels below 0": ({"data": "y = y - 1"}, "labels from -1 to 0"),
    "one label in validation": ({"data": "y[35] = 2"}, "valid_y has labels from 0 to 2"),
    "one label short": ({"returned": "Dataset(x[:30], y[:29], x[30:], y[30:])"}, "train_x has 30 samples, train_y 29"),
    "validation too long": ({"returned": "Dataset(x[:30], y[:30], x[30:], y[29:])"}, "valid_x has 10 samples"),
    "no validation": ({"returned": "Dataset(x, y, x[:0], y[:0])"}, "valid_x is empty"),
    "other validation": ({"returned": "Dataset(x, y, x[:, :2], y)"}, "a sample of train_x is [3]"),
    "numpy": ({"returned": "Dataset(*(z.numpy() for z in (x, y, x, y)))"}, "train_x is ndarray; give a torch.Tensor"),
    "list": ({"returned": "Dataset(x.tolist(), y, x, y)"}, "train_x is list"),
    "none": ({"returned": "Dataset(x, None, x, y)"}, "train_y is NoneType"),
    "tuple": ({"returned": "(x, y, x, y)"}, "returned tuple; it must return a Dataset"),
    "loader": ({"returned": "torch.utils.data.TensorDataset(x, y)"}, "returned TensorDataset"),
    "requires_grad": ({"data": "x.requires_grad_()"}, "train_x requires a gradient; give it detached"),
    "sparse": ({"data": "x = x.to_sparse()", "returned": "Dataset(x, y, x, y)"}, "give a dense tensor"),
    "not finite": ({"data": "x[3, 1] = float('nan')"}, "train_x has values that are not finite"),
    "infinite validation": ({"data": "x[33, 1] = float('inf')"}, "valid_x has values that are not finite"),
    "classes": ({"returned": "Dataset(x, y, x, y, classes=2.5)"}, "'classes' is 2.5; give a whole number"),
    "unseeded": ({"data": "import secrets; x[0, 0] = secrets.randbelow(10**6)"}, "other samples when it is called"),
    "raises": ({"data": "x = x + 'noise'"}, "raised TypeError"),
    "model raises": ({"net": "raise ZeroDivisionError('no')"}, "Error: no (case_model_raises.py, line"),
    "weights": (
        {"init": "import time; self.extra = nn.Parameter(torch.tensor(time.perf_counter_ns() % 10**6 * 1.0))"},
        "built again with the same seed",
    ),
    "infinite weights": ({"init": "nn.init.constant_(self.out.weight, float('inf'))"}, "weights are not finite"),
    "shapes of seeds": (
        {"init": "self.extra = nn.Parameter(torch.zeros(1 + torch.initial_seed() % 5))"},
        "under seed 1 it has other parameters",
    ),
    "first loss": ({"forward": "self.out(x) / 0"}, "its first loss, or its gradient, is not finite"),
    "gradient": ({"forward": "self.out(x) + (self.out.weight * 0).sum().sqrt()"}, "gradient, is not finite"),
    "large loss": ({"forward": "self.out(x) * 1e6"}, "above its loss_bound of 100"),
    "not called": ({"init": "type(self).loss = lambda s, x, y: (x.mean() + 0 * s.out.weight.sum())"}, "all zero"),
    "no gradient": ({"forward": "self.out(x).detach()"}, "does not require grad"),
    "steps": ({"task": ", loss_bound=-1.0"}, "'loss_bound' is -1.0"),
    "warm-up": ({"task": ", warmup=2"}, "'warmup' is 2"),
    "counter of the file": (
        {"net": "global n; n = 0", "forward": "(globals().__setitem__('n', n + 1), n * self.out(x))[1]"},
        "a step is another when it is repeated",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_what_cannot_be_trained_on_gets_one_line(name: str, write: Write) -> None:
    changes, message = BAD[name]
    assert message in refused(write(f"case_{re.sub(r'[^a-z0-9]', '_', name)}", **changes))


MIXING = """
import torch
from proxy_tasks import Task
from proxy_tasks.models import Leaf, Model

def net(dataset):
    def losses(params, x, y):
        of_each = {losses}
        return of_each
    return Model((Leaf("w", (64,), std=0.1),), losses)

def task():
    return Task("mixing", dataset="digits", model="{module}:net", steps=20, batch_size=16)
"""


@pytest.mark.parametrize(
    ("losses", "message"),
    [
        ("(x.mean(1) * params[0]).pow(2).sum(1) + params[0].mean() ** 2", "trains otherwise beside others than alone"),
        ("(x.mean(1) * params[0]).pow(2).sum()", "its losses are [] for"),
        ("(x.mean(1) * params[0]).pow(2)", "expected one for each"),
        ("(x.mean(1) * params[0]).pow(2).sum(1) * (1 + 0 * torch.rand(1))", "draws random numbers"),
    ],
)
def test_a_model_with_a_replica_axis_is_tried_too(
    losses: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(tmp_path))
    module = f"mixing_{abs(hash(losses))}"
    (tmp_path / f"{module}.py").write_text(MIXING.format(losses=losses, module=module), encoding="utf-8")
    assert message in refused(f"{module}:task")


# --- what a model is made of ---------------------------------------------------------------------------------------


FILES = {
    "made.py": "import json\nfrom torch import nn\nimport pytest\nfrom made_parts import layers, unknown\n\n"
    "def net(d):\n    from made_lazy import late\n    import made_broken\n    return nn.Linear(64, 10)\n",
    "made_parts/__init__.py": "from . import layers\n",
    "made_parts/layers.py": "from .deep import inner\nimport importlib\n\no = importlib.import_module('made_named')\n",
    "made_parts/deep/__init__.py": "",
    "made_parts/deep/inner.py": "from ...made_parts import layers\n",
    "made_lazy.py": "late = 1\n",
    "made_broken.py": "import made_unrelated\ndef (:\n",
    "made_named.py": "x = 1\n",
    "made_unrelated.py": "x = 1\n",
}


@pytest.fixture
def made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A model whose file imports others of the user's, in every way."""
    for name, text in FILES.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(textwrap.dedent(text), encoding="utf-8")
    monkeypatch.syspath_prepend(str(tmp_path))
    sources.cache_clear()
    yield tmp_path
    sources.cache_clear()


def test_the_files_that_a_model_imports_are_part_of_it(made: Path) -> None:
    found = sources("made")
    parts = {"made_parts", "made_parts.layers", "made_parts.deep", "made_parts.deep.inner"}
    assert set(found.files) == {"made", "made_lazy", "made_named", "made_broken"} | parts
    assert set(found.packages) == {"pytest"} and found.packages["pytest"] == pytest.__version__
    for name in FILES:
        text = (made / name).read_bytes()
        (made / name).write_bytes(text + b"# changed\n")
        sources.cache_clear()
        assert (sources("made") != found) is (name != "made_unrelated.py"), name
        (made / name).write_bytes(text.replace(b"\n", b"\r\n"))
        sources.cache_clear()
        assert sources("made") == found
        (made / name).write_bytes(text)


def test_a_file_that_is_edited_after_it_was_imported_is_refused(write: Write, tmp_path: Path) -> None:
    name = write("edited_later")
    task = get_task(name)
    check_task(task)
    assert task.fingerprint
    write("edited_later", net="width = 5")
    with pytest.raises(InputError, match="edited_later has changed since this process imported it"):
        _ = task.meaning


@pytest.mark.parametrize("taken", ["search", "programs", "proxy_tasks", "random", "code", "hypothesis"])
def test_a_file_with_a_name_that_is_taken_is_not_mistaken(
    taken: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / f"{taken}.py").write_text("def task():\n    pass\n", encoding="utf-8")
    monkeypatch.setattr(sys, "path", [*sys.path, str(tmp_path)])
    with pytest.raises(InputError, match=f"{taken}.py has that name too: rename yours"):
        get_task(f"{taken}:task")


def test_two_files_of_one_name_are_not_confused(write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    name = write("twice_there")
    get_task(name)
    other = tmp_path / "other"
    other.mkdir()
    (other / "twice_there.py").write_text((tmp_path / "twice_there.py").read_text(encoding="utf-8"), encoding="utf-8")
    monkeypatch.setattr(sys, "path", [*sys.path, str(other)])
    with pytest.raises(InputError, match="rename yours"):
        get_task(name)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("def task(:\n", "is not Python"),
        ("1 / 0\n", "ZeroDivisionError: division by zero"),
        ("import nowhere\n", "nowhere"),
    ],
)
def test_a_file_that_cannot_be_imported_gets_one_line(
    text: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(tmp_path))
    module = f"broken_{abs(hash(text))}"
    (tmp_path / f"{module}.py").write_text(text, encoding="utf-8")
    with pytest.raises(InputError, match=message) as caught:
        get_task(f"{module}:task")
    assert "\n" not in str(caught.value)
