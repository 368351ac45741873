"""The reference that is made from the code: all of it is there, and what lacks a meaning is refused."""

from __future__ import annotations

import re
from typing import Any

import pytest

from programs.ops import OPS, SETS

from proxy_tasks import TASKS
from proxy_tasks.references import reference

import search
from search.commands import tasks
from search.results.results import Results
from search.settings.fields import Immutable
from search.settings.funnel import Funnel, Stage
from search.settings.settings import EvaluatorSettings, Settings, Strategy
from search.settings.tasks import TaskChoice
from search.store.rows import VIEWS, metadata
from search.store.tables import ProgramRow
from search.store.views import ProgramEntry

from scripts.docs_site import settings_page as settings_module
from scripts.docs_site import source, store_page
from scripts.docs_site.commands_page import commands, commands_page
from scripts.docs_site.functions_page import functions_page
from scripts.docs_site.python_page import python_page, query_rows
from scripts.docs_site.settings_page import settings_page
from scripts.docs_site.tasks_page import tasks_page


def test_every_setting_with_its_default_and_its_meaning() -> None:
    page = settings_page()
    for kind in Immutable.__subclasses__():
        for name in kind.model_fields:
            (row,) = set(re.findall(rf"^\| `{name}` \|.*$", page, re.MULTILINE)) & set(_rows(page, kind))
            cells = [cell.strip() for cell in row.strip("|").split(" | ")]
            assert len(cells) == 4 and cells[1] and cells[3], row
    assert "| `tournament` | whole number from 1 to 10000 | `2` |" in page
    assert "| `race_share` | number above 0 below 1 | `0.35` |" in page
    assert "| `workers` | whole number from 1 to 10000 or `auto` | `auto` |" in page
    assert "| `name` | text | required |" in page


def _rows(page: str, kind: type[Immutable]) -> list[str]:
    """The rows of the table that lists the settings of a model; of two with the same settings, the last."""
    tables = [table.splitlines()[2:] for table in re.findall(r"(?:^\|.*\n)+", page, re.MULTILINE)]
    *_, table = [rows for rows in tables if [re.match(r"\| `(\w+)`", row)[1] for row in rows] == [*kind.model_fields]]
    return table


def test_a_setting_without_meaning_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    docs = source.attribute_docs
    for kind in (Settings, Strategy, EvaluatorSettings, TaskChoice, Funnel, Stage):
        last = list(kind.model_fields)[-1]
        monkeypatch.setattr(
            settings_module, "attribute_docs",
            lambda asked, kind=kind, last=last: {k: v for k, v in docs(asked).items() if (asked, k) != (kind, last)},
        )  # fmt: skip
        with pytest.raises(ValueError, match=rf"{kind.__name__} has settings without a docstring.*: {last}"):
            settings_page()


def test_every_command_with_its_options() -> None:
    page = commands_page()
    for name, (command, _) in commands().items():
        section = re.search(rf"^## {name}\n.*?(?=^## |\Z)", page, re.MULTILINE | re.DOTALL)
        assert section is not None, name
        for param in command.params:
            (row,) = re.findall(rf"^\| {re.escape(_shown(param))}[ `,].*$", section[0], re.MULTILINE)
            assert row.count(" | ") == 2 and not row.endswith("|  |"), row
    assert "| `--set KEY=VALUE` |  | Override a setting: budget.programs=1000. |" in page
    assert "| `--seeds N` | `3` |" in page and "| `--output, -o FILE` |" in page and "| `ID` | required |" in page


def _shown(param: Any) -> str:
    if param.param_type_name == "argument":
        name = (param.metavar or param.name.upper()).strip("[]")
    else:
        name = next(name for name in (*param.opts, *param.secondary_opts) if name.strip())
    return "`" + name.replace("|", "\\|")


