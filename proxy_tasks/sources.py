"""What a user's function is made of: the files that define it, and the packages that these import.

A file counts as the user's unless it belongs to Python, to an installed package or to optsearch. Imports are read from
the source, so that they are the same in every process, whatever else it has imported.
"""

from __future__ import annotations

import ast
import sys
import sysconfig
from collections.abc import Iterator, Mapping
from contextlib import suppress
from functools import lru_cache
from hashlib import sha256
from importlib.machinery import PathFinder
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

from programs.errors import InputError

_OURS = ("programs", "proxy_tasks", "search")
_RECORDED_ANYWAY = ("torch", *_OURS)  # every task records their versions


class Sources(NamedTuple):
    """SHA-256 of files by the names of their modules, and versions of packages by their names."""

    files: dict[str, str]
    packages: dict[str, str]


@lru_cache
def sources(module: str) -> Sources:
    """Return what a module is made of: itself, what it imports of the user's files, and what packages these import.

    It is read once for each process, when the module has just been imported.

    Raises:
        InputError: there is no file of that module.
    """
    files: dict[str, str] = {}
    packages = set()
    waiting, seen = [module], {module}
    while waiting:
        name = waiting.pop()
        path = _file(name)
        if path is None:
            continue
        if name != module and not is_users_file(path):
            packages.add(name.partition(".")[0])
            continue
        text = path.read_bytes()
        files[name] = sha256(text.replace(b"\r\n", b"\n")).hexdigest()
        package = name if path.stem == "__init__" else name.rpartition(".")[0]
        with suppress(SyntaxError, ValueError):  # no source, or none of this Python: what it imports is not known
            found = set(_imported(text, package)) - seen
            seen |= found
            waiting += found
    if not files:
        raise InputError(f"the module '{module}' has no file; put its code into one, beside the config")
    return Sources(dict(sorted(files.items())), _versions(packages))


def changed_files(module: str) -> list[str]:
    """Return the modules of the user whose files are not what they were when this process imported them."""
    then, now = sources(module).files, sources.__wrapped__(module).files
    return sorted(name for name in then.keys() | now.keys() if then.get(name) != now.get(name))


def also_named(module: ModuleType) -> Path | None:
    """Return a file of the user's, other than the one that was imported, that has the name of a module."""
    top = module.__name__.partition(".")[0]
    imported = getattr(sys.modules.get(top), "__file__", None)
    if imported is None:
        return None
    for folder in map(Path, sys.path):
        for file in (folder / f"{top}.py", folder / top / "__init__.py"):
            if file.is_file() and not file.samefile(imported) and is_users_file(file):
                return file
    return None


def is_users_file(file: Path) -> bool:
    """Return whether a file belongs neither to Python nor to an installed package nor to optsearch."""
    return not any(file.resolve().is_relative_to(folder) for folder in _folders_of_others())


@lru_cache
def _folders_of_others() -> tuple[Path, ...]:
    of_python = {Path(sysconfig.get_path(kind)).resolve() for kind in ("stdlib", "platstdlib", "purelib", "platlib")}
    of_packages = {
        Path(entry).resolve() for entry in sys.path if Path(entry).name in ("site-packages", "dist-packages")
    }
    ours = {Path(__file__).resolve().parents[1] / name for name in _OURS}
    return (*of_python, *of_packages, *ours)


def _file(name: str) -> Path | None:
    """Return the file of a module without importing it, nor the package that it is in; None if it has none."""
    spec, path = None, None
    parts = name.split(".")
    for place in range(len(parts)):
        whole = ".".join(parts[: place + 1])
        try:
            spec = PathFinder.find_spec(whole, path) if place else find_spec(whole)
        except ValueError:  # a module that was made and not imported
            return None
        if spec is None:
            return None
        path = spec.submodule_search_locations
    return Path(spec.origin) if spec is not None and spec.origin is not None and spec.has_location else None


def _imported(text: bytes, package: str) -> Iterator[str]:
    """Yield the names of what a source imports anywhere, as modules or from modules, with those of their packages."""
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                above = package.rsplit(".", node.level - 1)[0] if node.level > 1 else package
                base = f"{above}.{base}".strip(".")
            names = [base, *(f"{base}.{alias.name}" for alias in node.names)]
        elif isinstance(node, ast.Call) and node.args and isinstance(node.args[0], ast.Constant):
            function = getattr(node.func, "attr", getattr(node.func, "id", ""))
            named = node.args[0].value
            names = [named] if function in ("import_module", "__import__") and isinstance(named, str) else []
        else:
            continue
        for name in names:
            parts = name.split(".")
            yield from (".".join(parts[:length]) for length in range(1, len(parts) + 1) if parts[0])


def _versions(packages: set[str]) -> dict[str, str]:
    from importlib.metadata import version  # here and below: half the time of reading what tasks are

    named = packages.difference(_RECORDED_ANYWAY, sys.stdlib_module_names)
    distributions = _distributions() if named else {}
    return {one: version(one) for name in sorted(named) for one in sorted(distributions.get(name, []))}


@lru_cache
def _distributions() -> Mapping[str, list[str]]:
    """Return by which distributions each package was installed; looking takes half a second."""
    from importlib.metadata import packages_distributions

    return packages_distributions()
