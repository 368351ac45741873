"""The independent judge: what it tunes, how it trains, and that it shares no code with what it judges."""

from __future__ import annotations

import ast
import math
import re
from pathlib import Path

import pytest
import torch
from torch import nn

from programs import parse, zoo
from programs.export import torch_source

from scripts.judge import __main__ as judge
from scripts.judge.problems import GPT, PROBLEMS, Problem, resnet
from scripts.judge.rivals import Exported, Setting, TorchMuon, exported, torch_adamw

FOLDER = Path(judge.__file__).parent


def test_the_judge_shares_no_code_with_the_search() -> None:
    for path in FOLDER.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            names += [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            assert not {name.split(".")[0] for name in names} & {"programs", "proxy_tasks", "search", "tests"}, path


@pytest.mark.parametrize("best", [-2.6, 0.3, 3.1])
def test_a_rate_is_found_between_two_that_were_tried(best: float) -> None:
    tried: list[Setting] = []

    def loss(setting: Setting) -> float:
        tried.append(setting)
        return abs(math.log10(setting.rate / 3e-3) * 2 - best)

    found = judge.tuned(torch_adamw(), loss, 12)
    assert len(tried) == 12
    assert abs(math.log10(found.rate / 3e-3) * 2 - best) <= 0.25


def test_a_decay_is_tuned_where_there_is_one_and_otherwise_the_rate_gets_the_trials(tmp_path: Path) -> None:
    def away(setting: Setting) -> float:
        return abs(math.log10((setting.decay or 1.0) / 0.1))

    assert judge.tuned(torch_adamw(), away, 6).decay == pytest.approx(0.1)
    tried: list[Setting] = []

    def loss(setting: Setting) -> float:
        tried.append(setting)
        return abs(math.log10(setting.rate))

    judge.tuned(written("sgd", tmp_path), loss, 6)
    assert {setting.decay for setting in tried} == {None} and len({setting.rate for setting in tried}) == 6


def written(name: str, folder: Path) -> Exported:
    """A program of the zoo, exported and loaded as the judge loads files."""
    (folder / f"{name}.py").write_text(torch_source(zoo.load(name), "Found"), encoding="utf-8")
    return exported(folder / f"{name}.py", steps=60)


def test_the_schedule_rises_stays_and_falls_to_the_end() -> None:
    rates = [judge.schedule(step, 100) for step in range(100)]
    assert rates[:10] == pytest.approx([(step + 1) / 10 for step in range(10)])
    assert set(rates[10:51]) == {1.0} and rates[-1] == pytest.approx(1 / 50)


def test_a_training_is_what_a_plain_loop_gives() -> None:
    problem = Problem("line", 20, lambda: nn.Linear(3, 2), drawn, [drawn(torch.Generator().manual_seed(7))])
    torch.manual_seed(5)
    module, generator = nn.Linear(3, 2), torch.Generator().manual_seed(5)
    weights, bias = (parameter.detach().clone() for parameter in module.parameters())
    for step in range(20):
        inputs, targets = drawn(generator)
        logits = inputs @ weights.T + bias
        wrong = logits.softmax(1) - nn.functional.one_hot(targets, 2)
        rate = 0.1 * judge.schedule(step, 20)
        weights, bias = weights - rate * wrong.T @ inputs / len(inputs), bias - rate * wrong.mean(0)
    inputs, targets = problem.validation[0]
    expected = nn.functional.cross_entropy(inputs @ weights.T + bias, targets).item()
    sgd = Exported("sgd", torch.optim.SGD, Setting(0.1, None))
    assert judge.trained(sgd, problem, Setting(0.1, None), 5) == pytest.approx(expected, rel=1e-5)


def drawn(generator: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
    inputs = torch.randn(16, 3, generator=generator)
    return inputs, (inputs[:, 0] > 0).long()


def test_what_diverges_is_infinite_and_never_the_best() -> None:
    problem = Problem("line", 20, lambda: nn.Linear(3, 2), drawn, [drawn(torch.Generator().manual_seed(7))])
    assert judge.trained(torch_adamw(), problem, Setting(math.inf, 0.0), 0) == math.inf
    found = judge.tuned(torch_adamw(), lambda setting: math.inf if setting.rate > 1e-3 else 1.0, 8)
    assert found.rate <= 1e-3


def test_muon_moves_kernels_as_matrices_and_leaves_the_rest_to_adamw() -> None:
    torch.manual_seed(0)
    module = resnet()
    kernel = module[3].path[0].weight  # [12, 12, 3, 3]
    before = kernel.detach().clone()
    muon, adamw = TorchMuon().optimizers(module, Setting(0.1, 0.0))
    module(torch.randn(4, 1, 16, 16)).square().mean().backward()
    assert kernel.grad is not None
    matrix = nn.Parameter(before.flatten(1).clone())
    matrix.grad = kernel.grad.flatten(1)
    torch.optim.Muon([matrix], lr=0.1, weight_decay=0.0, adjust_lr_fn="match_rms_adamw").step()
    muon.step()
    assert torch.equal(kernel.detach().flatten(1), matrix.detach()) and not torch.equal(kernel, before)
    of_adamw = {id(p) for group in adamw.param_groups for p in group["params"]}
    assert id(module[-1].weight) in of_adamw and id(module[-1].bias) in of_adamw and id(kernel) not in of_adamw
    assert len(of_adamw) + len(muon.param_groups[0]["params"]) == len(list(module.parameters()))


def test_a_small_gpt_sees_no_later_token() -> None:
    torch.manual_seed(0)
    tokens = torch.randint(128, (1, 12))
    changed = tokens.clone()
    changed[0, 8] = (tokens[0, 8] + 1) % 128
    with torch.no_grad():
        module = GPT(width=16, layers=2)
        first, second = module(tokens), module(changed)
    assert torch.equal(first[0, :8], second[0, :8]) and not torch.equal(first[0, 8:], second[0, 8:])


@pytest.mark.parametrize("name", PROBLEMS)
def test_problems_train_with_an_exported_optimizer(name: str, tmp_path: Path) -> None:
    problem = PROBLEMS[name](6)
    losses = [judge.trained(written("torch_adamw", tmp_path), problem, Setting(rate, 0.0), 0) for rate in (0, 3e-3)]
    assert losses[1] < losses[0] < 6
    inputs, targets = problem.batch(torch.Generator().manual_seed(0))
    held = {tuple(x.flatten().tolist()) for x in problem.validation[0][0]}
    assert inputs.shape[0] == targets.shape[0]
    assert not held & {tuple(x.flatten().tolist()) for x in inputs}


def test_a_file_without_an_optimizer_is_refused(tmp_path: Path) -> None:
    (tmp_path / "empty.py").write_text("x = 1\n", encoding="utf-8")
    with pytest.raises(ValueError, match=r"empty\.py: 0 optimizers in it"):
        exported(tmp_path / "empty.py", steps=60)


def test_a_rule_that_asks_for_the_length_of_the_training_is_told_it(tmp_path: Path) -> None:
    program = parse("steps = get_steps()\nlr = lr * 0.5\nupdate = g / steps\nupdate = update * lr")
    (tmp_path / "long.py").write_text(torch_source(program, "Found"), encoding="utf-8")
    module = torch.nn.Linear(1, 1, bias=False)
    before = module.weight.item()
    rival = exported(tmp_path / "long.py", steps=60)
    (optimizer,) = rival.optimizers(module, Setting(3.0, None))
    module.weight.grad = torch.full_like(module.weight, 2.0)
    optimizer.step()
    assert module.weight.item() == pytest.approx(before - 3.0 * 2.0 / 60)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["one/rule.py", "other/rule.py"], r"two files are called rule\.py: .*; rename one"),
        (["one/rule.py", "--seeds", "1"], "--seeds 1: a standard error takes two at least"),
    ],
)
def test_what_would_come_to_no_table_is_refused_before_anything_is_trained(
    arguments: list[str], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for folder in ("one", "other"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "rule.py").write_text(torch_source(zoo.load("lion"), "Lion"))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", ["judge", *arguments])
    monkeypatch.setattr(judge, "trained", lambda *_: pytest.fail("something would be trained"))
    with pytest.raises(SystemExit):
        judge.main()
    assert re.search(said, capsys.readouterr().err)
