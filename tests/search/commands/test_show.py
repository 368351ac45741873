"""`optsearch show`: curves, which are drawn with characters, and duplicates."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from search.commands.plots import ASCII, HEIGHT, LABEL, Curve, plot
from search.results.results import Results

from tests.support.commands import changed, columns_of, fits, said, tables
from tests.support.searches import PretendingEvaluator, opened, rows_of_query, run, settings_of


def test_curves_are_those_of_the_program_and_of_the_baselines(path: Path, ids: dict[str, int]) -> None:
    rows = tables(path, f"show {ids['best']}")["curves"]
    with opened(path) as store:
        keys = {f"program {ids['best']}": Results(store).program(ids["best"]).key}
        keys |= {f"tuned {b.name}": b.key for b in store.baselines(1).values()}
        for name, key in keys.items():
            query = "SELECT curve FROM training WHERE key = :key AND seed = 0 AND task = 'digits_mlp'"
            (known,) = rows_of_query(store, query, key=key)
            shown = [row for row in rows if row["competitor"] == name]
            assert [row["loss"] for row in shown] == json.loads(known["curve"])
            assert [row["point"] for row in shown] == [*range(1, 21)] and {row["points"] for row in shown} == {20}
    assert {row["competitor"] for row in rows} == set(keys)


def test_duplicates_are_counted(path: Path) -> None:
    with opened(path) as store:
        (most,) = rows_of_query(
            store, "SELECT key, COUNT(*) AS programs FROM program GROUP BY key ORDER BY COUNT(*) DESC LIMIT 1"
        )
        rows = rows_of_query(store, "SELECT id, answered_by FROM program WHERE key = :key ORDER BY id", key=most["key"])
    first, *others = rows
    assert len(others) > 6
    shown = tables(path, f"show {first['id']}")["duplicates"]
    assert {row["answered_by"]: row["programs"] for row in shown} == Counter(row["answered_by"] for row in others)
    out = " ".join(said(path, f"show {first['id']}").split())
    assert f"{len(others)} other births with this key" in out
    assert f"such as {', '.join(str(row['id']) for row in others[:5])} key" in out
    later = " ".join(said(path, f"show {others[-1]['id']}").split())
    assert f"program {first['id']} was trained, and does the same" in later


def test_programs_of_other_searches_are_no_duplicates(tmp_path: Path) -> None:
    """The start program is the same in both, and was trained in both."""
    path = tmp_path / "two.db"
    with opened(path) as store:
        for name in ("one", "two"):
            run(settings_of(name=name, budget={"programs": 4}), store, PretendingEvaluator())
        first, second = rows_of_query(
            store,
            "SELECT p.id, p.key FROM program p JOIN search s ON s.id = p.search_id WHERE p.birth = 0 ORDER BY s.name",
        )
        results = Results(store)
        assert first["key"] == second["key"]
        for name, row in (("one", first), ("two", second)):
            trained = results.first_trained(name, row["key"])
            assert trained is not None and (trained.search, trained.id) == (name, row["id"])
            assert results.with_key(name, row["key"], 9)[0] == row["id"]
            duplicates = results.duplicates(results.program(row["id"]))
            assert sum(one.programs for one in duplicates) == len(results.with_key(name, row["key"], 99)) - 1
    assert f"program {first['id']} " not in said(path, f"show {second['id']}")


def test_curves_are_of_the_seed_that_every_search_trains_on(path: Path, ids: dict[str, int], tmp_path: Path) -> None:
    other = """INSERT INTO training (key, task_fingerprint, seed, task, status, fitness, curve, steps, seconds,
                                       device, created)
               SELECT key, task_fingerprint, 1, task, status, fitness, '[7.5]', steps, seconds, device, created
               FROM training WHERE seed = 0"""
    shown = tables(path, f"show {ids['best']}")["curves"]
    assert tables(changed(path, tmp_path, other), f"show {ids['best']}")["curves"] == shown


def test_curves_on_several_tasks_stand_side_by_side(path: Path, ids: dict[str, int], tmp_path: Path) -> None:
    """In the order of the settings, whatever was trained first; those for which there is no room are counted."""
    names = ["e", "digits_mlp", "d", "c", "b", "a"]
    tasks = json.dumps([{"name": name} for name in names])
    copies = [
        f"""INSERT INTO training (key, task_fingerprint, seed, task, status, fitness, curve, steps, seconds, device,
                                    created)
            SELECT key, '{name}', seed, '{name}', status, fitness, curve, steps, seconds, device, created
            FROM training WHERE task = 'digits_mlp'"""
        for name in sorted(names) if name != "digits_mlp"
    ]  # fmt: skip
    copy = changed(
        path, tmp_path, *copies, f"UPDATE search SET settings = json_replace(settings, '$.tasks', json('{tasks}'))"
    )
    out = said(copy, f"show {ids['best']}")
    fits(out)
    titles = [line.replace(", log scale", "").split() for line in out.splitlines() if line.count("log scale") == 2]
    assert titles == [["e", "digits_mlp"], ["d", "c"]] and "and on 2 more tasks: --json has the curves of all" in out
    assert {row["task"] for row in tables(copy, f"show {ids['best']}")["curves"]} == set(names)


# --- plots ------------------------------------------------------------------------------------------------------------
CURVES = st.lists(st.floats(allow_nan=False, allow_infinity=False), max_size=20).map(lambda losses: Curve(losses, 20))


@settings(max_examples=200)
@given(CURVES.filter(lambda curve: curve.losses), st.none() | CURVES, st.integers(25, 60))
def test_plots_have_their_size_and_both_ends(ours: Curve, theirs: Curve | None, width: int) -> None:
    lines = plot("任 task", ours, theirs, width)
    assert len(lines) == HEIGHT + 3 and all(columns_of(line.plain) == width for line in lines)
    drawn = [line.plain[LABEL + 1 :] for line in lines[1 : HEIGHT + 1]]
    losses = [*ours.losses, *(theirs.losses if theirs else [])]
    if min(losses) < max(losses) and theirs is None and (min(losses) <= 0 or max(losses) / min(losses) > 1.01):
        ends = (drawn[0].strip(), drawn[-1].strip())
        assert all(ends) or max(losses) - min(losses) < 1e-12 * max(map(abs, losses))
    assert all(line.plain.isascii() for line in plot("task", ours, theirs, width, ASCII))


def test_a_falling_curve_falls_and_the_dashed_one_has_gaps() -> None:
    falling, flat = Curve([2.0 - n / 10 for n in range(20)], 20), Curve([1.0] * 20, 20)
    text = [line.plain for line in plot("t", falling, flat, 49, ASCII)]
    assert text[0].split() == ["t,", "log", "scale"] and text[1].split()[0] == "2|" and "0.1|" in text[HEIGHT]
    ends = [max(place for place, c in enumerate(line) if c == "*") for line in text[1 : HEIGHT + 1]]
    assert ends == sorted(ends) and ends[0] < 25 < ends[-1]
    dashed = next(line for line in text if line.count("o") > 5)
    assert "o " in dashed[20:] and len(dashed.split("o ")) > 4


def test_a_training_that_ended_early_is_drawn_as_far_as_it_went() -> None:
    text = [line.plain for line in plot("t", Curve([1.0, 2.0, 3.0, 4.0, 5.0], 20), None, 50, ASCII)]
    assert max(line.rindex("*") for line in text if "*" in line) < LABEL + 50 / 4
