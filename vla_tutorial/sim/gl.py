"""Choose how MuJoCo renders without a screen, before MuJoCo or robosuite is imported."""

from __future__ import annotations

import ctypes.util
import os
import platform

from vla_tutorial.errors import TutorialError

_LIBRARIES = {"egl": "EGL", "osmesa": "OSMesa"}


def choose_backend() -> str:
    """Set MUJOCO_GL unless the user has, and return it: EGL where the library is there, else OSMesa; CGL on a Mac.

    Raises:
        TutorialError: neither library is installed, or MUJOCO_GL names one that is not.
    """
    if platform.system() == "Darwin":
        os.environ["MUJOCO_GL"] = "cgl"
        return "cgl"
    wanted = os.environ.get("MUJOCO_GL", "").lower()
    if wanted and wanted not in _LIBRARIES:
        raise TutorialError(
            f"MUJOCO_GL={wanted!r} needs a screen or is unknown; expected 'egl' or 'osmesa'. Unset it or choose one of these."
        )
    for name in [wanted] if wanted else _LIBRARIES:
        if ctypes.util.find_library(_LIBRARIES[name]):
            os.environ["MUJOCO_GL"] = name
            os.environ["PYOPENGL_PLATFORM"] = name
            return name
    missing = f"lib{_LIBRARIES[wanted]}" if wanted else "libEGL nor libOSMesa"
    raise TutorialError(
        f"No way to render: {'' if wanted else 'neither '}{missing} is installed. "
        "On Debian or Ubuntu: apt-get install libegl1 libgl1-mesa-dri (or libosmesa6)."
    )


def renderer_name() -> str:
    """GL_RENDERER of the current context, for example "llvmpipe (LLVM 15.0.6, 256 bits)"; call after something was rendered."""
    from OpenGL import GL

    name: bytes | None = GL.glGetString(GL.GL_RENDERER)
    return name.decode() if name else "unknown"
