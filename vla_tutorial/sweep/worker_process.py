"""The first moments of a simulator's process, before anything heavy is imported: it must never outlive its parent."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import sys
from multiprocessing.connection import Connection
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from vla_tutorial.sweep.shared_picture import SharedPicture

PR_SET_PDEATHSIG = 1
"""From <sys/prctl.h>."""


def die_with(parent: int) -> None:
    """Let the kernel kill this process when its parent ends (Linux); elsewhere the end of the pipe has to do."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it ended before that call
        os._exit(1)


def main(connection: Connection, slot: SharedPicture | None, parent: int, niceness: int) -> None:
    """A worker's life at the end of a pipe: hear who acts, then take orders until None or the end of the pipe.

    Args:
        slot: for the pictures that the policy is asked about.
        parent: the main process's number.
    """
    die_with(parent)
    os.nice(niceness)
    from vla_tutorial.sweep.messages import PolicyInfo, Ready
    from vla_tutorial.sweep.remote_policy import RemotePolicy
    from vla_tutorial.sweep.worker import Worker

    def asking(policy_info: PolicyInfo) -> RemotePolicy:
        return RemotePolicy(
            connection, policy_info.name, policy_info.statistics, policy_info.provenance, slot
        )

    with contextlib.suppress(EOFError, ConnectionError):  # the main process has gone
        worker = Worker(connection.recv(), asking, connection.send)
        connection.send(Ready())
        while (order := connection.recv()) is not None:
            connection.send(worker.run(order))
        worker.close()
