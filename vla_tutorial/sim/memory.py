"""What MuJoCo keeps after it has compiled a scene, given back: 0.7 GiB of a simulator's 1.9.

A compiled LIBERO scene takes 260 MiB. Beside it MuJoCo holds the parsed description with all its meshes and textures, in case somebody saves it as XML,
and a cache of decoded assets for the next scene in the same process.
"""

from __future__ import annotations

import ctypes
from functools import cache
from pathlib import Path
from typing import Any


@cache
def _library() -> ctypes.CDLL | None:
    """MuJoCo's own library, which its Python module has loaded; None where it is not found."""
    import mujoco

    found = [p for pattern in ("libmujoco*", "mujoco.dll") for p in Path(mujoco.__file__).parent.glob(pattern)]
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
    libc = ctypes.CDLL(None)
    if hasattr(libc, "malloc_trim"):  # glibc
        libc.malloc_trim(0)


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
