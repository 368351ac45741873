"""The way of a user with models of their own, from the wheel to a training script with what was found, timed.

    python -m scripts.stress.own_training [--programs 120] [--folder FOLDER]

Builds the wheel, installs it into an environment that has nothing else of this project, and does there, in a folder
with nothing but the files below, for a ConvNet with BatchNorm and Dropout, a GRU and a model in the style of Hugging
Face, each from `torch.utils.data.Dataset`s: search with two Ray workers, verdict, simplify, export, and a plain
training loop with the exported file. Prints the seconds of every command. The exit code is 1 if one fails.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import sysconfig
import tempfile
import time
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[2]

TASKS = '''\
import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import Dataset

from proxy_tasks import UserTask

STEPS = 100


class Digits(Dataset):
    """Images [1, 8, 8] with labels."""

    def __init__(self, first, last):
        digits = load_digits()
        self.images = torch.tensor(digits.images[first:last], dtype=torch.float32)[:, None] / 16
        self.labels = torch.tensor(digits.target[first:last])

    def __len__(self):
        return len(self.labels)

    def __getitem__(self, i):
        return self.images[i], self.labels[i]


class Rows(Digits):
    """The same images as sequences of their rows, [8, 8]."""

    def __getitem__(self, i):
        return self.images[i, 0], self.labels[i]


class Pixels(Digits):
    """The same images as sequences of words, their levels of grey, [64]."""

    def __getitem__(self, i):
        return (self.images[i].flatten() * 16).long(), self.labels[i]


class ConvNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(1, 8, 3, stride=2, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.Dropout(0.1), nn.Flatten(),
            nn.Linear(128, 10),
        )

    def forward(self, x):
        return self.layers(x)


class Recurrent(nn.Module):
    def __init__(self):
        super().__init__()
        self.rnn = nn.GRU(8, 24, batch_first=True)
        self.head = nn.Linear(24, 10)

    def forward(self, x):
        return self.head(self.rnn(x)[0][:, -1])


class ForClassification(nn.Module):
    def __init__(self):
        super().__init__()
        self.words = nn.Embedding(17, 12)
        self.places = nn.Embedding(64, 12)
        self.head = nn.Sequential(nn.Linear(64 * 12, 32), nn.GELU(), nn.Dropout(0.1), nn.Linear(32, 10))

    def forward(self, input_ids, labels=None):
        hidden = self.words(input_ids) + self.places.weight
        logits = self.head(hidden.flatten(1))
        loss = None if labels is None else nn.functional.cross_entropy(logits, labels)
        return {"loss": loss, "logits": logits}


def accuracy(output, y):
    return (output.argmax(-1) == y).float().mean()


def convnet():
    return UserTask(
        "convnet", model=ConvNet, train=Digits(0, 1000), valid=Digits(1000, None), loss=nn.CrossEntropyLoss(),
        metric=accuracy, steps=STEPS, batch_size=64,
    )


def recurrent():
    return UserTask(
        "recurrent", model=Recurrent, train=Rows(0, 1000), valid=Rows(1000, None), loss=nn.CrossEntropyLoss(),
        metric=accuracy, steps=STEPS, batch_size=64,
    )


def sequence():
    return UserTask(
        "sequence", model=ForClassification, train=Pixels(0, 1000), valid=Pixels(1000, None), steps=STEPS, batch_size=64
    )
'''

MODELS = {
    "convnet": ("ConvNet", "Digits"),
    "recurrent": ("Recurrent", "Rows"),
    "sequence": ("ForClassification", "Pixels"),
}

LOOP = """\
import found
import torch
from mine import {dataset}, {model}
from torch.utils.data import DataLoader

torch.manual_seed(0)
model = {model}()
(make,) = [one for name, one in vars(found).items() if name.startswith("Program")]
optimizer = make(model.parameters())
batches = DataLoader({dataset}(0, 1000), batch_size=64, shuffle=True)
scheduler = found.warmup_cosine(optimizer, 6 * len(batches))
for _ in range(6):
    for x, y in batches:
        output = model(x)
        loss = torch.nn.functional.cross_entropy(output["logits"] if isinstance(output, dict) else output, y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        scheduler.step()
print("loss of the last batch", loss.item())
assert loss.item() < 2.0
"""


def run(folder: Path, *words: str | Path) -> str:
    """Run a command, print what it took and the end of what it said, and return what it wrote.

    Raises:
        SystemExit: it failed.
    """
    started = time.perf_counter()
    done = subprocess.run([str(word) for word in words], cwd=folder, capture_output=True, text=True, check=False)  # noqa: S603  # our own commands
    said = [Path(words[0]).name, *map(str, words[1:])]
    print(f"{time.perf_counter() - started:7.1f} s  {' '.join(said)}", flush=True)
    if done.returncode:
        sys.exit(f"{done.stdout}\n{done.stderr}\nexit code {done.returncode}")
    return done.stdout


def installed(folder: Path) -> Path:
    """Return the folder of commands of an environment with the wheel, beside the libraries of this one."""
    run(PROJECT, sys.executable, "-m", "pip", "wheel", "--no-deps", "--quiet", "--wheel-dir", folder / "wheel", PROJECT)
    run(folder, sys.executable, "-m", "venv", folder / "env")
    (wheel,) = (folder / "wheel").glob("optsearch-*.whl")
    (packages,) = (folder / "env" / "lib").glob("python*/site-packages")
    python = folder / "env" / "bin" / "python"
    run(folder, python, "-m", "pip", "install", "--no-deps", "--no-index", "--quiet", wheel)
    (packages / "libraries.pth").write_text(f"{sysconfig.get_path('purelib')}\n", encoding="utf-8")
    return python.parent


def from_model_to_optimizer(folder: Path, commands: Path, task: str, programs: int) -> None:
    """Search on a task, simplify and export what is found, and train with it."""
    optsearch = commands / "optsearch"
    config = f"tasks: mine:{task}\nbudget: {{programs: {programs}}}\nevaluator: {{workers: 2}}\n"
    (folder / f"{task}.yaml").write_text(config, encoding="utf-8")
    said = run(folder, optsearch, "run", f"{task}.yaml")
    print("           ", said[said.index("verdict: ") :].split("\n\n")[0])
    asked = ("--search", task, "--json", "--limit", "1")
    (best,) = json.loads(run(folder, optsearch, "leaderboard", *asked))["tables"]["leaderboard"]
    run(folder, optsearch, "simplify", best["id"], "--config", f"{task}.yaml", "--seeds", "4", "-o", "simple.txt")
    run(folder, optsearch, "export", best["id"], "-o", "found.py")
    model, dataset = MODELS[task]
    (folder / "train.py").write_text(LOOP.format(model=model, dataset=dataset), encoding="utf-8")
    print("           ", run(folder, commands / "python", "train.py").strip())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--programs", type=int, default=120)
    parser.add_argument("--folder", type=Path, help="an empty folder to do it in; a temporary one without it")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.folder or Path(temporary)
        commands = installed(folder)
        (work := folder / "work").mkdir()
        (work / "mine.py").write_text(TASKS, encoding="utf-8")
        for task in MODELS:
            from_model_to_optimizer(work, commands, task, options.programs)


if __name__ == "__main__":
    main()
