"""Which `search` is imported where the user has a folder of the same name: ours, from an editable installation, too."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path
from zipfile import ZipFile

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("programs", "proxy_tasks", "search")
BUILD = "from setuptools.build_meta import build_editable; build_editable('.')"
ASK = """
import sys
from importlib.util import find_spec
sys.path.append(sys.argv[1])  # as a file .pth is read that names a folder
for name in sys.argv[2:]:
    print(find_spec(name).origin)
"""


def test_a_folder_called_as_a_package_of_ours_does_not_hide_it(tmp_path: Path) -> None:
    """Python takes a folder without `__init__.py` before anything that only a finder of its own would find."""
    pytest.importorskip("setuptools", minversion="77")
    project, work = tmp_path / "project", tmp_path / "work"
    for name in PACKAGES:
        shutil.copytree(ROOT / name, project / name, ignore=shutil.ignore_patterns("__pycache__"))
        (work / name).mkdir(parents=True)
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, project)
    subprocess.run([sys.executable, "-c", BUILD], cwd=project, check=True, capture_output=True)
    (wheel,) = project.glob("*.whl")
    with ZipFile(wheel) as archive:
        (path,) = [name for name in archive.namelist() if name.endswith(".pth")]
        line = archive.read(path).decode().strip()
    assert line == str(project)
    asked = [sys.executable, "-S", "-E", "-c", ASK, line, *PACKAGES]
    found = subprocess.run(asked, cwd=work, capture_output=True, text=True)
    assert found.stdout.splitlines() == [str(project / name / "__init__.py") for name in PACKAGES], found.stderr
