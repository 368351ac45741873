"""The SQL views of evidence: verdicts, meta-validation, funnels, proofs, noise, proxy tasks, simplification."""

from __future__ import annotations

from proxy_tasks.locked import LOCKED_SETS

from search.store.rows import Name, columns, view
from search.store.tables import (
    DataSheetRow,
    MetaValidationRow,
    NoiseRow,
    OpeningRow,
    ProofRow,
    ProxyMeasurementRow,
    SelectionRow,
    SimplificationRow,
    VerdictRow,
)
from search.store.views import with_search


@view(
    "v_meta_validation",
    f"""
        SELECT s.name AS search, i.id, {columns(MetaValidationRow, "c")}
        FROM meta_validation c
        JOIN search s ON s.id = c.search_id
        JOIN program i ON i.search_id = c.search_id AND i.birth = c.birth
        ORDER BY s.id, c.births
    """,
)
class MetaValidationEntry(MetaValidationRow):
    """How the best program of each search fared, as it went on, on tasks that the search never sees."""

    search: Name
    """The search."""
    id: int
    """The ID of the best program until then."""


@view("v_funnel", f"SELECT {columns(SelectionRow, 's')} FROM selection s ORDER BY s.id")
class FunnelEntry(SelectionRow):
    """Results of funnels, stage by stage: programs and baselines as tuned there, on fresh seeds."""


# Trainings for fewer steps are on tasks of their own, `NAME x SHARE`.
_LOCKED = [name for locked in LOCKED_SETS for name in locked.tasks]
_ON_LOCKED = " OR ".join(f"SUBSTR(t.task || ' ', 1, {len(name) + 1}) = '{name} '" for name in _LOCKED)


@view(
    "v_openings",
    f"""
        SELECT o.id, s.name AS search, {columns(OpeningRow, "o", ("opened", "finished"))},
               CAST(o.opened AS TEXT) AS opened, CAST(o.finished AS TEXT) AS finished,
               (SELECT COUNT(*) FROM opening before WHERE before.id <= o.id) AS openings,
               (SELECT COUNT(*) FROM training t WHERE ({_ON_LOCKED}) AND t.created >= o.opened
                AND (o.finished IS NULL OR t.created <= o.finished)) AS trained
        FROM opening o
        JOIN program i ON i.id = o.program_id
        JOIN search s ON s.id = i.search_id
        ORDER BY o.id
    """,
)
class OpeningEntry(OpeningRow):
    """The openings of the locked tasks, those among them whose proof has not come to its end."""

    id: int
    """The number of the row."""
    search: Name
    """The search that has found the finalist."""
    opened: str  # type: ignore[assignment]  # as it is shown
    """When the tasks were opened, in UTC."""
    finished: str | None  # type: ignore[assignment]
    """When everything was measured, in UTC; none while the proof is incomplete."""
    openings: int
    """How many finalists of this database the locked tasks have been opened for, this one included."""
    trained: int
    """The trainings that were made on the locked tasks from the opening on."""


@view(
    "v_proof",
    f"""
        SELECT o.program_id AS finalist, o.funnel, CAST(o.opened AS TEXT) AS opened,
               CAST(o.finished AS TEXT) AS finished, {columns(ProofRow, "p")}
        FROM proof p
        JOIN opening o ON o.id = p.opening_id
        ORDER BY p.id
    """,
)
class ProofEntry(ProofRow):
    """Finalists against tuned baselines on the locked tasks."""

    finalist: int
    """The ID of the program for which the locked tasks were opened."""
    funnel: str
    """The funnel that it has passed."""
    opened: str
    """When the tasks were opened, in UTC."""
    finished: str | None
    """When everything was measured, in UTC; none before."""


@view("v_noise", f"SELECT {columns(NoiseRow, 'n')} FROM task_noise n ORDER BY n.id")
class NoiseEntry(NoiseRow):
    """How much one training of a task says."""


@view("v_data_sheets", f"SELECT {columns(DataSheetRow, 'd')} FROM data_sheet d ORDER BY d.id DESC")
class DataSheetEntry(DataSheetRow):
    """Data sheets of optimizers, the last first, with their sections as JSON."""


@view("v_proxies", with_search(ProxyMeasurementRow))
class ProxyEntry(ProxyMeasurementRow):
    """Programs on tasks, tuned alike on each, from which `optsearch proxies` says what one task tells of another."""

    search: Name
    """The search that found the programs."""


@view(
    "v_verdicts",
    with_search(VerdictRow),
)
class VerdictEntry(VerdictRow):
    """Whether each search has found something better than its best baseline, as of its last end."""

    search: Name
    """The search."""


@view(
    "v_simplification",
    f"""
        SELECT s.name AS search, p.program_id AS id, {columns(SimplificationRow, "p")}
        FROM simplification p
        JOIN program i ON i.id = p.program_id
        JOIN search s ON s.id = i.search_id
        ORDER BY p.program_id, p.step
    """,
)
class SimplificationEntry(SimplificationRow):
    """The steps of simplified programs; what is left is what the last accepted step leaves. Evidence as JSON."""

    search: Name
    """The search."""
    id: int
    """The ID of the program."""
