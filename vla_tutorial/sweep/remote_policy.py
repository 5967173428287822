"""One policy for many simulators: each runs the ordinary loop in its own process and asks over a pipe; the server answers whoever has asked."""

from __future__ import annotations

import contextlib
import traceback
from collections.abc import Mapping, Sequence
from multiprocessing.connection import Connection, wait
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vla_tutorial.actions import ActionStatistics
from vla_tutorial.policies.base import Policy, PolicyInput
from vla_tutorial.sweep.shared_picture import SharedPicture


class RemotePolicy:
    """A policy that lives in another process. It looks like any other to `loop.rollout`."""

    privileged = False

    def __init__(
        self,
        connection: Connection,
        name: str,
        statistics: Mapping[str, ActionStatistics],
        provenance: Mapping[str, Any],
        slot: SharedPicture | None = None,
    ) -> None:
        """Remember where to ask; the rest is the served policy's own.

        Args:
            slot: where a single picture is put instead of being sent; the other side knows it too.
        """
        self.connection, self.name, self.statistics, self.provenance = (
            connection,
            name,
            statistics,
            provenance,
        )
        self._slot = slot

    def predict(self, batch: Sequence[PolicyInput]) -> NDArray[np.int64]:
        """Send the batch, wait for its tokens (N, D)."""
        if self._slot and len(batch) == 1 and batch[0].pixels.shape == self._slot.picture.shape:
            self._slot.picture[:] = batch[0].pixels
            self.connection.send([(None, batch[0].prompt)])
        else:
            self.connection.send([(item.pixels, item.prompt) for item in batch])
        tokens: NDArray[np.int64] = self.connection.recv()
        return tokens

    def close(self) -> None:
        """Hang up."""
        self.connection.close()


def received(message: Sequence[Any], slot: SharedPicture | None) -> list[PolicyInput]:
    """What `RemotePolicy.predict` sent. A picture in the slot stays there: whoever put it there waits for the answer."""
    return [
        PolicyInput(slot.picture if pixels is None and slot else pixels, prompt)
        for pixels, prompt in message
    ]


class PolicyError(Exception):
    """The policy's own error, told apart from the simulator's: it would come again with every episode."""


class ErrorTaggingPolicy:
    """A policy whose errors say that they are its own; whatever carries it may lose its connection, which is nobody's."""

    def __init__(self, policy: Policy) -> None:
        self._policy = policy

    def __getattr__(self, name: str) -> Any:
        return getattr(self._policy, name)

    def predict(self, batch: Any) -> Any:
        """The policy's answer.

        Raises:
            PolicyError: it raised something; the text says what and where.
        """
        try:
            return self._policy.predict(batch)
        except (EOFError, ConnectionError):
            raise
        except Exception as e:
            raise PolicyError(traceback.format_exc(limit=-3)) from e


def serve(policy: Policy, connections: Sequence[Connection], most: int = 32) -> None:
    """Answer requests until every connection is closed. A batch is whatever has arrived; nobody waits for the slowest simulator.

    Args:
        most: the largest batch.
    """
    open_connections = list(connections)
    while open_connections:
        asked: list[tuple[Connection, list[PolicyInput]]] = []
        for connection in wait(open_connections):
            assert isinstance(connection, Connection)
            try:
                asked.append((connection, [PolicyInput(*item) for item in connection.recv()]))
            except (EOFError, OSError):  # hung up, or its process died in the middle of a message
                open_connections.remove(connection)
            if sum(len(items) for _, items in asked) >= most:
                break
        answer(policy, asked)


def answer(
    policy: Policy, asked: Sequence[tuple[Connection, list[PolicyInput]]], together: bool = True
) -> None:
    """Predict what was asked and send everyone the own tokens.

    Args:
        together: in one batch; otherwise one picture at a time, so that no answer depends on who asked beside, and each goes out at once.
    """
    if not asked:
        return
    if not together:
        for connection, items in asked:
            _send(connection, np.concatenate([policy.predict([item]) for item in items]))
        return
    tokens = policy.predict([item for _, items in asked for item in items])
    start = 0
    for connection, items in asked:
        _send(connection, tokens[start : start + len(items)])
        start += len(items)


def _send(connection: Connection, tokens: NDArray[np.int64]) -> None:
    with contextlib.suppress(
        OSError
    ):  # it died while it waited, which whoever reads from it learns too
        connection.send(tokens)
