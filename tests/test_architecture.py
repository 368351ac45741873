"""Dependencies point one way, between packages and between files, and everything public says what it is."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator
from functools import cache
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
MAY_IMPORT = {
    "programs": {"programs"},
    "proxy_tasks": {"programs", "proxy_tasks"},
    "search": {"programs", "proxy_tasks", "search"},
}
# What each part of `search/` may import of the others; each may also import what these may.
SEARCH = {
    "errors": set(),
    "settings": set(),
    "store": {"settings", "errors"},
    "training": {"store"},
    "evolution": {"training"},
    "evidence": {"evolution"},
    "results": {"store"},
    "report": {"results"},
    "commands": {"evolution", "evidence", "report"},
    "api": {"commands"},
    "__init__": {"api"},
}
ENGINE_ONLY = {"sqlalchemy", "alembic", "ray", "pydantic", "yaml", "typer", "rich", "tqdm"}
# Commands that only read, and what costs more time to import than they take: it is imported where it is used.
READERS = ("cli", "status", "leaderboard", "failures", "show", "lineage", "tasks", "zoo")
HEAVY = {"alembic", "matplotlib", "numpy", "pandas", "plotly", "psutil", "pydantic", "ray", "scipy", "sklearn", "torch"}
NO_TORCH = {
    "ops.py", "graph.py", "program.py", "liveness.py", "hashing.py", "constants.py", "editing.py", "mutation.py",
    "lowering.py", "phases.py", "run/reference.py",
}  # fmt: skip


def modules(package: str) -> list[Path]:
    """Files of a package; the zoo's programs are texts in the language."""
    files = sorted((ROOT / package).rglob("*.py"))
    return [f for f in files if f.parent.name != "zoo" or f.name == "__init__.py"]


@cache
def parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def imported(path: Path) -> Iterator[str]:
    """Yield the full names of everything imported, anywhere in the file."""
    for node in ast.walk(parsed(path)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def imports(path: Path) -> set[str]:
    """Return the top-level names of everything imported."""
    return {name.split(".")[0] for name in imported(path)}


def file_of(name: str) -> Path | None:
    """Return the file of this project that an imported name stands for or lies in, None for other projects."""
    for parts in (name.split("."), name.split(".")[:-1]):
        base = ROOT.joinpath(*parts)
        for file in (base.with_suffix(".py"), base / "__init__.py"):
            if parts and file.is_file():
                return file
    return None


def part_of(path: Path) -> str:
    """Return the part of `search/` that a file belongs to."""
    return path.relative_to(ROOT / "search").parts[0].removesuffix(".py")


def below(part: str) -> set[str]:
    """Return the parts that a part of `search/` may import."""
    return SEARCH[part].union(*(below(other) for other in SEARCH[part]))


ALL = [(package, path) for package in MAY_IMPORT for path in modules(package)]


def test_the_packages_are_found() -> None:
    assert {package for package, _ in ALL} == set(MAY_IMPORT) and len(ALL) > 40


def test_imports_point_one_way() -> None:
    for package, path in ALL:
        ours = imports(path) & {*MAY_IMPORT, "tests", "scripts"}
        assert ours <= MAY_IMPORT[package], path


def test_search_has_these_parts_and_no_others() -> None:
    entries = {path.name for path in (ROOT / "search").iterdir() if path.name != "__pycache__"}
    assert {entry.removesuffix(".py") for entry in entries} - {"py.typed", "configs"} == set(SEARCH)


def test_parts_of_search_import_one_way() -> None:
    for path in modules("search"):
        files = {file_of(name) for name in imported(path) if name.startswith("search.")}
        parts = {part_of(file) for file in files if file is not None} - {part_of(path)}
        assert parts <= below(part_of(path)), path


def test_no_two_files_import_each_other_in_a_circle() -> None:
    files = [path for _, path in ALL]
    graph = {path: {file for name in imported(path) if (file := file_of(name)) in files} for path in files}
    TopologicalSorter(graph).prepare()  # raises for a circle, and names its files


def test_language_and_training_know_no_database_and_no_cluster() -> None:
    for package, path in ALL:
        assert package == "search" or not imports(path) & ENGINE_ONLY, path


def test_the_language_itself_needs_no_torch() -> None:
    for name in NO_TORCH:
        assert "torch" not in imports(ROOT / "programs" / name), name


def at_import(nodes: Iterable[ast.stmt]) -> Iterator[str]:
    """Yield the full names of everything that is imported when a file is: not within functions, not for types alone."""
    for node in nodes:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.If):
            yield from at_import(node.orelse if "TYPE_CHECKING" in ast.unparse(node.test) else node.body + node.orelse)
        elif isinstance(node, ast.Try | ast.With | ast.ClassDef):
            yield from at_import(node.body)


@cache
def first_imports(file: Path) -> frozenset[str]:
    """Return the full names of what is imported when a file is."""
    return frozenset(at_import(ast.parse(file.read_text(encoding="utf-8")).body))


def with_packages(file: Path) -> set[Path]:
    """Return a file and those of the packages that it lies in, which are imported with it."""
    above = (folder / "__init__.py" for folder in file.parents if folder.is_relative_to(ROOT))
    return {file, *(init for init in above if init.is_file())}


@pytest.mark.parametrize("command", READERS)
def test_commands_that_only_read_import_nothing_heavy(command: str) -> None:
    left, seen = with_packages(ROOT / "search" / "commands" / f"{command}.py"), set[Path]()
    while left:
        path = left.pop()
        seen.add(path)
        names = first_imports(path)
        assert not {name.split(".")[0] for name in names} & HEAVY, path
        left |= set[Path]().union(*(with_packages(file) for name in names if (file := file_of(name)))) - seen


def test_modules_and_what_is_public_in_them_say_what_they_are() -> None:
    for _, path in ALL:
        assert ast.get_docstring(parsed(path)), f"{path} has no docstring"
        migration = path.parent.name == "versions"  # its functions are named and called by Alembic
        for node in parsed(path).body:
            public = isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_")
            if public and not migration:
                assert ast.get_docstring(node), f"{path}: {node.name} has no docstring"  # type: ignore[arg-type]
