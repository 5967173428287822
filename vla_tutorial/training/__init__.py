"""Demonstrations, fitting and DAgger for `mini`, the small policy that this project trains."""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from vla_tutorial.training.chunks import LabelledEpisode, load_chunk
    from vla_tutorial.training.dagger import RunConfig, train
    from vla_tutorial.training.demos import collect
    from vla_tutorial.training.trainer import TrainConfig, estimate_hours

__all__ = [
    "LabelledEpisode",
    "RunConfig",
    "TrainConfig",
    "collect",
    "estimate_hours",
    "load_chunk",
    "train",
]

_MODULES = ("chunks", "demos", "trainer", "dagger")


# Collecting demonstrations must not bring PyTorch with it.
def __getattr__(name: str) -> object:
    for module in _MODULES:
        if name not in __all__:
            break
        found = vars(import_module(f"{__name__}.{module}"))
        if name in found:
            return found[name]
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
