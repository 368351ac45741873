"""`optsearch report`: what the page says, and what it asks the database."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sqlalchemy import event
from sqlalchemy.engine import Engine

from programs import parse
from programs.liveness import live_program

from search.commands.cli import main
from search.report.page import page_of
from search.report.progress import _half, _range
from search.report.section import LINE_OF_X, LINE_OF_Y, Figure, axis_of
from search.report.source import ReportedSearch
from search.report.style import OURS, marks_of
from search.results.results import open_results
from search.settings.baselines import BASELINES
from search.store.rows import VIEWS

from tests.support.pages import SECTIONS, WITH_PROXIES, ParsedPage, fill
from tests.support.report_pages import asked, changed, made
from tests.support.searches import CurvedEvaluator, opened, run, settings_of

# --- what it says ----------------------------------------------------------------------------------------------------


def test_every_section_is_there_and_linked(page: ParsedPage) -> None:
    assert set(page.sections) == {"summary", *WITH_PROXIES}
    links = [attributes["href"] for tag, attributes in page.tags if tag == "a"]
    assert sorted(links, key=str) == sorted(f"#{name}" for name in WITH_PROXIES)
    plots = [attributes["id"] for tag, attributes in page.tags if attributes.get("class") == "plot"]
    assert sorted(map(str, plots)) == sorted(f"plot-{name}" for name in page.figures)
    names = [attributes["id"] for _, attributes in page.tags if "id" in attributes]
    assert len(names) == len(set(names))


@pytest.mark.parametrize(
    ("section", "sentence"),
    [
        ("summary", "Search 'small' has drawn 200 programs by the paper's evolution from sgd_momentum on 1 task"
                    " (digits_mlp), in 4 minutes. 63 of them (31.5%) were trained; the others were known, or cannot"
                    " learn."),
        ("summary", "Verdict on small: ahead: program 78 is ahead of tuned lion, the best baseline, by 0.25 ± 0.062 on"
                    " 8 fresh seeds (z = 4.0)."),
        ("summary", "Program 78 has fitness −0.001037 over 1 training: 0.04612 ahead of tuned AdamW and 0.005838"
                    " ahead of tuned lion, the best of the baselines, on the seeds that the search trains on."),
        ("summary", "1 of 2 programs passed all 2 stages of the funnel; on the first locked set it beats 1 of 2"
                    " tuned baselines (p < 0.05), against tuned AdamW z = +4; on the second locked set it beats 0 of 2"
                    " tuned baselines (p < 0.05), against tuned AdamW z = +1."),
        ("progress", "Program 78, birth 77 of 200, leads the search with fitness −0.001037, 0.04612 ahead of tuned"
                     " AdamW and 0.005838 ahead of tuned lion, the best of the baselines, on the seeds that the search"
                     " trains on."),
        ("progress", "Half of the gain was reached after 0.4 of 3.2 minutes."),
        ("curves", "At the end the training loss is 70% below tuned adamw's; mean of 1 seed."),
        ("program", "Program 78 is shown because it went on to the locked tasks. It is birth 77 of the search, has"
                    " fitness −0.001037 over 1 training and keeps 1 state for each weight."),
        ("family", "From the first ancestor to program 78: 3 mutations in a row, of which 3 changed statements that"
                   " matter; the others changed only what has no effect."),
        ("family", "had 31 other children: 6 were better than their parent, 8 did not train at all."),
        ("leaderboard", "50 distinct programs trained well."),
        ("pareto", "The best has 6 live statements and 1 state, fitness −0.001037; with 0 states the best has"
                   " −0.04213."),
        ("meta-validation", "The best program of the search was tried 10 times; 3 programs held this place in"
                            " turn."),
        ("meta-validation", "The best there, −0.001037, was program 78 after 80 births, and the search's last best"
                            " program is as good: no sign of overfitting."),
        ("funnel", "1 of 2 programs passed stage 1, over 1 task."),
        ("proof", "Each locked set is measured apart; p is corrected for all of them."),
        ("proof", "The first locked set had been opened for 2 finalists by then."),
        ("proof", "Over all tasks of the first locked set it beats 1 of 2 baselines beyond chance (p < 0.05); not"
                  " shown to beat: lion."),
        ("proof", "The second locked set had been opened for 1 finalist by then."),
        ("proof", "Over all tasks of the second locked set it beats 0 of 2 baselines beyond chance (p < 0.05)."),
        ("proxies", "6 programs from the better half of this search, each tuned with 28 trials on each task and then"
                    " trained on 8 fresh seeds."),
        ("proxies", "The order of programs on digits_mlp@10, with 50.0% of the steps, is nearest to that on"
                    " digits_mlp@20: tau = 0.87."),
        ("cache", "Of 200 births 31.5% were trained; 33.5% were known by their dataflow hash, 6.0% by what they do to"
                  " weights, 10.5% were twins of programs in training, and 18.5% cannot learn and were rejected. Of all"
                  " statements 27% had no effect, 35% at the end."),
        ("failures", "50 programs failed or were rejected, most (74.0%) as 'rejected'. The reason given most often:"
                     " updates do not depend on the gradient (35 programs)."),
        ("workers", "66 trainings of programs took 6.6 minutes of workers' time within 4 minutes of running: on average"
                    " 1.65 workers were training, 82% of the 2 workers there were."),
        ("verdict", "Verdict on small: ahead: program 78 is ahead of tuned lion"),
        ("settings", "name: small seed: 12 strategy: kind: paper population: 8"),
    ],
)  # fmt: skip
def test_sentences(page: ParsedPage, section: str, sentence: str) -> None:
    assert sentence in page.sections[section]


def test_figures_agree_with_the_views(path: Path, page: ParsedPage) -> None:
    (search,) = asked(path, "SELECT * FROM v_searches")
    best = page.figure("best-over-births")
    assert best["best program so far"]["y"][-1] == pytest.approx(search["best"], rel=1e-5)
    for row in asked(path, "SELECT * FROM v_baselines"):
        assert best[f"tuned {row['name']}"]["y"] == [row["fitness"]] * 2
    shares = [trace["y"] for name, trace in page.figure("answers").items() if name != "statements without effect"]
    assert 1 < len(shares) <= 6 and all(
        sum(column) == pytest.approx(1, abs=1e-4) for column in zip(*shares, strict=True)
    )
    failed = page.figures["failed"]["data"][0]
    assert sum(failed["x"]) == asked(path, "SELECT SUM(programs) AS n FROM v_failures")[0]["n"]
    curve = page.figure("curve-0")["program 78"]
    (row,) = asked(path, """SELECT curve FROM v_trainings t JOIN v_leaderboard l ON l.key = t.key
                            WHERE l.id = 78 AND task = 'digits_mlp' AND seed = 0""")  # fmt: skip
    assert curve["y"] == pytest.approx(json.loads(row["curve"]), rel=1e-5) and curve["x"] == list(range(1, 21))


def test_proxies_are_compared_with_every_larger_task(page: ParsedPage) -> None:
    """Of 15 pairs of programs one is the other way round; where all failed there is no order, and no point."""
    heading, *rows = page.tables["table-proxies-table"]
    assert heading[:3] == ["target", "proxy", "tau"] and [row[:3] for row in rows] == [
        ["digits_mlp@10", "digits_mlp@5", "–"], ["digits_mlp@20", "digits_mlp@10", "+0.87"],
        ["digits_mlp@20", "digits_mlp@5", "–"],
    ]  # fmt: skip
    (trace,) = page.figures["tau-of-proxies"]["data"]
    assert trace["x"] == ["digits_mlp@10"] and trace["y"] == [pytest.approx(13 / 15, rel=1e-5)]


def test_workers_that_train_are_those_that_the_trainings_took(page: ParsedPage) -> None:
    """The area under the curve is the time that all trainings took."""
    busy = page.figure("busy")["workers that train"]
    assert len(busy["x"]) == 60 and sum(busy["y"]) * busy["x"][0] == pytest.approx(6.6, rel=1e-3)


def test_every_plot_has_units_and_a_sentence(page: ParsedPage) -> None:
    for name, figure in page.figures.items():
        assert all(figure["layout"][axis]["title"]["text"] for axis in ("xaxis", "yaxis")), name
        assert all("hovertemplate" in trace for trace in figure["data"]), name
    for tag, attributes in page.tags:
        if attributes.get("class") == "plot":
            assert tag == "div" and len(attributes["aria-label"] or "") > 40


def test_the_table_is_the_leaderboard(path: Path, page: ParsedPage) -> None:
    heading, *rows = page.tables["table-leaders"]
    leaders = asked(path, "SELECT * FROM v_leaderboard")
    assert heading[:2] == ["id", "fitness"] and len(rows) == len(leaders) == 50
    assert [row[0] for row in rows] == [str(row["id"]) for row in leaders]
    assert [float(row[1].replace("−", "-")) for row in rows] == pytest.approx(
        [row["fitness"] for row in leaders], rel=1e-3
    )


def test_the_winner_in_all_its_forms(path: Path, page: ParsedPage, tmp_path: Path) -> None:
    """Its code can be copied and is what it should be: the program, and what `optsearch export` writes."""
    (row,) = asked(path, "SELECT genome FROM v_leaderboard WHERE id = 78")
    assert page.lines["code-raw"] == parse(row["genome"]).as_function().rstrip() + "\n"
    assert page.lines["code-simplified"] == live_program(parse(row["genome"])).as_function().rstrip() + "\n"
    assert page.lines["code-equations"].startswith(r"\begin{aligned}")
    with pytest.MonkeyPatch.context() as patched:
        patched.chdir(tmp_path)
        patched.setattr(sys, "argv", ["optsearch", "export", "78", "-o", "o.py", "--store", str(path)])
        with pytest.raises(SystemExit):
            main()
    assert page.lines["code-torch"] == (tmp_path / "o.py").read_text()
    buttons = {attributes["data-copy"] for _, attributes in page.tags if attributes.get("class") == "copy"}
    assert buttons == {name for name in page.lines if name.startswith("code-")}


def test_dead_statements_are_marked(path: Path, tmp_path: Path) -> None:
    genome = "x1 = g * 0.5\nupdate = g * lr"
    copy = changed(path, tmp_path, "UPDATE program SET genome = :genome WHERE id = 78", genome=genome)
    page = made(copy)
    assert "x1 = g * 0.5    # dead" in page.lines["code-raw"] and "dead" not in page.lines["code-live"]
    assert ("span", {"class": "dead"}) in page.tags


def test_the_family_ends_with_the_winner(page: ParsedPage) -> None:
    marks = [attributes.get("class") for tag, attributes in page.tags if tag == "span"]
    assert marks.count("added") == 2 and marks.count("removed") == 2
    assert page.sections["family"].endswith("+ lr = arcsin(-0.46222458190584) m = m + g lr = lr * 0.1 update = m * lr")


# --- by convention ----------------------------------------------------------------------------------------------------


def test_a_birth_and_a_program_have_one_number_everywhere(path: Path, tmp_path: Path) -> None:
    """That of the views, and no thousands separator, as neither is an amount."""
    shift = "birth = birth + 5000, parent_birth = parent_birth + 5000"
    statements = f"UPDATE program SET {shift}", "UPDATE meta_validation SET birth = birth + 5000"
    page = made(changed(path, tmp_path, *statements))
    assert "birth 5077" in page.sections["progress"] and "birth 5077" in page.sections["program"]
    assert "program 78, birth 5077: a statement inserted" in page.sections["family"]
    heading, first, *_ = page.tables["table-leaders"]
    assert (first[heading.index("id")], first[heading.index("birth")]) == ("78", "5077")
    assert max(page.figure("descent")["ancestors"]["x"]) == 5077
    assert not any("5,07" in said for said in page.sections.values())


def test_signs_are_no_hyphens(page: ParsedPage) -> None:
    for name in ("summary", "progress", "leaderboard", "pareto", "verdict", "meta-validation", "funnel", "proof"):
        assert not re.search(r"(?<![\w-])-\d|\+-", page.sections[name]), name
    axes = [figure["layout"][axis]["title"]["text"] for figure in page.figures.values() for axis in ("xaxis", "yaxis")]
    assert "negative validation loss" in axes and not any("minus" in title for title in axes)


@pytest.mark.parametrize(
    ("low", "high", "ticks"),
    [
        (0.015, 2.3, ["0.01", "0.1", "1", "10"]),
        (0.011, 0.9, ["0.01", "0.02", "0.05", "0.1", "0.2", "0.5", "1", "2", "5"]),
        (0.5, 2.0, []), (-1.0, 2.0, []), (0.0, 2.0, []),
    ],
)  # fmt: skip
def test_ticks_of_logarithmic_axes_are_decades_or_whole_numbers_between(
    low: float, high: float, ticks: list[str]
) -> None:
    axis = axis_of("loss", low, high)
    figure = Figure("f", "", [], axis, axis).data()["layout"]["yaxis"]
    assert figure["type"] == ("log" if ticks else "linear") and figure.get("ticktext", []) == ticks
    assert [f"{value:g}" for value in figure.get("tickvals", [])] == ticks


def test_no_legend_has_an_empty_entry(page: ParsedPage) -> None:
    for name, figure in page.figures.items():
        traces = figure["data"]
        assert traces
        for trace in traces:
            if trace["type"] == "heatmap":
                shape = len(trace["y"]), len(trace["x"])
                assert (len(trace["z"]), *{len(row) for row in trace["z"]}) == shape and min(shape) > 0, name
            else:
                assert len(trace["x"]) == len(trace["y"]) > 0, name
        assert not figure["layout"]["showlegend"] or all(trace["name"] for trace in traces), name
        if name == "answers":
            assert all(max(trace["y"]) > 0 for trace in traces if "stackgroup" in trace)


def test_titles_of_axes_fit_a_phone(page: ParsedPage) -> None:
    for figure in page.figures.values():
        for axis, most in (("xaxis", LINE_OF_X), ("yaxis", LINE_OF_Y)):
            assert all(len(line) <= most for line in figure["layout"][axis]["title"]["text"].split("<br>"))


def test_the_pareto_plot_shows_what_it_speaks_of(path: Path, page: ParsedPage) -> None:
    """All sizes but those that the caption leaves out, and every baseline; no range cuts any off."""
    figure = page.figures["sizes"]
    sizes = asked(path, "SELECT DISTINCT live_statements, state_slots FROM v_leaderboard")
    drawn = sum(len(trace["x"]) for trace in figure["data"] if not trace["name"].startswith("tuned"))
    left_out = re.search(r"too far behind for this figure: (\d+) size", page.sections["pareto"])
    assert drawn + (int(left_out[1]) if left_out else 0) == len(sizes)
    front = sum(len(trace["x"]) for trace in figure["data"] if "front" in trace["name"])
    assert f"{front} sizes on the front" in page.sections["pareto"]
    assert {trace["name"] for trace in figure["data"]} >= {"tuned adamw", "tuned lion"}
    assert not any("range" in figure["layout"][axis] for axis in ("xaxis", "yaxis"))


def test_no_two_baselines_share_a_colour(page: ParsedPage) -> None:
    """Nor does one with the program; and each has its own in all figures."""
    marks = marks_of([*BASELINES, "another", "one more"])
    colours = {mark.colour for mark in marks.values()}
    assert len(colours) == len(marks) and OURS not in colours
    for name in ("best-over-births", "curve-0", "sizes", "ahead-on-locked-1", "ahead-on-locked-2"):
        for rival in ("adamw", "lion"):
            trace = page.figure(name).get(f"tuned {rival}") or page.figure(name)[rival]
            assert trace.get("line", trace.get("marker", {}))["color"] == marks[rival].colour, name


def test_a_leader_that_is_not_the_winner_is_told_from_it(path: Path, tmp_path: Path) -> None:
    page = made(changed(path, tmp_path, "UPDATE opening SET program_id = 72"))
    assert "Program 78, birth 77 of 200, leads the search with fitness −0.001037" in page.sections["progress"]
    known = "Program 72, of which this page says more, has −0.01315: it went on to the locked tasks."
    assert known in page.sections["progress"] and "Program 72 has fitness −0.01315" in page.sections["summary"]


def test_fresh_seeds_stand_beside_what_the_search_knows(path: Path, page: ParsedPage, tmp_path: Path) -> None:
    heading, ours, theirs = page.tables["table-fresh-seeds"]
    assert dict(zip(heading, ours, strict=True)) == {
        "competitor": "program 78", "fitness on fresh seeds": "−0.25", "fresh seeds": "8", "ahead there": "+0.25",
        "± error of that": "0.062", "z": "+4", "fitness in the search": "−0.001037", "± error": "–",
        "known from": "1 training",
    }  # fmt: skip
    assert theirs[:2] == ["tuned lion", "−0.5"]
    for state, said in (("interrupted", "The search has not come to its end"), ("finished", "arms of a comparison")):
        without = made(changed(path, tmp_path, "DELETE FROM verdict", f"UPDATE search SET state = '{state}'"))
        assert said in without.sections["verdict"]


def test_a_curve_that_falls_again_is_seen_as_a_whole() -> None:
    low, high = _range(np.array([-900.0, *[-2.0] * 60, -0.5, -1.0]), [-1.5, -0.9])
    assert -3.0 < low < -2.0 and -0.5 < high < 0.0


def test_the_half_of_the_gain() -> None:
    times = np.array([1.0, 2.0, 4.0])
    for best, is_first, said in (
        ((0.0, 0.1, 1.0), False, "Half of the gain was reached after 4 of 4 min."),
        ((1.0, 1.0, 1.0), True, "The best program was found in the first batch."),
        (
            (1.0, 1.0, 0.9),
            False,
            "The leader of the first batch was lucky on its first seeds: the curve ends no higher",
        ),
    ):
        assert _half(times, np.array(best), "min", is_first).startswith(said)


def test_what_ran_where(page: ParsedPage) -> None:
    (_, row) = page.tables["table-places"]
    assert row == ["node", "cpu", "2", "2", "66", "396"]


def test_a_proof_that_was_interrupted(path: Path, tmp_path: Path) -> None:
    statements = ("DELETE FROM proof", "UPDATE opening SET finished = NULL, opened = '2025-12-31 23:59:00.000000'",
                  "UPDATE training SET task = 'mnist1d_cnn x 0.5' WHERE id <= 3")  # fmt: skip
    page = made(changed(path, tmp_path, *statements))
    said = (
        "he locked tasks were opened for program 78 on 2025-12-31 23:59 UTC, and the proof has not come to its end: 3"
    )
    assert f"T{said} of at most 9,000 trainings; go on with `optsearch prove 78`." in page.sections["proof"]
    assert said in page.sections["summary"]


# --- of a search that races programs over seeds -----------------------------------------------------------------------


@pytest.fixture(scope="module")
def raced(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database with a search of structures whose programs are raced."""
    path = tmp_path_factory.mktemp("raced") / "results.db"
    settings = settings_of(
        name="raced", strategy={"kind": "evolution"}, baselines=["adamw", "lion"], hurdles=False,
        budget={"programs": 150}, tasks=[{"name": "digits_mlp", "steps": 20, "seeds": {"first": 1, "most": 4}}],
    )  # fmt: skip
    with opened(path) as store:
        run(settings, store, CurvedEvaluator())
    return path


