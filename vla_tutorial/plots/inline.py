"""Figures inside a page."""

from __future__ import annotations

import io
from xml.etree import ElementTree

import matplotlib as mpl
from matplotlib.figure import Figure

from vla_tutorial.plots.style import FAILURE, SOFT, SUCCESS

PAGE_COLOURS = {
    SUCCESS: "var(--success)",
    FAILURE: "var(--failure)",
    SOFT: "var(--soft)",
    "#000000": "currentColor",
    "#E5E5E5": "var(--line)",
}
"""Colour of a figure → that of the page which it stands in, light or dark."""


def inline_svg(figure: Figure, name: str, description: str) -> str:
    """A figure as SVG in the page's colours and fonts, without an address or an id that repeats.

    Args:
        name: letters that no other figure of the page has.
        description: what a reader who cannot see it should know.
    """
    drawn = io.StringIO()
    with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": name}):
        figure.savefig(drawn, format="svg", transparent=True, metadata={"Date": None})
    svg = ElementTree.fromstring(drawn.getvalue())
    for element in svg.iter():
        for child in element.findall("{*}metadata") + element.findall("{*}style"):
            element.remove(child)
        # HTML has no namespaces.
        element.tag = element.tag.rpartition("}")[2]
        attributes = {key.rpartition("}")[2]: value for key, value in element.items()}
        element.attrib.clear()
        for key, value in attributes.items():
            element.set(key, _value_in_page(key, value, name))
    box = svg.get("viewBox", "")
    svg.attrib.clear()
    svg.attrib |= {"class": "plot", "role": "img", "aria-label": description, "viewBox": box}
    return ElementTree.tostring(svg, encoding="unicode")


def _value_in_page(key: str, value: str, name: str) -> str:
    if key == "id":
        return f"{name}-{value}"
    if key == "href":
        return value.replace("#", f"#{name}-")
    if key == "style":
        parts = [part for part in value.split("; ") if not part.startswith("font-family")]
        value = "; ".join(parts)
    for colour, variable in PAGE_COLOURS.items():
        value = value.replace(colour.lower(), variable)
    return value.replace("url(#", f"url(#{name}-")
