"""Programs by ID, file or name: files as editors and shells save them."""

from __future__ import annotations

from pathlib import Path

import pytest

from programs import zoo
from programs.errors import InputError
from programs.hyperparameters import learning_rate_of

from search.commands.export import command
from search.results.programs import find_program, named_program
from search.results.results import Results

from tests.support.searches import PretendingEvaluator, opened, run, settings_of


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_a_file_is_the_same_program_in_every_encoding(tmp_path: Path, encoding: str, end: str) -> None:
    path = tmp_path / "mine.txt"
    path.write_bytes(zoo.load("lion").as_function().replace("\n", end).encode(encoding))
    found = find_program(str(path), None)
    assert (found.name, found.program) == ("mine", zoo.load("lion"))


def test_a_file_that_is_no_text_is_refused_with_what_to_do(tmp_path: Path) -> None:
    path = tmp_path / "mine.txt"
    path.write_bytes(zoo.load("lion").as_function().encode("utf-16-le"))
    with pytest.raises(InputError, match=r"is not text \(.+\); give a program such as .+ saved as UTF-8"):
        find_program(str(path), None)


def test_a_baseline_as_it_was_tuned(tmp_path: Path) -> None:
    with opened(tmp_path / "r.db") as store:
        run(settings_of(baselines=["lion", "torch_muon"]), store, PretendingEvaluator())
        results = Results(store)
        (row,) = [row for row in results.baselines("small") if row.name == "lion"]
        found = find_program("small:lion", results)
        assert (found.name, str(found.program)) == ("small:lion", row.genome)
        assert learning_rate_of(found.program) == row.learning_rate
        for what, complaint in (
            ("small:adamw", r"search 'small' has no baseline adamw; it has lion, torch_muon"),
            ("other:lion", r"no search 'other'; there are: small"),
            ("small:torch_muon", r"small:torch_muon: is torch's own optimizer and no program of the language"),
        ):
            with pytest.raises(InputError, match=complaint):
                find_program(what, results)
    with named_program("small:lion", str(tmp_path / "r.db")) as (again, _):
        assert again.program == found.program
    with pytest.raises(InputError, match="small:nonsense: neither an ID, nor a file, nor SEARCH:BASELINE, nor in"):
        find_program("small:nonsense", None)


def test_the_export_of_a_program_that_has_no_fitness_says_why(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with opened(tmp_path / "r.db") as store:
        run(settings_of(), store, PretendingEvaluator())
        with store.writing() as connection:
            connection.exec_driver_sql("UPDATE training SET status = 'diverged', fitness = NULL, reason = 'too large'")
            connection.exec_driver_sql("UPDATE program SET status = 'diverged', fitness = NULL, reason = 'too large'")
    command("1", to="torch", output=tmp_path / "found.py", store=str(tmp_path / "r.db"))
    assert capsys.readouterr().err == "program 1 has no fitness: diverged: too large\n"
    text = (tmp_path / "found.py").read_text(encoding="utf-8")
    assert "outcome: diverged: too large" in text and "fitness:" not in text
