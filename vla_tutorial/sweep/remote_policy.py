"""A policy that lives in another process, and a worker's questions to it through a pipe."""

from __future__ import annotations

import os
import tempfile
import traceback
from collections.abc import Callable, Sequence
from multiprocessing import reduction
from multiprocessing.connection import Connection
from typing import Any

import numpy as np

from vla_tutorial.arrays import Ints, Picture
from vla_tutorial.errors import TutorialError
from vla_tutorial.files import shared_memory_folder
from vla_tutorial.pixels import SIZE
from vla_tutorial.policies.base import Policy, PolicyInput, PolicyUnreachable
from vla_tutorial.sweep.messages import PolicyInfo

Ask = Callable[[Sequence[PolicyInput]], Ints]
"""Sends N inputs to the policy and waits for its tokens (N, D)."""

SHAPE = (SIZE, SIZE, 3)
"""Of a picture that a policy sees."""


class AskingPolicy:
    """A policy that lives in another process; to `loop.rollout` it looks like any other."""

    privileged = False

    def __init__(self, policy_info: PolicyInfo, ask: Ask) -> None:
        self.name = policy_info.name
        self.statistics = policy_info.statistics
        self.provenance = policy_info.provenance
        self.predict = ask

    def close(self) -> None:
        """Nothing to release: the policy is another process's."""


class SharedPicture:
    """Shared memory for one picture, (224, 224, 3) uint8, passed to the worker when it starts.

    A pipe would copy the 150 KB five times. The file has no name, so the system frees it even after
    a crash.
    """

    def __init__(self, descriptor: int | None = None) -> None:
        """Reserve it, or open the one behind `descriptor`. Where there is no room: OSError."""
        if descriptor is None:
            # It stays open for as long as this object lives.
            self._file: Any = tempfile.TemporaryFile(dir=shared_memory_folder())  # noqa: SIM115
            # Written now: if there is no room, a later write would kill the process.
            self._file.write(bytes(int(np.prod(SHAPE))))
            self._file.flush()
        else:
            self._file = os.fdopen(descriptor, "r+b")
        self.picture: Picture = np.memmap(self._file, np.uint8, "r+", shape=SHAPE)

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


def ask_through(
    connection: Connection, shared: SharedPicture | None, batch: Sequence[PolicyInput]
) -> Ints:
    """Ask through a pipe. A single picture goes into `shared`, which both ends have, if it fits.

    Raises:
        PolicyUnreachable: the policy is another machine's, which does not answer.
    """
    if shared and len(batch) == 1 and batch[0].pixels.shape == SHAPE:
        shared.picture[:] = batch[0].pixels
        connection.send([(None, *question(batch[0])[1:])])
    else:
        connection.send([question(item) for item in batch])
    answer: Ints | PolicyUnreachable = connection.recv()
    if isinstance(answer, PolicyUnreachable):
        raise answer
    return answer


def question(item: PolicyInput) -> tuple[Any, ...]:
    """What a served policy may need of an input: all but the simulator's state."""
    return item.pixels, item.prompt, item.proprioception, item.wrist


def read_question(message: Sequence[Any], shared: SharedPicture | None) -> list[PolicyInput]:
    """What `ask_through` sent.

    A shared picture is not copied: the worker waits for its answer before it draws the next one.
    """
    inputs = []
    for sent, prompt, proprioception, wrist in message:
        pixels = shared.picture if sent is None and shared else sent
        inputs.append(
            PolicyInput(pixels, prompt, proprioception=proprioception, wrist=wrist),
        )
    return inputs


class PolicyError(Exception):
    """The policy's own error, told apart from the simulator's: every episode would raise it."""


class ErrorTaggingPolicy:
    """A policy whose exceptions arrive as `PolicyError`: the sweep stops.

    Not so a connection's errors, nor a server's that does not answer, which end an episode alone.
    """

    def __init__(self, policy: Policy) -> None:
        self._policy = policy

    def __getattr__(self, name: str) -> Any:
        return getattr(self._policy, name)

    def predict(self, batch: Any) -> Any:
        """The policy's answer, or a `PolicyError` whose text says what was raised, and where."""
        try:
            return self._policy.predict(batch)
        except (EOFError, ConnectionError, PolicyUnreachable):
            raise
        except TutorialError as e:
            # Its sentence is enough.
            raise PolicyError(str(e)) from e
        except Exception as e:
            raise PolicyError(traceback.format_exc(limit=-3)) from e