def test_estimates_stand_with_their_errors(raced: Path) -> None:
    page = made(raced)
    best = asked(raced, "SELECT * FROM v_leaderboard")[0]
    (search,) = asked(raced, "SELECT * FROM v_searches")
    known = f"fitness {best['fitness']:.4g} ± {best['standard_error']:.2g} over".replace("-", "−")
    for section in ("summary", "program"):
        assert known in page.sections[section], section
    assert f"150 programs by evolution of structures from {settings_of().strategy.start[0]}" in page.sections["summary"]
    assert search["raced"] > 0
    assert f"{search['raced']} of the trained were promising ones on further seeds." in page.sections["summary"]
    assert "its fitness less its standard error is the highest" in page.sections["program"]
    figure = page.figure("best-over-births")
    assert figure["best so far, lower bound"]["y"][-1] == pytest.approx(best["lower_bound"], rel=1e-5)
    assert figure[f"program {best['id']} ± error"]["y"] == pytest.approx([best["fitness"]], rel=1e-5)


def test_sections_rank_by_the_bound_and_races_are_no_programs_of_their_own(raced: Path) -> None:
    page = made(raced)
    heading, *rows = page.tables["table-leaders"]
    leaders = asked(raced, "SELECT * FROM v_leaderboard LIMIT 100")
    assert [row[0] for row in rows] == [str(row["id"]) for row in leaders]
    assert heading[2:4] == ["± error", "trainings"]
    assert [row[3] for row in rows] == [str(row["trainings"]) for row in leaders] and "race" not in {
        r[-1] for r in rows
    }
    bounds = [y - down for name, trace in page.figure("sizes").items() if "front" in name
              for y, down in zip(trace["y"], trace["error_y"]["arrayminus"], strict=True)]  # fmt: skip
    assert max(bounds) == pytest.approx(leaders[0]["lower_bound"], rel=1e-5)
    shares = [trace["y"] for name, trace in page.figure("answers").items() if name != "statements without effect"]
    assert 1 < len(shares) <= 6 and all(
        sum(column) == pytest.approx(1, abs=1e-4) for column in zip(*shares, strict=True)
    )
    assert "known programs on further seeds" in page.sections["cache"]
    born = {row["birth"] for row in asked(raced, "SELECT birth FROM v_lineage")}
    shown = {x for trace in page.figures["descent"]["data"] for x in trace["x"]}
    assert shown <= born and "race" not in page.sections["family"]


