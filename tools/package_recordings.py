"""Build step of setuptools: a wheel takes the recorded data along, which a checkout has elsewhere.

`pyproject.toml` names it as the command `build_py`. An editable install copies nothing, since
`vla_tutorial/recorded.py` finds the folders of the checkout. The repository holds each file once.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

from setuptools.command.build_py import build_py

ROOT = Path(__file__).resolve().parents[1]
RECORDINGS = {"results": "results", "book/clips": "clips"}
"""Folder of the repository → folder below `vla_tutorial/data/` in the wheel."""


class BuildWithRecordings(build_py):
    """Copy the package as usual, and then the recordings into it."""

    def run(self) -> None:
        """Build into `build_lib`. Copies of an earlier build are replaced."""
        super().run()
        if self.editable_mode:
            return
        for source, target in self._folders():
            shutil.rmtree(target, ignore_errors=True)
            shutil.copytree(source, target)

    def get_outputs(self, include_bytecode: bool = True) -> list[str]:
        """Paths of all built files, the recordings included."""
        found: list[str] = super().get_outputs(include_bytecode)
        if self.editable_mode:
            return found
        for source, target in self._folders():
            files = (path for path in sorted(source.rglob("*")) if path.is_file())
            found += [str(target / path.relative_to(source)) for path in files]
        return found

    def _folders(self) -> Iterator[tuple[Path, Path]]:
        data = Path(self.build_lib) / "vla_tutorial" / "data"
        for source, name in RECORDINGS.items():
            yield ROOT / source, data / name
