"""Peers of the comparison: what their programs compute, and how they search, on fitness that is made up."""

from __future__ import annotations

import argparse
import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pytest

from programs.layout import Layout
from programs.program import Program, parse
from programs.run.reference import initial_state, numpy_step

from proxy_tasks import TASKS

from search.settings.settings import Budget, EvaluatorSettings, Settings
from search.training.inline import InlineEvaluator

from scripts.peers import __main__ as comparison
from scripts.peers import tree
from scripts.peers.genome import GENERATIONS, KNOWN, MOST_TERMS, Genome, GenomePeer
from scripts.peers.tree import BUDGET, OPEN, RATES, TreePeer, children, filled, openings
from tests.support.searches import opened

SIZE = 12


def updates_of(program: Program, gradients: np.ndarray, w: np.ndarray, rate: float = 1.0) -> list[np.ndarray]:
    layout = Layout.of_shapes([(SIZE,)])
    step, state, found = numpy_step(program, layout), initial_state(program, layout), []
    with np.errstate(all="ignore"):
        for gradient in gradients:
            update, state = step(w, gradient, state, rate)
            found.append(update)
    return found


def by_hand(genome: Genome, gradients: np.ndarray, w: np.ndarray) -> list[np.ndarray]:
    """The updates of a genome, as the paper's equations have them."""
    m, v, found = np.zeros(SIZE), np.zeros(SIZE), []
    for t, g in enumerate(gradients, 1):
        g = np.clip(g, -genome.bound, genome.bound) if genome.clipping else g
        m = genome.beta1 * m + (1 - genome.beta1) * g if genome.momentum else g
        v = genome.beta2 * v + (1 - genome.beta2) * g**2 if genome.second_moment else g**2
        m_hat = m / (1 - genome.beta1**t) if genome.correction and genome.momentum else m
        v_hat = v / (1 - genome.beta2**t) if genome.correction and genome.second_moment else v
        root = np.sqrt(v_hat)
        terms = {"gradient": g, "momentum": m_hat, "rms": g / root, "adam": m_hat / root, "sign": np.sign(g),
                 "unit": g / np.abs(g), "nesterov": 0.1 * m_hat + 0.9 * g}  # fmt: skip
        update = sum(weight * terms[term] for term, weight in genome.terms) + 10**genome.decay * w
        found.append(10**genome.rate * update)
    return found


@pytest.mark.parametrize("seed", range(40))
def test_a_genome_is_the_program_that_its_equations_say(seed: int) -> None:
    draw = np.random.default_rng(seed)
    gradients, w = draw.normal(size=(5, SIZE)), draw.normal(size=SIZE)
    peer = GenomePeer(seed)
    genome = peer._mutated(peer._crossed(*Random(seed).sample(peer._population, 2)))
    found = updates_of(parse(genome.text()), gradients, w)
    np.testing.assert_allclose(found, by_hand(genome, gradients, w), rtol=1e-4, atol=1e-12)


def test_genomes_stay_within_their_bounds_and_the_best_are_kept() -> None:
    peer = GenomePeer(3)
    assert tuple(peer._population[: len(KNOWN)]) == KNOWN
    for _ in range(GENERATIONS + 5):
        before = peer._population
        fitness = [-abs(genome.beta1 - 0.5) - abs(genome.rate + 2) for genome in before]
        texts = peer.ask()
        assert texts == [genome.text() for genome in before]
        peer.tell(fitness)
        best = before[max(range(len(fitness)), key=fitness.__getitem__)]
        assert best in peer._population
        assert all(1 <= len(genome.terms) <= MOST_TERMS for genome in peer._population)
        assert all(-5 <= genome.rate <= -1 and 0 <= genome.beta1 < 1 for genome in peer._population)
    assert peer.evaluated == 50 * (GENERATIONS + 5)
    assert abs(peer._population[0].beta1 - 0.5) + abs(peer._population[0].rate + 2) < 0.1


def test_openings_are_filled_from_the_left() -> None:
    expression = ("add", ("sqrt", OPEN), ("mul", "g", OPEN))
    assert openings(expression) == [2, 2]
    first = filled(expression, "v")
    assert first == ("add", ("sqrt", "v"), ("mul", "g", OPEN))
    assert filled(first, "m") == ("add", ("sqrt", "v"), ("mul", "g", "m")) and openings(filled(first, "m")) == []
    assert len(children(OPEN)) == len(tree.OPERANDS) + len(tree.BINARY) + len(tree.UNARY)


