"""The command `optsearch`.

Exit codes: 0 done, 1 failed, 2 bad input, 130 interrupted (a run continues when started again).
"""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from io import TextIOWrapper
from pathlib import Path
from typing import Annotated, Any

import typer

from programs.errors import InputError

from search.errors import RunError

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Search for optimizers and take the best home.",
)

# Recent versions of Typer carry a copy of click, older ones use click itself: the base of its errors is right in both.
_UsageError: type[Any] = next(c for c in typer.BadParameter.__mro__ if c.__name__ == "ClickException")

StoreOption = Annotated[str, typer.Option("--store", help="Database: the path of a SQLite file, or a URL.")]
SearchOption = Annotated[str | None, typer.Option("--search", help="Only this search.")]
ProgramArgument = Annotated[
    str, typer.Argument(metavar="ID|FILE|NAME", help="A program: ID in the store, file, or name in the zoo.")
]
IdArgument = Annotated[int, typer.Argument(metavar="ID", help="ID of a program in the store.")]
LimitOption = Annotated[
    int | None, typer.Option(min=1, max=1_000_000, help="Rows at most; without it 20, or all with --json and --csv.")
]
JsonOption = Annotated[bool, typer.Option("--json", help="For machines: everything, unrounded.")]
CsvOption = Annotated[bool, typer.Option("--csv", help="For machines: the first table of --json as CSV.")]
RESULTS = "results.db"


@app.command()
def run(
    config: Annotated[Path, typer.Argument(help="YAML file of settings, such as configs/quickstart.yaml.")],
    set_: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Override a setting: budget.programs=1000.")
    ] = None,
    name: Annotated[str | None, typer.Option(help="Name of the search instead of the one in the file.")] = None,
) -> None:
    """Start a search, or continue it where it stopped."""
    from search.settings.settings_file import load_settings

    settings = load_settings(config, [*(set_ or []), *([f"name={name}"] if name is not None else [])])
    from search.commands.run import run_search

    if not run_search(settings):
        raise SystemExit(130)


