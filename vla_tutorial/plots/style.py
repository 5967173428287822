"""The project's style (data/vla.mplstyle), without pyplot's global state; figures inside a page."""

from __future__ import annotations

import io
from importlib import resources
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import matplotlib as mpl
import matplotlib.style
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from vla_tutorial.decoding import printable

# Blue and vermilion of Okabe and Ito, as in data/vla.mplstyle, and grey.
SUCCESS = "#0072B2"
FAILURE = "#D55E00"
SOFT = "#999999"

PAGE_COLOURS = {
    SUCCESS: "var(--success)",
    FAILURE: "var(--failure)",
    SOFT: "var(--soft)",
    "#000000": "currentColor",
    "#E5E5E5": "var(--line)",
}
"""Colour of a figure → that of the page which it stands in, light or dark."""

ABOVE: dict[str, Any] = {"ha": "left", "va": "bottom", "annotation_clip": False}
"""Look of a text that begins at a point, above it, and may leave the axes."""

NARROW = 4
"""Inches below which an SVG has the class "narrow": a phone need not move it sideways."""

_STYLE = resources.files("vla_tutorial").joinpath("data/vla.mplstyle")


def style() -> Any:
    """Context manager that switches the project's plotting style on."""
    with resources.as_file(_STYLE) as path:
        return mpl.rc_context(fname=path)


def use_style() -> None:
    """Draw all later figures of this process in the project's style; for notebooks."""
    with resources.as_file(_STYLE) as path:
        mpl.style.use(path)


def plain_text(text: str) -> str:
    """`text` for Matplotlib, which draws it letter by letter: "$" begins no formula.

    Whatever comes from outside (titles, names, labels) passes through here. Line breaks stay.
    """
    lines = [printable(line) for line in text.split("\n")]
    return "\n".join(lines).replace("$", r"\$")


def write_text(axes: Axes, text: str, point: tuple[float, float], **look: Any) -> None:
    """Small text at a point of the axes' data; `look` is Matplotlib's."""
    axes.annotate(plain_text(text), point, fontsize=8, **look)


def save(figure: Figure, path: Path) -> None:
    """Write a figure without dates in it, so that equal figures are equal files.

    Args:
        path: its ending chooses the format, such as .png or .svg.
    """
    dates = {"Software": None} if path.suffix == ".png" else {"Date": None}
    figure.savefig(path, metadata=dates)


def inline_svg(figure: Figure, name: str, description: str) -> str:
    """A figure as SVG in the page's colours and fonts, without an address or an id that repeats.

    Args:
        name: letters that no other figure of the page has.
        description: what a reader who cannot see it should know.

    Returns:
        The element `<svg class="plot">`, whose texts are escaped. Colours are the variables of
        `PAGE_COLOURS`, which the page's style must define.
    """
    drawn = io.StringIO()
    with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": name}):
        figure.savefig(
            drawn,
            format="svg",
            transparent=True,
            metadata={"Date": None},
        )
    svg = ElementTree.fromstring(drawn.getvalue())
    for element in svg.iter():
        for child in element.findall("{*}metadata") + element.findall("{*}style"):
            element.remove(child)
        # HTML has no namespaces.
        element.tag = element.tag.rpartition("}")[2]
        attributes = {key.rpartition("}")[2]: value for key, value in element.items()}
        element.attrib = {key: _in_page(key, value, name) for key, value in attributes.items()}
    box = svg.get("viewBox", "")
    read = printable(description)
    kind = "plot narrow" if figure.get_figwidth() < NARROW else "plot"
    svg.attrib = {"class": kind, "role": "img", "aria-label": read, "viewBox": box}
    return ElementTree.tostring(svg, encoding="unicode")


def _in_page(key: str, value: str, name: str) -> str:
    if key == "id":
        return f"{name}-{value}"
    if key == "href":
        return value.replace("#", f"#{name}-")
    if key == "style":
        parts = value.split("; ")
        value = "; ".join(part for part in parts if not part.startswith("font-family"))
    for colour, variable in PAGE_COLOURS.items():
        value = value.replace(colour.lower(), variable)
    return value.replace("url(#", f"url(#{name}-")