# --- of what is not there yet ----------------------------------------------------------------------------------------


def test_a_search_without_births(tmp_path: Path) -> None:
    with opened(tmp_path / "r.db") as store:
        store.create_search("young", settings_of(name="young").model_dump(mode="json"))
    page = made(tmp_path / "r.db")
    assert set(page.sections) == {"summary", *SECTIONS} and not page.figures
    assert "Search 'young' has drawn 0 programs" in page.sections["summary"]
    for name in ("progress", "cache"):
        assert "No birth is committed yet" in page.sections[name]


def test_a_search_in_which_everything_failed(path: Path, tmp_path: Path) -> None:
    page = made(changed(
        path, tmp_path, "UPDATE program SET status = 'diverged', fitness = NULL, reason = NULL",
        *(f"DELETE FROM {table}" for table in ("proof", "opening", "selection", "baseline", "meta_validation")),
    ))  # fmt: skip
    assert "No program has trained well yet" in page.sections["summary"]
    for name in ("progress", "curves", "program", "family", "leaderboard", "pareto"):
        assert "No program has trained well yet" in page.sections[name], name
    assert "as 'diverged'. The reason given most often: none" in page.sections["failures"]
    for name in ("meta-validation", "funnel", "proof"):
        assert re.search(r"was never|were not|No program", page.sections[name]), name


