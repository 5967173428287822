"""The project's plotting style (data/vla.mplstyle). Nothing here touches pyplot's global state."""

from __future__ import annotations

from importlib import resources
from pathlib import Path
from typing import Any

import matplotlib as mpl
import matplotlib.style
from matplotlib.axes import Axes
from matplotlib.figure import Figure

# Blue and vermilion of Okabe and Ito, as in data/vla.mplstyle, and grey.
SUCCESS = "#0072B2"
FAILURE = "#D55E00"
SOFT = "#999999"

_STYLE = resources.files("vla_tutorial").joinpath("data/vla.mplstyle")


def style() -> Any:
    """Context manager that switches the project's plotting style on."""
    with resources.as_file(_STYLE) as path:
        return mpl.rc_context(fname=path)


def use_style() -> None:
    """Draw all later figures of this process in the project's style; for notebooks."""
    with resources.as_file(_STYLE) as path:
        mpl.style.use(path)


def write_text(axes: Axes, text: str, point: tuple[float, float], **look: Any) -> None:
    """Small text at a point of the axes' data; `look` is Matplotlib's."""
    axes.annotate(text, point, fontsize=8, **look)


def save(figure: Figure, path: Path) -> None:
    """Write a figure without dates in it, so that equal figures are equal files."""
    dates = {"Software": None} if path.suffix == ".png" else {"Date": None}
    figure.savefig(path, metadata=dates)
