"""What EGL and CUDA say about the devices of this machine. Import it when MUJOCO_GL is "egl".

Extensions are called by address, since PyOpenGL lacks two of them. The numbers come from Khronos's
registry (eglext.h).
"""

from __future__ import annotations

import atexit
import contextlib
import ctypes
import os
import re
import uuid
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

from mujoco.egl import EGL_ATTRIBUTES
from mujoco.egl import egl_ext as egl

from vla_tutorial.errors import TutorialError
from vla_tutorial.sim.egl.choice import EglChoice, EglDevice, choose

_EXTENSIONS = 0x3055
_CUDA_DEVICE = 0x323A
_DEVICE_UUID = 0x335C
_RENDERER = 0x335F
_RENDER_NODE = 0x3377

_MOST_DEVICES = 64
"""How many devices are asked for; MuJoCo and robosuite ask for 10, fewer than a host may have."""

_NVIDIA_GPUS = Path("/proc/driver/nvidia/gpus")
"""Where NVIDIA's driver keeps a file about each GPU, with its model and UUID."""


def devices() -> list[EglDevice]:
    """Every device of EGL, in EGL's order.

    Raises:
        TutorialError: EGL cannot list devices.
    """
    return [_describe(index, handle) for index, handle in enumerate(_handles())]


def choice() -> EglChoice:
    """The device that renders in this process; raises as `egl.choose`."""
    return choose(devices(), os.environ, works, cuda_gpus)


def works(device: EglDevice) -> bool:
    """Whether a device can be initialised and has OpenGL.

    It stays initialised, since a simulator may be using it.
    """
    # PyOpenGL raises where a call fails; which error it is differs by version and by driver.
    with contextlib.suppress(Exception):
        return _has_opengl(_initialised(device))
    return False


def open_display() -> None:
    """Make the device that `choice` names robosuite's, for every context of this process."""
    from robosuite.renderers.context import egl_context

    if egl_context.EGL_DISPLAY is None:
        egl_context.EGL_DISPLAY = _initialised(choice().device)
        atexit.register(egl.eglTerminate, egl_context.EGL_DISPLAY)


def _handles() -> list[Any]:
    try:
        return list(egl.eglQueryDevicesEXT(_MOST_DEVICES))
    except Exception as e:
        raise TutorialError(
            f"EGL cannot list its devices ({type(e).__name__}). On Debian or Ubuntu: apt-get "
            "install libgl1-mesa-dri; or set MUJOCO_GL=osmesa (libosmesa6)."
        ) from e


def _initialised(device: EglDevice) -> Any:
    """The device's EGLDisplay, for which EGL always gives the same handle."""
    handle = _handles()[device.index]
    display = egl.eglGetPlatformDisplayEXT(egl.EGL_PLATFORM_DEVICE_EXT, handle, None)
    egl.eglInitialize(display, None, None)
    return display


def _has_opengl(display: Any) -> bool:
    """Whether a context such as MuJoCo's can be made. It is not made current."""
    config = egl.EGLConfig()
    count = ctypes.c_long()
    egl.eglChooseConfig(display, EGL_ATTRIBUTES, ctypes.byref(config), 1, count)
    if not count.value:
        return False
    egl.eglBindAPI(egl.EGL_OPENGL_API)
    context = egl.eglCreateContext(display, config, egl.EGL_NO_CONTEXT, None)
    if context:
        egl.eglDestroyContext(display, context)
    return bool(context)


def _describe(index: int, handle: Any) -> EglDevice:
    extensions = (_text(handle, _EXTENSIONS) or "").split()
    software = "EGL_MESA_device_software" in extensions
    identity = _uuid(handle) if "EGL_EXT_device_persistent_id" in extensions else ""
    number = _cuda_number(handle) if "EGL_NV_device_cuda" in extensions else None
    name = ""
    if "EGL_EXT_device_query_name" in extensions:
        name = _text(handle, _RENDERER) or ""
    if not name and "EGL_EXT_device_drm_render_node" in extensions and not software:
        name = _text(handle, _RENDER_NODE) or ""
    if software:
        name = name or "Mesa's software renderer"
    name = nvidia_models().get(identity) or name or "GPU"
    return EglDevice(index, name, software, identity, number)


def _function(name: str, *arguments: Any, result: Any = ctypes.c_uint) -> Callable[..., Any] | None:
    address = egl.eglGetProcAddress(name)
    if not address:
        return None
    return ctypes.CFUNCTYPE(result, *arguments)(address)


def _text(handle: Any, name: int) -> str | None:
    ask = _function(
        "eglQueryDeviceStringEXT", egl.EGLDeviceEXT, ctypes.c_int, result=ctypes.c_char_p
    )
    found: bytes | None = ask(handle, name) if ask else None
    return None if found is None else found.decode(errors="replace")


def _uuid(handle: Any) -> str:
    pointers = (ctypes.c_void_p, ctypes.POINTER(ctypes.c_int))
    ask = _function(
        "eglQueryDeviceBinaryEXT", egl.EGLDeviceEXT, ctypes.c_int, ctypes.c_int, *pointers
    )
    value = ctypes.create_string_buffer(16)
    size = ctypes.c_int()
    if not ask or not ask(handle, _DEVICE_UUID, len(value), value, size):
        return ""
    return gpu_uuid(value.raw) if size.value == len(value) else ""


def _cuda_number(handle: Any) -> int | None:
    value = ctypes.c_ssize_t()
    pointer = ctypes.POINTER(ctypes.c_ssize_t)
    ask = _function("eglQueryDeviceAttribEXT", egl.EGLDeviceEXT, ctypes.c_int, pointer)
    return value.value if ask and ask(handle, _CUDA_DEVICE, value) else None


def gpu_uuid(value: bytes) -> str:
    """Sixteen bytes as `nvidia-smi -L` prints a GPU's UUID."""
    return f"GPU-{uuid.UUID(bytes=value)}"


@cache
def nvidia_models() -> dict[str, str]:
    """UUID → model of each NVIDIA GPU that the driver's files in /proc name."""
    found = {}
    for file in sorted(_NVIDIA_GPUS.glob("*/information")):
        with contextlib.suppress(OSError):
            lines = re.findall(r"^([^:\n]+):[ \t]*(.*?)[ \t]*$", file.read_text(), re.MULTILINE)
            about = dict(lines)
            found[about.get("GPU UUID", "")] = about.get("Model", "")
    return found


@cache
def cuda_gpus() -> list[frozenset[str]] | None:
    """The UUIDs of each GPU that CUDA shows this process; None without CUDA's driver.

    It takes no memory on any GPU. A MIG instance has two: its GPU's and its own.
    """
    try:
        cuda = ctypes.CDLL("libcuda.so.1")
    except OSError:
        return None
    count = ctypes.c_int()
    if cuda.cuInit(0) or cuda.cuDeviceGetCount(ctypes.byref(count)):
        return None
    return [_cuda_uuids(cuda, number) for number in range(count.value)]


def _cuda_uuids(cuda: Any, number: int) -> frozenset[str]:
    device = ctypes.c_int()
    if cuda.cuDeviceGet(ctypes.byref(device), number):
        return frozenset()
    found = set()
    # The second, new in CUDA 11.4, tells a MIG instance's own.
    for name in ("cuDeviceGetUuid", "cuDeviceGetUuid_v2"):
        value = ctypes.create_string_buffer(16)
        ask = getattr(cuda, name, None)
        if ask and ask(value, device) == 0:
            found.add(gpu_uuid(value.raw))
    return frozenset(found)
