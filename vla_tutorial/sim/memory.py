"""What MuJoCo keeps after it has compiled a scene, given back: 0.9 GiB of a simulator's 1.9.

A compiled LIBERO scene takes 260 MiB. Beside it MuJoCo holds the parsed description with all its meshes and textures, in case somebody saves it as XML,
and a cache of decoded assets for the next scene in the same process. Of the scene itself physics reads a few MiB, once pictures and meshes have gone to the
renderer: the rest can lie on the disk.
"""

from __future__ import annotations

import contextlib
import ctypes
import mmap
import sys
import tempfile
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np


@cache
def _library() -> ctypes.CDLL | None:
    """MuJoCo's own library, which its Python module has loaded; None where it is not found."""
    import mujoco

    found = [
        p
        for pattern in ("libmujoco*", "mujoco.dll")
        for p in Path(mujoco.__file__).parent.glob(pattern)
    ]
    if not found:
        return None
    library = ctypes.CDLL(str(found[0]))
    library.mj_globalCache.restype = ctypes.c_void_p
    library.mj_setCacheSize.argtypes = [ctypes.c_void_p, ctypes.c_size_t]
    return library


def forget_description() -> None:
    """Free the parsed description of the last scene, and hand free memory back to the system. `mj_saveLastXML` has nothing to save then."""
    if library := _library():
        library.mj_freeLastXML()
    trim()


def trim() -> None:
    """Hand free memory back to the system, where the C library can (glibc)."""
    libc = ctypes.CDLL(None)
    if hasattr(libc, "malloc_trim"):
        libc.malloc_trim(0)


def page_out(model: Any) -> None:
    """Let a compiled model lie in a file without a name: the system reads from it what somebody looks at, and may forget it again.

    Addresses and contents stay, and what is written later stays in memory, so nobody sees a difference. A second of work, 260 MiB of the temporary folder
    until the model is freed; where that cannot be (no room, not Linux) the model stays in memory.

    Args:
        model: mujoco.MjModel, whose textures and meshes the renderer has got.
    """
    if sys.platform != "linux":
        return
    start, end = _pages(model)
    if end - start > model.nbuffer:  # another MuJoCo, which keeps its arrays elsewhere
        return
    with contextlib.suppress(OSError), tempfile.TemporaryFile() as file:
        file.write((ctypes.c_char * (end - start)).from_address(start))
        file.flush()
        _map_over(file.fileno(), start, end - start)
    trim()


def _pages(model: Any) -> tuple[int, int]:
    """First and last address of the whole pages that hold the model's arrays; MuJoCo keeps them all in one piece of memory."""
    arrays = [
        value
        for name in dir(model)
        if not name.startswith("_") and isinstance(value := getattr(model, name), np.ndarray)
    ]
    spans = [
        (array.__array_interface__["data"][0], array.nbytes) for array in arrays if array.nbytes
    ]
    first, last = min(at for at, _ in spans), max(at + size for at, size in spans)
    return -(-first // mmap.PAGESIZE) * mmap.PAGESIZE, last // mmap.PAGESIZE * mmap.PAGESIZE


MAP_FIXED = 0x10
"""From <sys/mman.h> on Linux; Python's own mmap cannot choose the address."""


def _map_over(descriptor: int, start: int, size: int) -> None:
    """Put a file's bytes in the place of memory that holds the same ones.

    Raises:
        OSError: the system refused; the memory is as it was.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    libc.mmap.restype = ctypes.c_void_p
    libc.mmap.argtypes = [
        ctypes.c_void_p,
        ctypes.c_size_t,
        ctypes.c_int,
        ctypes.c_int,
        ctypes.c_int,
        ctypes.c_long,
    ]
    how = mmap.PROT_READ | mmap.PROT_WRITE, mmap.MAP_PRIVATE | MAP_FIXED
    if libc.mmap(start, size, *how, descriptor, 0) != start:
        raise OSError(ctypes.get_errno(), "mmap")


def keep_little() -> None:
    """Switch the cache of assets off and let robosuite forget each description as soon as it is compiled, before anything else is loaded."""
    import mujoco
    from robosuite.utils.binding_utils import MjSim

    if library := _library():
        library.mj_setCacheSize(library.mj_globalCache(), 0)

    def from_xml_string(cls: Any, xml: str) -> Any:
        model = mujoco.MjModel.from_xml_string(xml)
        forget_description()
        return cls(model)

    MjSim.from_xml_string = classmethod(from_xml_string)
