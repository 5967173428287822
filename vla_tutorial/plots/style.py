"""The project's plotting style (data/vla.mplstyle). Nothing here touches pyplot's global state."""

from __future__ import annotations

from importlib import resources
from pathlib import Path
from typing import Any

import matplotlib as mpl
import matplotlib.style
from matplotlib.figure import Figure

_STYLE = resources.files("vla_tutorial").joinpath("data/vla.mplstyle")


def style() -> Any:
    """Context manager that switches the project's plotting style on."""
    with resources.as_file(_STYLE) as path:
        return mpl.rc_context(fname=path)


def use_style() -> None:
    """Draw all later figures of this process in the project's style; for notebooks."""
    with resources.as_file(_STYLE) as path:
        mpl.style.use(path)


def save(figure: Figure, path: Path) -> None:
    """Write a figure without dates in it, so that equal figures are equal files."""
    dates = {"Software": None} if path.suffix == ".png" else {"Date": None}
    figure.savefig(path, metadata=dates)
