"""LIBERO's tasks for Gymnasium: `gymnasium.make("vla_tutorial/libero_object-task0-v0")`.

Import this module first: Gymnasium from 1.0 on loads no package by itself.
"""

from __future__ import annotations

import gymnasium

__all__ = ["TASKS", "register", "register_once"]

TASKS = {
    "libero_spatial": 10,
    "libero_object": 10,
    "libero_goal": 10,
    "libero_10": 10,
    "libero_90": 90,
}
"""LIBERO's suites and how many tasks each has. Importing LIBERO, to ask it, takes seconds."""

_CLASS = "vla_tutorial.gym.environment:LiberoEnv"


def register() -> None:
    """Tell Gymnasium the environments, one a task, and `vla_tutorial/Libero-v0` for all others.

    The latter takes `suite` and `task`, for example of a LIBERO-PRO suite.
    """
    gymnasium.register("vla_tutorial/Libero-v0", _CLASS)
    for suite, count in TASKS.items():
        for task in range(count):
            gymnasium.register(
                f"vla_tutorial/{suite}-task{task}-v0",
                _CLASS,
                kwargs={"suite": suite, "task": task},
            )


def register_once() -> None:
    """As `register`, where Gymnasium does not know them yet."""
    if "vla_tutorial/Libero-v0" not in gymnasium.registry:
        register()


register_once()
