"""The file of settings that a command is given, with what its options change."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from search.settings.settings_file import SettingsFile
from search.settings.yaml_text import shortened


def settings_file(
    path: Path, changes: Sequence[str] | None, name: str | None, store: str | None = None
) -> SettingsFile:
    """Return a file of settings with changes of `--set`, and with another name or store if one is given.

    Raises:
        InputError: it cannot be read, or a change does not fit it.
    """
    file = SettingsFile(path, changes or [])
    for setting, value in (("name", name), ("store", store)):
        if value is not None:
            file.change(setting, value, f"--{setting} {shortened(value)}")
    return file
