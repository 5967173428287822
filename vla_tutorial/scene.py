"""What an episode is about: task, initial state and instruction."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Scene:
    """One episode's task and everything about the scene that a condition may change.

    Attributes:
        suite: for example "libero_object".
        task: number within the suite.
        init: number of the saved initial state.
        instruction: what the policy is told; None takes the task's own instruction.
    """

    suite: str
    task: int
    init: int
    instruction: str | None = None
