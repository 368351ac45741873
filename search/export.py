"""Programs of the store, of files and of the zoo as files that people use."""

from __future__ import annotations

import re
from contextlib import closing
from pathlib import Path

from programs.errors import InputError
from programs.export import export_torch, optax_source
from programs.hashing import dataflow_hash

from search.resolve import Resolved, resolve
from search.store import open_store

TARGETS = ("torch", "optax", "dsl")


def export_program(what: str, target: str, class_name: str | None, store: str, output: Path | None) -> None:
    """Write the export to a file, or print it. An export of a program of the store is noted there.

    Raises:
        InputError: unknown target or program, an export that does not move weights as the program does, or a file that
            cannot be written.
    """
    if target not in TARGETS:
        raise InputError(f"--to {target}: unknown target; there are {', '.join(TARGETS)}")
    found = resolve(what, store)
    name = class_name or "".join(part.capitalize() for part in re.findall(r"[A-Za-z0-9]+", found.name))
    text = _text(found, target, name, store)
    if output is None:
        print(text, end="")
    else:
        write_text(text, output)
    if found.individual_id is not None:
        with closing(open_store(store)) as database:
            database.add_export(found.individual_id, target, name, text)


def _text(found: Resolved, target: str, name: str, store: str) -> str:
    if target == "dsl":
        return f"{found.program.as_function()}\n"
    write = export_torch if target == "torch" else optax_source
    return write(found.program, name, _provenance(found, store))


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


def _provenance(found: Resolved, store: str) -> dict[str, str]:
    provenance = {"program": found.name, "hash": dataflow_hash(found.program)}
    if found.individual_id is not None:
        with closing(open_store(store)) as database:
            row = database.individual(found.individual_id)
        tasks = ", ".join(task["name"] for task in row["settings"]["tasks"])
        provenance |= {"search": row["search"], "task": tasks, "fitness": f"{row['fitness']}"}
    return provenance
