"""Commands that only read run without what training needs: importing that took a hundred times as long as the query."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

RUN = """
import json, sys
from contextlib import redirect_stdout, suppress
from io import StringIO
from search.commands.cli import main
for line in json.loads(sys.argv[1]):
    sys.argv[1:] = line.split()
    with redirect_stdout(StringIO()) as out, suppress(SystemExit):
        main()
    assert out.getvalue().strip(), line
print(json.dumps(sorted({name.split(".")[0] for name in sys.modules})))
"""
# Without pydantic, which recent versions of Typer load with the first command.
HEAVY = {"alembic", "matplotlib", "numpy", "pandas", "plotly", "ray", "scipy", "sklearn", "torch"}


def test_commands_that_only_read_load_nothing_heavy(path: Path, ids: dict[str, int]) -> None:
    of_store = ["status", "leaderboard", "failures", f"show {ids['best']}", f"lineage {ids['late']}"]
    lines = [f"{line} --store {path}{form}" for line in of_store for form in ("", " --json")]
    lines += ["tasks", "tasks --json", "zoo", "zoo --json", "zoo --functions", "zoo lion", "--help", "status --help"]
    done = subprocess.run([sys.executable, "-c", RUN, json.dumps(lines)], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert not HEAVY & set(json.loads(done.stdout))