@app.command()
def compare(
    config: Annotated[
        Path, typer.Argument(help="YAML file of settings with arms, such as configs/comparisons/figure2.yaml.")
    ],
    set_: Annotated[list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Override a setting.")] = None,
    output: Annotated[Path, typer.Option("--output", "-o", help="File for the figure: png, svg or pdf.")] = Path(
        "comparison.png"
    ),
) -> None:
    """Run searches that differ in some settings, and draw which finds the better programs for its compute."""
    from search.evidence.comparison import compare as compare_arms

    if not compare_arms(config, set_ or [], output):
        raise SystemExit(130)


@app.command()
def select(
    config: Annotated[Path, typer.Argument(help="YAML file of a funnel, such as configs/funnels/quickstart.yaml.")],
    set_: Annotated[list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Override a setting.")] = None,
    until: Annotated[int | None, typer.Option(metavar="STAGE", help="End after this stage; they count from 1.")] = None,
) -> None:
    """Take a search's best through a funnel: larger tasks, equal tuning, fresh seeds, against tuned baselines."""
    from search.commands.select import select as select_programs

    sys.path.append(str(Path.cwd()))  # where a module of the user's is looked for
    select_programs(config, set_ or [], until)


@app.command()
def prove(
    program_id: Annotated[int, typer.Argument(metavar="ID", help="ID of a program that has passed a funnel.")],
    workers: Annotated[
        int | None, typer.Option(min=1, help="Processes that train; as many as there is room for.")
    ] = None,
    store: StoreOption = RESULTS,
) -> None:
    """Open the locked tasks for a finalist, once: against every tuned baseline, on data that nothing has touched."""
    from search.commands.prove import prove_finalist
    from search.settings.settings import EvaluatorSettings

    prove_finalist(program_id, store, EvaluatorSettings(workers=workers or "auto"))


@app.command()
def status(
    store: StoreOption = RESULTS, search: SearchOption = None, json: JsonOption = False, csv: CsvOption = False
) -> None:
    """Every search in the store: state, progress, rate, what is left, and how its births were answered."""
    from search.commands.output import form_of
    from search.commands.status import write_status
    from search.results.lookup import require_search
    from search.store import open_store

    form = form_of(json, csv)
    with _closing(open_store(store)) as database:
        require_search(database, search)
        write_status(database, search, form)


@app.command()
def leaderboard(
    seconds: Annotated[str | None, typer.Argument(metavar="SECONDS", help="With --watch: between two looks.")] = None,
    store: StoreOption = RESULTS,
    search: SearchOption = None,
    task: Annotated[str | None, typer.Option(help="Only programs of searches that train on this task.")] = None,
    status: Annotated[
        str, typer.Option(help="Programs whose training ended so, such as diverged: the latest first.")
    ] = "ok",
    states: Annotated[int | None, typer.Option(min=0, help="State slots at most: 0, 1 or 2.")] = None,
    statements: Annotated[int | None, typer.Option(min=0, help="Live statements at most.")] = None,
    pareto: Annotated[
        bool, typer.Option("--pareto", help="Only programs that none beats in fitness, live statements and states.")
    ] = False,
    limit: LimitOption = None,
    watch: Annotated[
        bool, typer.Option("--watch", help="Look again every 2 s, or every SECONDS, until Ctrl-C.")
    ] = False,
    json: JsonOption = False,
    csv: CsvOption = False,
) -> None:
    """The best distinct programs, with their margins over the tuned baselines."""
    from search.commands.leaderboard import Wanted, check_wanted, watch_leaderboard, write_leaderboard
    from search.commands.output import Form, form_of
    from search.store import open_store

    form = form_of(json, csv)
    wanted = Wanted(search, task, status, states, statements, pareto)
    check_wanted(wanted)
    if watch:
        if form is not Form.TEXT:
            raise InputError("--watch: refreshes a table for people; leave it out, or --json and --csv")
        watch_leaderboard(store, wanted, limit, seconds)
        return
    if seconds is not None:
        raise InputError(f"leaderboard: unexpected '{seconds}'; a search is named with --search NAME")
    with _closing(open_store(store)) as database:
        write_leaderboard(database, wanted, limit, form)


@app.command()
def report(
    seconds: Annotated[str | None, typer.Argument(metavar="SECONDS", help="With --watch: between two pages.")] = None,
    output: Annotated[Path, typer.Option("--output", "-o", help="File to write: a page for browsers.")] = Path(
        "report.html"
    ),
    store: StoreOption = RESULTS,
    search: SearchOption = None,
    watch: Annotated[
        bool, typer.Option("--watch", help="Write it again every 60 s, or every SECONDS, until Ctrl-C.")
    ] = False,
) -> None:
    """A page about a search, in one file that needs no network: curves, the winner, its family, the evidence."""
    from search.commands.watch import seconds_of
    from search.report import watch_report, write_report

    if watch:
        watch_report(output, store, search, seconds_of(seconds or "60"))
        return
    if seconds is not None:
        raise InputError(f"report: unexpected '{seconds}'; the file is named with -o FILE, a search with --search NAME")
    write_report(output, store, search)


@app.command()
def dashboard(
    store: StoreOption = RESULTS,
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port on this machine; 0 for any that is free.")] = 8001,
) -> None:
    """For those who want SQL: Datasette, read-only and for this machine alone, with prepared queries; until Ctrl-C."""
    try:
        from search.commands.dashboard import serve
    except ModuleNotFoundError:
        raise InputError("dashboard: Datasette is not installed; pip install 'optsearch[dashboard]'") from None

    serve(store, port)


@app.command()
def failures(
    store: StoreOption = RESULTS,
    search: SearchOption = None,
    limit: LimitOption = None,
    json: JsonOption = False,
    csv: CsvOption = False,
) -> None:
    """What failed and why, counted over trained programs."""
    from search.commands.failures import write_failures
    from search.commands.output import form_of
    from search.results.lookup import require_search
    from search.store import open_store

    form = form_of(json, csv)
    with _closing(open_store(store)) as database:
        require_search(database, search)
        write_failures(database, search, limit, form)


@app.command()
def show(
    program_id: IdArgument, store: StoreOption = RESULTS, json: JsonOption = False, csv: CsvOption = False
) -> None:
    """One program: source with dead statements marked, score, origin, duplicates, loss curves, funnel and proof."""
    from search.commands.output import form_of
    from search.commands.show import write_program
    from search.store import open_store

    form = form_of(json, csv)
    with _closing(open_store(store)) as database:
        write_program(database, program_id, form)


@app.command()
def lineage(
    program_id: IdArgument,
    every: Annotated[bool, typer.Option("--all", help="Every change, not only those with the largest gains.")] = False,
    store: StoreOption = RESULTS,
    json: JsonOption = False,
    csv: CsvOption = False,
) -> None:
    """From the start program to a program, by the births that changed what it does, with the fitness at each."""
    from search.commands.lineage import write_lineage
    from search.commands.output import form_of
    from search.store import open_store

    form = form_of(json, csv)
    with _closing(open_store(store)) as database:
        write_lineage(database, program_id, every, form)


@app.command("eval")
def evaluate(
    program: ProgramArgument,
    task: Annotated[
        str, typer.Option(help="A built-in task (`optsearch tasks` lists them), or your own as module:function.")
    ] = "digits_mlp",
    seeds: Annotated[int, typer.Option(min=1, help="Number of seeds, none of which searches train on.")] = 3,
    steps: Annotated[int | None, typer.Option(min=1, help="Training steps instead of the task's own.")] = None,
    baselines: Annotated[
        str,
        typer.Option(metavar="NAMES|all", help="Known optimizers to tune and compare with, with commas between them."),
    ] = "adamw,lion,sgd_momentum",
    tune: Annotated[
        bool, typer.Option("--tune", help="Tune the program too, with as many trials as each baseline.")
    ] = False,
    store: StoreOption = RESULTS,
) -> None:
    """Train a program on a task beside the tuned baselines. Trainings are kept in the store and never repeated."""
    from proxy_tasks import get_task

    from search.commands.eval import evaluate_beside_baselines
    from search.results.programs import resolve
    from search.settings.baselines import chosen
    from search.settings.tasks import TaskChoice
    from search.store import open_store

    sys.path.append(str(Path.cwd()))  # where a module of the user's is looked for
    get_task(task)
    names = chosen(baselines)
    found = resolve(program, store)
    choice = TaskChoice(name=task, steps=steps)
    with _closing(open_store(store, create=True)) as database:
        evaluate_beside_baselines(found.name, found.program, choice.task, seeds, database, names, tune)


@app.command()
def verify(
    search: Annotated[str, typer.Option("--search", help="The search whose merged programs are examined.")],
    pairs: Annotated[int, typer.Option(min=1, help="Number of pairs.")] = 200,
    config: Annotated[
        Path | None, typer.Option(help="Its YAML file: needed only where that names functions of your own.")
    ] = None,
    store: StoreOption = RESULTS,
) -> None:
    """Train programs that share a fingerprint but not their dataflow, and say how far apart they are."""
    from search.commands.verify import show_verification
    from search.results.lookup import require_search
    from search.settings.settings_file import load_settings
    from search.store import open_store

    settings = load_settings(config) if config else None
    with _closing(open_store(store)) as database:
        require_search(database, search)
        show_verification(database, search, pairs, settings)


@app.command()
def export(
    program: ProgramArgument,
    to: Annotated[
        str,
        typer.Option(metavar="torch|optax|dsl", help="PyTorch optimizer, optax transformation, or the program's text."),
    ] = "torch",
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="File to write; the terminal without it.")
    ] = None,
    name: Annotated[str | None, typer.Option(help="Name of the class.")] = None,
    store: StoreOption = RESULTS,
) -> None:
    """Write a program as a self-contained optimizer for PyTorch or optax."""
    from search.results.export import export_program

    export_program(program, to, name, store, output)


