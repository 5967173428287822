"""Where the recorded data lie: results of sweeps and benchmarks, and the player's clips.

A checkout has them in `results/` and `book/clips/`. An installed package has the same files under
`vla_tutorial/data/`, where `tools/package_recordings.py` copies them while a wheel is built.
"""

from __future__ import annotations

from pathlib import Path

_PACKAGE = Path(__file__).parent


def _folder(in_package: str, in_checkout: str) -> Path:
    """The folder inside the installed package, or else the one of the checkout around it."""
    installed = _PACKAGE / "data" / in_package
    if installed.is_dir():
        return installed
    return _PACKAGE.parent / in_checkout


RESULTS = _folder("results", "results")
"""Result files of the benchmarks, `<name>.json`."""

SWEEPS = RESULTS / "sweeps"
"""Recorded sweeps, one folder each; `episodes.read_sweep` reads one."""

CLIPS = _folder("clips", "book/clips")
"""Recorded episodes for the player, with their index `manifest.js`."""