@pytest.mark.parametrize("seed", range(20))
def test_an_expression_is_the_program_that_it_says(seed: int) -> None:
    random, peer, expression = Random(seed), TreePeer(0), OPEN
    while openings(expression) or peer._key(expression) is None:
        expression = random.choice(children(expression if openings(expression) else OPEN))
    draw = np.random.default_rng(seed)
    gradients, w = draw.normal(size=(10, SIZE)), draw.normal(size=SIZE)
    found = updates_of(parse(tree.text(expression, 0.5)), gradients, w)[-1]
    g = gradients[-1]
    known = {"g": g, "g2": g**2, "g3": g**3, "sign_g": np.sign(g)}
    known["m"] = sum(0.1 * 0.9 ** (9 - i) * gradient for i, gradient in enumerate(gradients))
    known["v"] = sum(0.001 * 0.999 ** (9 - i) * gradient**2 for i, gradient in enumerate(gradients))
    known |= {"sign_m": np.sign(known["m"])} | {f"w_{i}": w * 0.1**i for i in range(1, 5)}
    with np.errstate(all="ignore"):
        expected = 0.5 * tree.value(expression, known)
    np.testing.assert_allclose(np.broadcast_to(found, SIZE), expected, rtol=1e-6, equal_nan=True)


def test_the_tree_search_goes_where_the_good_expressions_are_and_ends() -> None:
    peer, asked = TreePeer(1), 0

    def fitness(text: str) -> float:
        rate = float(text.split("lr = lr * ")[1].split()[0])
        return ("sqrt(v)" in text) + ("(m, " in text) - abs(math.log10(rate / 0.01)) / 10

    seen: list[str] = []
    while texts := peer.ask():
        assert len(texts) % len(RATES) == 0
        asked += len(texts)
        seen += texts[:: len(RATES)]
        peer.tell([fitness(text) for text in texts])
    assert peer.evaluated == asked // len(RATES) and BUDGET <= peer.evaluated < BUDGET + tree.GROUP
    assert peer._node != OPEN
    assert len(set(seen)) == len(seen)


def test_what_does_not_descend_or_depends_on_nothing_is_not_trained() -> None:
    peer = TreePeer(0)
    assert peer._key("g") is not None
    assert peer._key(("negative", "g")) is None
    assert peer._key("2.0") is None and peer._key(("div", "g", "g")) is None
    assert peer._key(("mul", "g", "2.0")) == peer._key(("add", "g", "g"))


class Scripted:
    """A peer whose fitness is known: two rates of plain descent, then an end."""

    def __init__(self) -> None:
        self.evaluated = 0
        self.told: list[Sequence[float]] = []

    def ask(self) -> list[str]:
        return [] if self.told else [tree.text("g", rate) for rate in (1e-4, 0.1, 1e9)]

    def tell(self, fitness: Sequence[float]) -> None:
        self.evaluated += len(fitness)
        self.told.append(fitness)


def test_a_peer_is_told_how_its_programs_fared_and_its_best_is_kept(tmp_path: Path) -> None:
    peer = Scripted()
    with opened(tmp_path / "peer.db") as store:
        found = comparison.peers(peer, TASKS["noisy_quadratic_short"], 5, store, InlineEvaluator())
    ((slow, fast, diverged),) = peer.told
    assert slow < fast and diverged == -math.inf
    assert found.fitness == fast and found.programs == 3
    assert str(found.program) == str(parse(tree.text("g", 0.1)))


@pytest.mark.parametrize("arm", [*comparison.OURS, *comparison.PEERS])
def test_an_arm_runs_until_its_time_is_over(arm: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The best of each has a finite loss on fresh seeds. The time of peers is over after what they ask for first."""

    def short(*given: Any) -> Settings:
        return settings_of(*given).model_copy(update={"budget": Budget(programs=20)})

    settings_of = comparison.settings_of
    monkeypatch.setattr(comparison, "settings_of", short)
    monkeypatch.setattr(comparison, "EvaluatorSettings", lambda **_: EvaluatorSettings(kind="inline"))
    options = argparse.Namespace(folder=tmp_path / "peers", seed=0, workers=1, minutes=1e-6)
    task = replace(TASKS["noisy_quadratic_short"], steps=10)
    monkeypatch.setitem(TASKS, task.name, task)
    cells = comparison.row(arm, task, options).strip("| ").split(" | ")
    assert cells[:2] == [task.name, arm] and int(cells[2]) > 0
    assert math.isfinite(float(cells[6].split()[0]))


def test_the_tree_search_begins_again_where_nothing_new_is_left() -> None:
    peer = TreePeer(2)
    node: Any = OPEN
    for _ in range(tree.DEPTH):
        node = ("mul", "2.0", node)
    peer._go_to(node)
    first = peer.ask()  # so deep there are operands alone, and of these but some descend
    assert 0 < len(first) < tree.GROUP * len(RATES) and peer._node == node
    peer.tell([0.0] * len(first))
    assert peer.ask() and peer._node == OPEN


def test_a_folder_of_an_earlier_run_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "digits_mlp_short-tree-0.db").touch()
    monkeypatch.setattr("sys.argv", ["peers", "digits_mlp_short", "--folder", str(tmp_path)])
    monkeypatch.setattr(comparison, "opened", lambda *_: pytest.fail("something would be trained"))
    with pytest.raises(SystemExit):
        comparison.main()
    assert "digits_mlp_short-tree-0.db is there: " in capsys.readouterr().err
