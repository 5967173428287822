"""Choose how MuJoCo renders without a screen, before MuJoCo or robosuite is imported."""

from __future__ import annotations

import ctypes.util
import os
import platform

from vla_tutorial.errors import TutorialError

_LIBRARIES = {"egl": "EGL", "osmesa": "OSMesa"}


def choose_backend() -> str:
    """Set MUJOCO_GL unless the user has, and return it.

    EGL is chosen where its library is installed, else OSMesa; on a Mac it is CGL.

    Raises:
        TutorialError: neither library is installed, or MUJOCO_GL names one that is not.
    """
    if platform.system() == "Darwin":
        os.environ["MUJOCO_GL"] = "cgl"
        return "cgl"
    wanted = os.environ.get("MUJOCO_GL", "").lower()
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
    missing = " and ".join(f"lib{_LIBRARIES[name]}" for name in candidates)
    raise TutorialError(
        f"Cannot render: not installed: {missing}. "
        "On Debian or Ubuntu: apt-get install libegl1 libgl1-mesa-dri (or libosmesa6)."
    )


def renderer_name() -> str:
    """GL_RENDERER of the current context, for example "llvmpipe (LLVM 15.0.6, 256 bits)".

    Call it after something was rendered.
    """
    from OpenGL import GL

    name: bytes | None = GL.glGetString(GL.GL_RENDERER)
    return name.decode() if name else "unknown"
