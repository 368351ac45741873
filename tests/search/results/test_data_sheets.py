"""Data sheets in the store: what is kept comes back, sections add up, exports say the short form of what is ours."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from programs import InputError, zoo

from search.commands.export import data_sheet_of
from search.results.data_sheets import short_form
from search.results.export import NamedProgram, export_source
from search.results.results import Results
from search.store import Store
from search.store.data_sheets import are_sections, decoded, encoded

from tests.support.searches import opened
from tests.support.sheets import sections, sheet_of_lion


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with opened(tmp_path / "sheet.db") as store:
        yield store


def test_sections_come_back_as_they_were() -> None:
    made = json.loads(json.dumps(encoded(sections())))
    found = decoded(made)
    assert encoded(found) == made and list(found) == list(sections())
    for name, section in sections().items():
        assert list(found[name].sentences) == list(section.sentences)
        for mine, other in zip(found[name].tables, section.tables, strict=True):
            assert [dict(row) for row in mine.rows] == [dict(row) for row in other.rows]


def test_a_sheet_is_kept_and_later_sections_are_added(store: Store) -> None:
    sheet = sheet_of_lion()
    only = {name: sheet.sections[name] for name in ("family", "stability")}
    store.keep_data_sheet(replace(sheet, sections=only))
    changed = {"family": encoded({"family": sections()["states"]})["family"], "advice": sheet.sections["advice"]}
    store.keep_data_sheet(replace(sheet, sections=changed))
    store.keep_data_sheet(replace(sheet, task="other", task_fingerprint="e" * 32))
    results = Results(store)
    other, mine = results.data_sheets()
    assert (other.task, mine.task) == ("other", "digits_mlp")
    assert mine.sections == {**only, **changed} and list(mine.sections) == ["family", "stability", "advice"]
    found = results.data_sheet(zoo.load("lion"))
    assert found is not None and found.task == "other" and results.data_sheet(zoo.load("sgd")) is None


def test_an_export_says_the_short_form(store: Store, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    store.keep_data_sheet(sheet_of_lion())
    location = str(tmp_path / "sheet.db")
    found = data_sheet_of(zoo.load("lion"), location)
    assert found is not None and data_sheet_of(zoo.load("lion"), str(tmp_path / "none.db")) is None
    assert data_sheet_of(zoo.load("lion"), f"sqlite:///{location}") == found
    junk = tmp_path / "junk.db"
    junk.write_text("no database")
    assert data_sheet_of(zoo.load("lion"), str(junk)) is None
    assert "without a data sheet: " in capsys.readouterr().err
    source = export_source(NamedProgram("lion", zoo.load("lion")), "torch", sheet=found)
    said = " ".join(source.split())
    for line in (
        "data sheet, family: family of lion: sign-momentum;",
        "data sheet, proved: odd in g: yes",
        "data sheet, stability: on digits_mlp, lion: lowest loss 0.10000",
        "data sheet, state_bits=8: loss on digits_mlp +0.00123 +- 0.0004 over states in float32",
        "data sheet, use it: level with AdamW",
    ):
        assert line in said
    assert "stays from the start" not in said  # sampled, not proved
    assert "data sheet" not in export_source(NamedProgram("lion", zoo.load("lion")), "torch")


FOREIGN: list[Any] = [
    {"family": 3},
    {"family": {"sentences": [3], "tables": []}},
    {"family": {"sentences": []}},
    {"family": {"sentences": [], "tables": [{"name": "x"}]}},
]


@pytest.mark.parametrize("made", FOREIGN)
def test_what_is_no_sheet_is_refused(store: Store, made: Any) -> None:
    assert not are_sections(made) and are_sections(sheet_of_lion().sections)
    store.keep_data_sheet(sheet_of_lion())
    with store.writing() as connection:
        connection.execute(text("UPDATE data_sheet SET sections = :made"), {"made": json.dumps(made)})
    with pytest.raises(InputError, match="did not write"):
        Results(store).data_sheets()


def test_tables_without_their_columns_are_refused() -> None:
    made = sheet_of_lion().sections
    table = made["states"]["tables"][0]
    table["columns"] = [f"{column}!" for column in table["columns"]]
    with pytest.raises(InputError, match="did not write"):
        short_form(replace(sheet_of_lion(), sections=made))
