"""What MuJoCo keeps after it has compiled a scene, given back: 0.9 GiB of a simulator's 1.9.

A compiled LIBERO scene takes 260 MiB. Beside it MuJoCo keeps two things: the parsed description
with all its meshes and textures, in case somebody saves it as XML, and a cache of decoded assets
for the next scene in the same process. Of the compiled scene itself physics reads a few MiB once
pictures and meshes have gone to the renderer. The rest can lie on the disk.
"""

from __future__ import annotations

import contextlib
import ctypes
import mmap
import sys
import tempfile
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

_MAP_FIXED = 0x10
"""From <sys/mman.h> on Linux; Python's own mmap cannot choose the address."""


@cache
def _library() -> ctypes.CDLL | None:
    """MuJoCo's own library, which its Python module has loaded; None where it is not found."""
    import mujoco

    folder = Path(mujoco.__file__).parent
    found = [*folder.glob("libmujoco*"), *folder.glob("mujoco.dll")]
    if not found:
        return None
    library = ctypes.CDLL(str(found[0]))
    library.mj_globalCache.restype = ctypes.c_void_p
    library.mj_setCacheSize.argtypes = [ctypes.c_void_p, ctypes.c_size_t]
    return library


@contextlib.contextmanager
def keep_little() -> Iterator[None]:
    """Inside, robosuite's descriptions are forgotten once compiled; assets are cached no more.

    MuJoCo's `mj_saveLastXML` has nothing to save then. The cache stays off afterwards.
    """
    import mujoco
    from robosuite.utils.binding_utils import MjSim

    library = _library()
    if library:
        library.mj_setCacheSize(library.mj_globalCache(), 0)

    def from_xml_string(cls: Any, xml: str) -> Any:
        model = mujoco.MjModel.from_xml_string(xml)
        if library:
            library.mj_freeLastXML()
        _trim()
        return cls(model)

    before = vars(MjSim)["from_xml_string"]
    MjSim.from_xml_string = classmethod(from_xml_string)
    try:
        yield
    finally:
        MjSim.from_xml_string = before


def _trim() -> None:
    """Hand free memory back to the system, where the C library can (glibc)."""
    libc = ctypes.CDLL(None)
    if hasattr(libc, "malloc_trim"):
        libc.malloc_trim(0)


def page_out(model: Any) -> None:
    """Back the model's arrays by an unlinked temporary file, so that the system can page them out.

    Addresses and contents stay, and what is written later stays in memory, so no reader sees a
    difference. It takes a second, and 260 MiB of the temporary folder until the model is freed.
    Where it is impossible (no room, not Linux) the model stays in memory.

    Args:
        model: a mujoco.MjModel, whose textures and meshes the renderer already has.
    """
    if sys.platform != "linux":
        return
    start, end = _pages(model)
    size = end - start
    # Another MuJoCo version may keep its arrays elsewhere; then this is no single piece of memory.
    if size > model.nbuffer:
        return
    with contextlib.suppress(OSError), tempfile.TemporaryFile() as file:
        file.write((ctypes.c_char * size).from_address(start))
        file.flush()
        _map_over(file.fileno(), start, size)
    _trim()


def _pages(model: Any) -> tuple[int, int]:
    """First and last address of the whole pages of the memory that holds all arrays of a model."""
    values = [getattr(model, name) for name in dir(model) if not name.startswith("_")]
    arrays = [value for value in values if isinstance(value, np.ndarray) and value.nbytes]
    first = min(array.ctypes.data for array in arrays)
    last = max(array.ctypes.data + array.nbytes for array in arrays)
    page = mmap.PAGESIZE
    return (first + page - 1) // page * page, last // page * page


def _map_over(descriptor: int, start: int, size: int) -> None:
    """Put a file's bytes in the place of memory that holds the same ones.

    Raises:
        OSError: the system refused; the memory is as it was.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    integers = [ctypes.c_int] * 3
    libc.mmap.restype = ctypes.c_void_p
    libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, *integers, ctypes.c_long]
    protection = mmap.PROT_READ | mmap.PROT_WRITE
    flags = mmap.MAP_PRIVATE | _MAP_FIXED
    if libc.mmap(start, size, protection, flags, descriptor, 0) != start:
        raise OSError(ctypes.get_errno(), "mmap")