@app.command()
def simplify(
    program: ProgramArgument,
    task: Annotated[
        list[str] | None,
        typer.Option(
            help="A task that judges changes: built-in, or your own as module:function; again for more."
            " Without it those of the program's search, or digits_mlp_short."
        ),
    ] = None,
    seeds: Annotated[int, typer.Option(min=2, max=1000, help="Seeds to train every change with.")] = 32,
    tolerance: Annotated[
        float, typer.Option(min=0, help="Standard deviations between seeds by which a loss may be higher.")
    ] = 1.0,
    training: Annotated[
        bool, typer.Option(" /--no-training", show_default=False, help="Only what algebra can tell.")
    ] = True,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="File for the program found.")] = None,
    store: StoreOption = RESULTS,
) -> None:
    """Make a program as simple as algebra and training allow. Steps of a program of the store are kept there."""
    from search.commands.simplify import simplify_program

    sys.path.append(str(Path.cwd()))  # where a module of the user's is looked for
    simplify_program(program, task or [], seeds if training else None, tolerance, store, output)


@app.command()
def tasks() -> None:
    """The built-in tasks."""
    from proxy_tasks import TASKS
    from proxy_tasks.references import reference

    from search.commands.terminal import show_table

    known = {task.name: recorded.optimizers for task in TASKS.values() if (recorded := reference(task))}
    names = list(dict.fromkeys(name for optimizers in known.values() for name in optimizers))
    rows = []
    for task in TASKS.values():
        tuned = known.get(task.name, {})
        losses = [f"{tuned[name].loss:.3g}" if name in tuned else "-" for name in names]
        rows.append([task.name, task.model, str(task.steps), str(task.batch_size), *losses])
    columns = ["task", "model", "steps", "batch", *names]
    show_table("built-in tasks, and the losses of tuned optimizers", columns, rows, left=["task", "model"])