def test_without_funnel_and_proof_nothing_is_confirmed(path: Path, tmp_path: Path) -> None:
    tables = ("proof", "opening", "selection", "simplification", "task_noise", "verdict", "proxy_measurement")
    page = made(changed(path, tmp_path, *(f"DELETE FROM {table}" for table in tables)))
    assert set(page.sections) == {"summary", *SECTIONS}
    assert "Neither a funnel nor the locked tasks have confirmed this yet" in page.sections["summary"]
    assert "because it has the highest fitness in the search" in page.sections["program"]
    assert "It is not simplified yet: `optsearch simplify 78`" in page.sections["program"]


def test_the_search_is_chosen(path: Path, tmp_path: Path) -> None:
    """The one that is named; else the one written last."""
    copy = changed(path, tmp_path)
    with opened(copy) as store:
        store.create_search("later", settings_of(name="later").model_dump(mode="json"))
    assert "Search 'later'" in made(copy).sections["summary"]
    assert "Search 'small'" in made(copy, "small").sections["summary"]


# --- what it asks ----------------------------------------------------------------------------------------------------


def test_what_is_shown_comes_from_views(path: Path) -> None:
    """All but that of programs from outside are read; tables only tell which searches and which ancestors there are."""
    seen: list[str] = []

    def note(_connection: Any, _cursor: Any, statement: str, *_others: Any) -> None:
        seen.append(statement)

    with open_results(str(path)) as results:
        event.listen(Engine, "before_cursor_execute", note)
        try:
            page_of(ReportedSearch(results))
        finally:
            event.remove(Engine, "before_cursor_execute", note)
    assert {statement.split()[0] for statement in seen} <= {"BEGIN", "SELECT"}
    read = {statement: set(re.findall(r"(?i)\b(?:from|join)\s+(\w+)", statement)) for statement in seen}
    assert set.union(*read.values()) == {*VIEWS, "search", "program", "line"} - {"v_proposals"}
    for statement, names in read.items():
        if not names <= set(VIEWS):
            assert re.match(r"SELECT (id|search) \n?FROM \(", statement), statement


def test_the_same_on_postgresql(page: ParsedPage, postgres_server: Any) -> None:
    location = postgres_server.database()
    fill(location)
    other = made(location)
    for name in SECTIONS:
        if name not in ("proof", "settings"):  # these name the day and the database
            assert other.sections[name] == page.sections[name], name
    assert other.figures == page.figures
