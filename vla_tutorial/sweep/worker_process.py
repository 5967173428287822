"""The start of a simulator's process, before heavy imports: it must never outlive its parent."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import sys
from functools import partial
from multiprocessing.connection import Connection
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from vla_tutorial.sweep.remote_policy import SharedPicture

PR_SET_PDEATHSIG = 1
"""From <sys/prctl.h>."""


def die_with(parent: int) -> None:
    """Let Linux kill this process when its parent ends; elsewhere it ends when its pipe does."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        # The parent ended before that call.
        os._exit(1)


def main(connection: Connection, picture: SharedPicture | None, parent: int, niceness: int) -> None:
    """Run a worker: receive who acts, then run requests until None or the end of the pipe.

    Args:
        picture: shared memory for the pictures that the policy is asked about.
        parent: number of the main process.
    """
    die_with(parent)
    os.nice(niceness)
    from vla_tutorial.sweep.messages import Ready
    from vla_tutorial.sweep.remote_policy import ask_through
    from vla_tutorial.sweep.worker import Worker

    # Both errors mean that the main process has gone.
    with contextlib.suppress(EOFError, ConnectionError):
        ask = partial(ask_through, connection, picture)
        worker = Worker(connection.recv(), ask, connection.send)
        connection.send(Ready())
        while (request := connection.recv()) is not None:
            connection.send(worker.run(request))
        worker.close()
