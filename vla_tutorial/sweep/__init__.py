"""Sweeps: many episodes in parallel with one policy, in a folder that can be resumed and joined."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from vla_tutorial.sweep.join import join_shards
    from vla_tutorial.sweep.journal import check_sweep_folder
    from vla_tutorial.sweep.local_engine import LocalEngine
    from vla_tutorial.sweep.messages import Engine
    from vla_tutorial.sweep.plan import (
        DEFAULT_INITS,
        DEFAULT_TASKS,
        PLANS,
        SweepPlan,
        common_inits,
        find_targets,
        named_plan,
        tasks_with_states,
    )
    from vla_tutorial.sweep.policy_server import load_policy_for, prompts_of, warm_up
    from vla_tutorial.sweep.run import run_sweep
    from vla_tutorial.sweep.scheduler import SweepProgress

__all__ = [
    "DEFAULT_INITS",
    "DEFAULT_TASKS",
    "PLANS",
    "Engine",
    "LocalEngine",
    "SweepPlan",
    "SweepProgress",
    "check_sweep_folder",
    "common_inits",
    "find_targets",
    "join_shards",
    "load_policy_for",
    "named_plan",
    "prompts_of",
    "run_sweep",
    "tasks_with_states",
    "warm_up",
]

_MODULES = ("plan", "messages", "journal", "policy_server", "local_engine", "run", "join")


# A simulator's process imports this package before it may load anything heavy.
def __getattr__(name: str) -> Any:
    if name in __all__:
        for module in _MODULES:
            found = vars(importlib.import_module(f"{__name__}.{module}"))
            if name in found:
                return found[name]
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