@app.command()
def zoo(
    name: Annotated[str | None, typer.Argument(help="Print this program.")] = None,
    functions: Annotated[bool, typer.Option("--functions", help="List the functions of the language instead.")] = False,
) -> None:
    """Known optimizers written in the language, and its functions."""
    from programs import zoo as programs_zoo

    from search.commands.zoo import show_functions, show_zoo

    if functions:
        show_functions()
    elif name:
        print(programs_zoo.load(name).as_function())
    else:
        show_zoo()


def _closing(store: Any) -> Any:
    from contextlib import closing

    return closing(store)


def main() -> None:
    """Entry point: errors of the user, and of the database, in one line, no traceback."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            with suppress(OSError):  # of a stream whose file has been exchanged behind its back
                stream.reconfigure(errors="replace")  # not every encoding has every character of a name or a reason
    try:
        code = app(standalone_mode=False)
    except InputError as error:
        code = _complain(str(error))
    except RunError as error:
        code = _complain(str(error), 1)
    except _UsageError as error:
        message = error.format_message().rstrip(".")  # empty where the help has been shown instead
        code = _complain(f"{message}; `optsearch --help` lists commands and options") if message else 2
    except (typer.Abort, KeyboardInterrupt):
        code = 130
    except BrokenPipeError:  # `optsearch leaderboard | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 0
    sys.exit(code or 0)


def _complain(message: str, code: int = 2) -> int:
    shown = "".join(c if c.isprintable() else "?" for c in " ".join(message.split()))  # it may quote anything
    print(f"error: {shown}", file=sys.stderr)
    return code
