"""The command `optsearch init`: a folder with a task and a config to begin with, or configs that optsearch brings."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from itertools import takewhile
from pathlib import Path
from shlex import quote
from typing import Annotated

import typer
import yaml

from programs.errors import InputError

from search.commands.options import SEARCH_FILE
from search.commands.terminal import console, show_table
from search.settings.names import NAME

CONFIGS = Path(__file__).parents[1] / "configs"
ALL = "all"
TASK_FILE = "task.py"
_READ_BY = {".": "run", "comparisons": "compare", "funnels": "select"}  # the command that reads the configs of a folder

TASK = '''\
"""What programs are trained on: data, a model, a loss, and how long a training is. All of it is yours to change."""

import math

import torch
from torch import nn

from proxy_tasks import UserTask


def spirals(number, noise, seed):
    """Return points of two spirals, [N, 2], and to which each belongs, [N]. The data must be the same each time."""
    generator = torch.Generator().manual_seed(seed)
    label = torch.arange(number) % 2
    angle = 3 * math.pi * torch.rand(number, generator=generator).sqrt()
    turned = angle + math.pi * label
    x = torch.stack([angle * turned.cos(), angle * turned.sin()], dim=1) / 5
    return x + noise * torch.randn(number, 2, generator=generator), label


class Net(nn.Module):
    """The model: any nn.Module. It is made again under each seed."""

    def __init__(self, width=16):
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(2, width), nn.Tanh(), nn.Linear(width, width), nn.Tanh(), nn.Linear(width, 2)
        )

    def forward(self, x):
        return self.layers(x)


def accuracy(output, y):
    """Shown beside the fitness, which is minus the validation loss; nothing is selected by it."""
    return (output.argmax(-1) == y).float().mean()


def task(noise=0.15):
    """Return the task."""
    return UserTask(
        "spirals",
        model=Net,
        train=spirals(300, noise, seed=0),
        valid=spirals(300, noise, seed=1),
        loss=nn.CrossEntropyLoss(),
        metric=accuracy,
        steps=200,
        batch_size=64,
    )
'''

CONFIG = """\
# A search for an optimizer of the task in task.py. `optsearch run` in this folder starts it, and goes on where it
# stopped; any setting can be overridden: `optsearch run --set budget.programs=3000`.
name: {name}
tasks:
  - name: task:task                # module:function; or a built-in task, which `optsearch tasks` lists
    # seeds: {{first: 1, most: 8}}   # a promising program is trained on 2, 4 and 8; without this up to 16
    # data: {{noise: 0.1}}           # arguments of the function `task`
    # model: {{width: 32}}           # arguments of the class `Net`
budget: {{programs: 300}}            # a minute; thousands find more, and raising it goes on from here
strategy:
  start: torch_adamw               # `optsearch zoo` lists others; a list starts from several
language: extended                 # `paper` for fewer functions; for functions of yours beside these:
# language: {{set: extended, functions: mine.py}}
baselines: [torch_adamw, adamw]    # tuned first, so that a gain is no better learning rate
# meta_validation: {{tasks: [{{name: digits_mlp}}], every: 100}}   # a task that the search never trains on
# evaluator: {{kind: inline}}        # in one process, without Ray
store: sqlite:///results.db        # what the commands read unless --store names another
"""


def command(
    name: Annotated[
        str | None, typer.Argument(metavar="[FOLDER]", help="The folder to write, which is the name of the search.")
    ] = None,
    example: Annotated[
        str | None, typer.Option(metavar="NAME", help="Write these configs of optsearch here instead; `all` for all.")
    ] = None,
    listed: Annotated[bool, typer.Option("--list", help="List the examples, as the command does by itself.")] = False,
) -> None:
    """Write a folder with a task and a config, ready to run, or configs that come with optsearch; nothing is
    overwritten."""
    if name is not None and example is not None:
        raise InputError(f"init: give either the folder {name} or --example {example}")
    if example is not None and not listed:
        unpack(example)
    elif name is not None and not listed:
        begin(Path(name))
    else:
        show_examples()


def begin(folder: Path) -> None:
    """Write a folder with a task and a config, and say what comes next.

    Raises:
        InputError: a file of its is there, it cannot be written, or its name cannot be that of a search.
    """
    name = folder.resolve().name
    if not name.isascii() or NAME.fullmatch(name) is None:
        raise InputError(f"init: '{name}' cannot be the name of a search; take letters, digits, and . _ -")
    is_plain = name[0].isalpha() and yaml.safe_load(name) == name  # and not read as a number, or as null
    in_yaml = name if is_plain else f"'{name}'"
    _write({folder / TASK_FILE: TASK, folder / SEARCH_FILE: CONFIG.format(name=in_yaml)})
    _say_next([f"cd {quote(str(folder))}", "optsearch run"])


def unpack(example: str) -> None:
    """Write the configs of an example here, where the documentation has them, and say what comes next.

    Raises:
        InputError: there is no such example, a file of its is there, or it cannot be written.
    """
    examples = _examples()
    if example not in (ALL, *examples):
        raise InputError(f"init: no example '{example}'; there are {ALL}, {', '.join(examples)}")
    paths = [path for name, of_name in examples.items() if example in (ALL, name) for path in of_name]
    _write({Path("configs") / path: (CONFIGS / path).read_text("utf-8") for path in paths})
    _say_next([_read_by(path) for path in paths])


def show_examples() -> None:
    """Print the examples: their names, and what they are."""
    rows = [[name, _about(paths[0])] for name, paths in _examples().items()]
    show_table("examples", ["name", "what it is"], rows, left=["name", "what it is"])
    console.print("`optsearch init --example NAME` writes their files; `optsearch init FOLDER` a search of your own.")


def _examples() -> dict[str, list[Path]]:
    """Return the configs by the names of examples: a search comes with the funnel that is called as it is."""
    found: dict[str, list[Path]] = {}
    for path in sorted(CONFIGS.rglob("*.yaml"), key=lambda path: (len(path.parts), path)):
        found.setdefault(path.stem, []).append(path.relative_to(CONFIGS))
    return found


def _read_by(path: Path) -> str:
    return f"optsearch {_READ_BY[str(path.parent)]} configs/{path}"


def _about(path: Path) -> str:
    """Return the first sentence of the comment above a config."""
    lines = (CONFIGS / path).read_text("utf-8").splitlines()
    comment = " ".join(line.lstrip("# ") for line in takewhile(lambda line: line.startswith("#"), lines))
    return re.split(r"(?<=[.?]) ", comment, maxsplit=1)[0].removesuffix(".")


def _write(texts: Mapping[Path, str]) -> None:
    """Write files, all or none of which were there before.

    Raises:
        InputError: one is there, or cannot be written.
    """
    there = [str(path) for path in texts if path.exists() or path.is_symlink()]
    if there:
        raise InputError(f"init: {', '.join(there)} is there already, and nothing is overwritten; take another folder")
    for path, text in texts.items():
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("x", encoding="utf-8") as file:
                file.write(text)
        except OSError as error:
            raise InputError(f"init: {path} cannot be written ({error.strerror}); take another folder") from None
        print(f"wrote {path}")


def _say_next(commands: Iterable[str]) -> None:
    print("Next:", *(f"    {command}" for command in commands), sep="\n")
