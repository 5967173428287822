"""Sweeps: many episodes in parallel with one policy, in a folder that can be resumed and joined."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from vla_tutorial.sweep.engine import SweepProgress
    from vla_tutorial.sweep.join import join_shards
    from vla_tutorial.sweep.local_engine import LocalEngine
    from vla_tutorial.sweep.plan import SweepPlan
    from vla_tutorial.sweep.run import run_sweep

__all__ = ["LocalEngine", "SweepPlan", "SweepProgress", "join_shards", "run_sweep"]

_MODULES = {
    "LocalEngine": "local_engine",
    "SweepPlan": "plan",
    "SweepProgress": "engine",
    "join_shards": "join",
    "run_sweep": "run",
}


# A simulator's process imports this package before it may load anything heavy.
def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_MODULES[name]}"), name)
