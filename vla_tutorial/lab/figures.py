"""Figures of the notebooks, each with words for those who do not see it."""

from __future__ import annotations

import io
from collections.abc import Sequence

from IPython.display import Image, display
from matplotlib import pyplot
from matplotlib.figure import Figure
from PIL import Image as PixelPicture

from vla_tutorial.plots import Row

DPI = 110
"""Dots to an inch at which a figure is displayed: letters of 8 points have 12 pixels.

The picture has twice as many, for fine screens and paper.
"""


def show(figure: Figure, alt: str) -> None:
    """Display a figure in a notebook. `alt` says what is seen, and the built site keeps it."""
    buffer = io.BytesIO()
    figure.savefig(
        buffer,
        format="png",
        dpi=2 * DPI,
        bbox_inches="tight",
    )
    # Else the notebook draws a figure of pyplot once more at the end of the cell.
    pyplot.close(figure)
    data = buffer.getvalue()
    width, _ = PixelPicture.open(buffer).size
    display(Image(data=data, width=width // 2, alt=alt))  # type: ignore[no-untyped-call]


def rates_in_words(rows: Sequence[Row]) -> str:
    """The rows of a forest plot: "published 200 of 200; no_flip 0 of 200"."""
    said = []
    for row in rows:
        counts = "no episode ended"
        if row.rate is not None:
            counts = f"{row.rate.successes} of {row.rate.episodes}"
        said.append(f"{row.label} {counts}")
    return "; ".join(said)
