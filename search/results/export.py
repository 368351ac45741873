"""Programs of the store, of files and of the zoo as files that people use."""

from __future__ import annotations

import re
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

from programs.errors import InputError
from programs.export import export_torch, optax_source
from programs.hashing import dataflow_hash

from search.results.programs import Resolved, resolve
from search.store import open_store

TARGETS = ("torch", "optax", "dsl")


def export_program(what: str, target: str, class_name: str | None, store: str, output: Path | None) -> None:
    """Write the export to a file, or print it. An export of a program of the store is noted there.

    Raises:
        InputError: unknown target or program, an export that does not move weights as the program does, or a file that
            cannot be written.
    """
    found = resolve(what, store)
    row = None
    if found.program_id is not None:
        with closing(open_store(store)) as database:
            row = database.program(found.program_id)
    name = class_name or class_name_of(found.name)
    text = exported(found, target, name, row)
    if output is None:
        print(text, end="")
    else:
        write_text(text, output)
    if found.program_id is not None:
        with closing(open_store(store)) as database:
            database.add_export(found.program_id, target, name, text)


def class_name_of(name: str) -> str:
    """What the class of an export is called unless people say otherwise: Program42 for `program 42`."""
    return "".join(part.capitalize() for part in re.findall(r"[A-Za-z0-9]+", name))


def exported(found: Resolved, target: str, class_name: str, row: Mapping[str, Any] | None) -> str:
    """The text of an export.

    Args:
        found: the program.
        target: one of `TARGETS`.
        class_name: of the optimizer.
        row: of the program in the store, if it comes from there; the text names search, task and fitness then.

    Raises:
        InputError: unknown target, or an export that does not move weights as the program does.
    """
    if target not in TARGETS:
        raise InputError(f"--to {target}: unknown target; there are {', '.join(TARGETS)}")
    if target == "dsl":
        return f"{found.program.as_function()}\n"
    write = export_torch if target == "torch" else optax_source
    return write(found.program, class_name, _provenance(found, row))


def write_text(text: str, output: Path) -> None:
    """Write a file and say so.

    Raises:
        InputError: it cannot be written.
    """
    try:
        output.write_text(text, encoding="utf-8")
    except OSError as error:
        raise InputError(f"{output}: cannot be written ({error.strerror}); name another file with -o") from None
    print(f"wrote {output}")


def _provenance(found: Resolved, row: Mapping[str, Any] | None) -> dict[str, str]:
    provenance = {"program": found.name, "hash": dataflow_hash(found.program)}
    if row is not None:
        tasks = ", ".join(task["name"] for task in row["settings"]["tasks"])
        provenance |= {"search": row["search"], "task": tasks, "fitness": f"{row['fitness']}"}
    return provenance
