"""Memory for one picture that two processes share; a pipe would copy its 150 KB five times."""

from __future__ import annotations

import os
import tempfile
from multiprocessing import reduction
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vla_tutorial.files import shared_memory_folder
from vla_tutorial.pixels import SIZE

SHAPE = (SIZE, SIZE, 3)


class SharedPicture:
    """Shared memory for one picture, passed to the worker when it starts.

    The file has no name, so the system frees it even after a crash.

    Attributes:
        picture: (224, 224, 3) uint8.
    """

    def __init__(self, descriptor: int | None = None) -> None:
        """Reserve it, or open the one behind `descriptor`.

        Raises:
            OSError: there is no room.
        """
        if descriptor is None:
            # It stays open for as long as this object lives.
            self._file: Any = tempfile.TemporaryFile(dir=shared_memory_folder())  # noqa: SIM115
            # Written now: if there is no room, a later write would kill the process.
            self._file.write(bytes(int(np.prod(SHAPE))))
            self._file.flush()
        else:
            self._file = os.fdopen(descriptor, "r+b")
        self.picture: NDArray[np.uint8] = np.memmap(self._file, np.uint8, "r+", shape=SHAPE)

    def __reduce__(self) -> Any:
        return _open, (reduction.DupFd(self._file.fileno()),)


def _open(duplicate: Any) -> SharedPicture:
    return SharedPicture(duplicate.detach())


def reserve_picture() -> SharedPicture | None:
    """A shared picture; None where there is no room, and pictures go through the pipe."""
    try:
        return SharedPicture()
    except OSError:
        return None
