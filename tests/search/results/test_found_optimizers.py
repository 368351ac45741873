"""The optimizers that searches of this project have found, as they come with it."""

from importlib import import_module
from pathlib import Path

import pytest
import torch

from programs import zoo
from programs.fingerprint import fingerprint
from programs.ops import OPS
from programs.zoo import found

from search.results.export import class_name_of, export_source
from search.results.programs import find_program

FOLDER = Path(found.__file__).parent


def test_every_found_optimizer_is_there_as_text_as_a_file_and_as_a_class() -> None:
    names = zoo.found_names()
    assert names
    assert {path.stem for path in FOLDER.glob("*.py")} - {"__init__"} == set(names)
    assert sorted(found.__all__) == sorted(map(class_name_of, names))


@pytest.mark.parametrize("name", zoo.found_names())
def test_the_file_is_what_an_export_writes(name: str) -> None:
    assert (FOLDER / f"{name}.py").read_text("utf-8") == export_source(find_program(name, None), "torch")


@pytest.mark.parametrize("name", zoo.found_names())
def test_the_class_trains_a_model(name: str) -> None:
    torch.manual_seed(0)
    model, kind = torch.nn.Linear(4, 1), getattr(found, class_name_of(name))
    assert kind is getattr(import_module(f"programs.zoo.found.{name}"), class_name_of(name))
    x = torch.randn(64, 4)
    y = x.sum(1, keepdim=True)
    optimizer = kind(model.parameters())
    losses = []
    for _ in range(100):
        loss = (model(x) - y).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.5 * losses[0]


def test_searches_are_given_no_part_of_what_they_are_to_find_again() -> None:
    assert not set(zoo.found_names()) & set(zoo.names())
    donors = zoo.within(OPS.values())
    assert donors
    assert not {zoo.load(name) for name in zoo.found_names()} & set(donors)


def test_what_is_found_is_not_a_known_optimizer() -> None:
    known = {fingerprint(zoo.load(name)).key for name in zoo.names()}
    for name in zoo.found_names():
        assert fingerprint(zoo.load(name)).key not in known
        assert len(zoo.describe(name)) > 10