def test_every_function_with_what_it_computes() -> None:
    page = functions_page()
    for name in OPS:
        assert len(re.findall(rf"^\| `{name}\(", page, re.MULTILINE)) == 1, name
    assert "| `div(x, y)`, written `x / y` | any, any | the largest of these | `x / (y + 1e-08)` |" in page
    assert "| `clip(x, a)` | any, scalar | as x | `x * torch.clamp(a /" in page
    assert "| `row_mean(x)` | row or column or tree | row | `row_mean(x)`; the mean of each row |" in page
    for name, about in SETS.items():
        assert f"\n## {name}\n\n{about[:1].upper()}" in page
    assert all(op.meaning or op.torch_code("xya") for op in OPS.values())
    assert "| `get_pi()` |  | scalar | `3.14159" in page


def test_every_table_and_view_with_its_columns(monkeypatch: pytest.MonkeyPatch) -> None:
    page = store_page.store_page()
    for name, table in metadata.tables.items():
        section = re.search(rf"^### {name}\n\n\S.*?(?=^### |\Z)", page, re.MULTILINE | re.DOTALL)
        assert section is not None and all(f"| `{column.name}` |" in section[0] for column in table.columns)
    for name, kind in VIEWS.items():
        section = re.search(rf"^### {name}\n\n\S.*`{kind.__name__}`.*?(?=^###? |\Z)", page, re.MULTILINE | re.DOTALL)
        assert section is not None and all(f"| `{column}` |" in section[0] for column in kind.kinds), name
    assert (
        "| `heartbeat` | float or null | When that run was last alive, in seconds by the clock of the database. |"
        in page
    )
    assert "| `search_id` | integer | The row in `search`. |" in page
    assert "Unique for `key` and `task_fingerprint` and `seed`." in page
    docs = store_page.attribute_docs
    for refused, where in ((ProgramEntry, "v_programs"), (ProgramRow, "program")):
        monkeypatch.setattr(
            store_page, "attribute_docs",
            lambda asked, refused=refused: {k: v for k, v in docs(asked).items() if (asked, k) != (refused, "key")},
        )  # fmt: skip
        with pytest.raises(ValueError, match=f"{where}: no meaning is written under key$"):
            store_page.store_page()


def test_everything_that_python_gets() -> None:
    page = python_page()
    for name in search.__all__:
        assert f"`{name}`" in page
    for name in vars(Results):
        if not name.startswith("_") and name != "location":
            assert f"### {name}\n" in page, name
    for kind in (*VIEWS.values(), *query_rows()):
        assert f"`{kind.__name__}`" in page or f"## {kind.__name__}\n" in page, kind
    assert "### program\n\nOf `ProgramEntry`, `LeaderboardEntry`, `LineageEntry`.\n\nThe program itself." in page
    assert "- `births: int`: Programs born" in page
    assert "    changes: Mapping[str, Any] | None = None,\n" in page
    assert "open_store(path: str | Path = 'results.db') -> Results" in page


def test_a_docstring_as_markdown() -> None:
    def told() -> None:
        """First line.

        Args:
            one: of these, and
                more of it.
            two: another: with a colon.

        Returns:
            What comes of it.
        """

    arguments = ["- `one`: of these, and", "more of it.", "- `two`: another: with a colon."]
    lines = ["First line.", "", "**Args**", "", *arguments, "", "**Returns**", "", "What comes of it."]
    assert source.docstring(told).splitlines() == lines
    with pytest.raises(ValueError, match="no docstring"):
        source.docstring(_shown)


def test_tasks_are_those_of_the_command(capsys: pytest.CaptureFixture[str]) -> None:
    """Both come from the records: the same tasks, steps and losses."""
    tasks.command()
    printed = [line.split() for line in capsys.readouterr().out.splitlines()]
    shown = {line[0]: line[1:] for line in printed if line and line[0] in TASKS}
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in tasks_page().splitlines() if "`" in line]
    rows = [row for row in rows if row[0].strip("`") in TASKS]
    assert [row[0].strip("`") for row in rows] == [*shown] == [*TASKS]
    for name, _, model, size, *losses, _ in rows:
        steps, batch = size.split(" x ")
        assert shown[name.strip("`")] == [model, steps, batch, *(loss.split(" ")[0] for loss in losses)]
    adamw = reference(TASKS["digits_mlp"]).optimizers["adamw"].loss
    assert f"{adamw:.3g}" == shown["digits_mlp"][3]
