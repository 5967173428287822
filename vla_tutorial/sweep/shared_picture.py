"""A picture's place in memory that two processes share: through a pipe its 150 KB would be copied five times."""

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
    """Room for one picture, given to a process as an argument when it is started. It has no name, so nothing is left however both end.

    Attributes:
        picture: (224, 224, 3) uint8.
    """

    def __init__(self, descriptor: int | None = None) -> None:
        """Reserve it, or open the one behind `descriptor`.

        Raises:
            OSError: there is no room.
        """
        if descriptor is None:
            self._file: Any = tempfile.TemporaryFile(dir=shared_memory_folder())  # noqa: SIM115  it lives as long as the slot
            self._file.write(
                bytes(int(np.prod(SHAPE)))
            )  # now, for a lack of room would kill whoever writes later
            self._file.flush()
        else:
            self._file = os.fdopen(descriptor, "r+b")
        self.picture: NDArray[np.uint8] = np.memmap(self._file, np.uint8, "r+", shape=SHAPE)

    def __reduce__(self) -> Any:
        return _opened, (reduction.DupFd(self._file.fileno()),)


def _opened(duplicate: Any) -> SharedPicture:
    return SharedPicture(duplicate.detach())


def reserve() -> SharedPicture | None:
    """A slot; None where there is no room for one, and pictures go through the pipe."""
    try:
        return SharedPicture()
    except OSError:
        return None
