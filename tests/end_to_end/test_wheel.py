"""What `pip install` gives to people: the wheel, in an environment of its own, in a folder that is not the project's.

The environment sees the packages that optsearch depends on where the tests have them, so no network is needed.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path
from zipfile import ZipFile

import pytest

from tests.support.patience import call

ROOT = Path(__file__).parents[2]
PACKAGES = ("programs", "proxy_tasks", "search")
PIP = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--no-input"]
SHORT = (
    "evaluator.kind=inline", "budget.programs=4", "tasks.0.steps=5", "tasks.0.seeds=1", "strategy.start_tuned=false",
    "strategy.population=2", "baselines=[]",
)  # fmt: skip
HIDING = "raise ImportError('a file of the user, which nobody asked for')\n"


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("setuptools", minversion="77")
    pytest.importorskip("pip")
    project, built = tmp_path_factory.mktemp("project"), tmp_path_factory.mktemp("wheel")
    for name in (*PACKAGES, "configs"):
        shutil.copytree(ROOT / name, project / name, symlinks=True, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, project)
    build = [*PIP, "wheel", "-q", "--no-build-isolation", "--no-deps", "--no-index", "-w", str(built), str(project)]
    subprocess.run(build, check=True, capture_output=True)
    (found,) = built.glob("*.whl")
    return found


def files_of(folder: Path) -> set[str]:
    """The files below a folder by their paths from it, links followed."""
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file() and path.suffix != ".pyc"}


def test_the_wheel_holds_every_file_of_the_packages_and_all_configs(wheel: Path) -> None:
    """The zoo, recorded references, templates, migrations, and what `init --example` unpacks."""
    with ZipFile(wheel) as archive:
        held = {name for name in archive.namelist() if ".dist-info/" not in name}
    expected = {f"{package}/{name}" for package in PACKAGES for name in files_of(ROOT / package)}
    assert held == expected | {f"search/configs/{name}" for name in files_of(ROOT / "configs")}


def test_it_runs_the_quickstart_in_a_folder_with_files_called_like_ours(wheel: Path, tmp_path: Path) -> None:
    environment, folder = tmp_path / "environment", tmp_path / "work"
    venv.create(environment, with_pip=False)
    where = {"base": str(environment), "platbase": str(environment)}
    packages = Path(sysconfig.get_path("purelib", "venv", where))
    dependencies = [path for path in sys.path if Path(path).name == "site-packages"]
    (packages / "dependencies.pth").write_text("\n".join(dependencies))
    scripts = Path(sysconfig.get_path("scripts", "venv", where))
    install = [*PIP, "--python", str(scripts / "python"), "install", "-q", "--no-deps", "--no-index", str(wheel)]
    subprocess.run(install, check=True, capture_output=True)
    folder.mkdir()
    for name in PACKAGES:
        (folder / f"{name}.py").write_text(HIDING)
    unpacked = call(scripts / "optsearch", "init", "--example", "quickstart", folder=folder)
    assert unpacked.code == 0, unpacked.err
    assert files_of(folder / "configs") == {"quickstart.yaml", "funnels/quickstart.yaml"}
    changes = [word for change in SHORT for word in ("--set", change)]
    ran = call(scripts / "optsearch", "run", "configs/quickstart.yaml", *changes, folder=folder)
    assert ran.code == 0 and "verdict: " in ran.out, ran.err
    assert (folder / "results.db").is_file()
