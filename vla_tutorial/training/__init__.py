"""Demonstrations, fitting and DAgger for `mini`, the small policy that this project trains."""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from vla_tutorial.training.chunks import LabelledEpisode, load_chunk
    from vla_tutorial.training.dagger import RunConfig, train
    from vla_tutorial.training.demos import collect
    from vla_tutorial.training.fit import estimate_hours
    from vla_tutorial.training.trainer import TrainConfig

__all__ = [
    "LabelledEpisode",
    "RunConfig",
    "TrainConfig",
    "collect",
    "estimate_hours",
    "load_chunk",
    "train",
]

_MODULES = {
    "LabelledEpisode": "chunks",
    "RunConfig": "dagger",
    "TrainConfig": "trainer",
    "collect": "demos",
    "estimate_hours": "fit",
    "load_chunk": "chunks",
    "train": "dagger",
}


def __getattr__(name: str) -> object:
    """Import at first use: collecting demonstrations must not bring PyTorch with it."""
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
