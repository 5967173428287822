"""Sphinx: fill the book's pages, keep the site free of other hosts, and offer launch buttons only where they lead somewhere."""

from __future__ import annotations

import base64
import importlib.metadata
import io
import os
import re
import shutil
from pathlib import Path
from typing import Any

import book_facts
import book_llms
from docutils import nodes
from myst_nb.core.render import MimeData, NbElementRenderer
from PIL import Image
from sphinx.errors import ExtensionError
from sphinx.transforms.post_transforms import SphinxPostTransform

MATHJAX = ("tex-chtml.js", "output/chtml/fonts/woff-v2")
"""What a page needs of MathJax 3.2.2, 1.6 MB, from the package sphinx-mathjax-offline (byte-identical to npm's mathjax)."""


def fill(app: Any, docname: str, source: list[str]) -> None:
    """Fill a page under book/ with results, claims and conditions; it is read anew when one of them changes."""
    if not docname.startswith("book/"):
        return
    source[0] = book_facts.render(source[0])
    read = [*book_facts.RESULTS.glob("*.json"), *book_facts.RESULTS.glob("sweeps/*/*.json*")]
    templates = book_facts.TEMPLATES.glob("*.jinja")
    for path in (*read, *templates, book_facts.CLAIMS, Path(book_facts.__file__)):
        app.env.note_dependency(str(path))


def copy_mathjax(app: Any, error: Exception | None) -> None:
    """Put MathJax into the site."""
    if error or app.builder.format != "html":
        return
    marker = next(
        f
        for f in importlib.metadata.files("sphinx-mathjax-offline") or ()
        if f.name == "tex-chtml.js"
    )
    source, target = Path(str(marker.locate())).parent, Path(app.outdir) / "mathjax"
    for name in MATHJAX:
        (target / name).parent.mkdir(parents=True, exist_ok=True)
        if (source / name).is_dir():
            shutil.copytree(source / name, target / name, dirs_exist_ok=True)
        else:
            shutil.copyfile(source / name, target / name)


def launch_buttons(app: Any, config: Any) -> None:
    """Binder, Colab and (with VLA_BOOK_HUB) JupyterHub, when the repository has an address; otherwise none, rather than dead ones."""
    address = book_facts.repository()
    if not address:
        return
    buttons = {
        "notebook_interface": "jupyterlab",
        "binderhub_url": "https://mybinder.org",
        "colab_url": "https://colab.research.google.com",
    }
    if hub := os.environ.get("VLA_BOOK_HUB"):
        buttons["jupyterhub_url"] = hub
    config.html_theme_options |= {
        "repository_url": address,
        "repository_branch": os.environ.get("GITHUB_REF_NAME", "main"),
        "path_to_docs": "",
        "use_repository_button": True,
        "use_issues_button": True,
        "launch_buttons": buttons,
    }


def dedupe_scripts(
    app: Any, page: str, template: str, context: dict[str, Any], doctree: Any
) -> None:
    """sphinx-thebe's inline scripts stand twice on a page under Sphinx 7.4, which is a syntax error in the browser's console."""
    seen, kept = set(), []
    for script in context.get("script_files", []):
        body = getattr(script, "attributes", {}).get("body")
        if body is None or body not in seen:
            kept.append(script)
        seen.add(body)
    context["script_files"] = kept


def mend_labels(app: Any, page: str, template: str, context: dict[str, Any], doctree: Any) -> None:
    """Two labels that mislead screen readers: docutils' list without list items, and one text for every folded cell in place of its own."""
    body = context.get("body", "")
    if "citation-list" in body:
        body = re.sub(r' role="(list|doc-biblioentry)"', "", body)
    context["body"] = body.replace('<summary aria-label="Toggle hidden content">', "<summary>")


def held_together(text: str) -> str:
    """Figures that no line break may tear: "98.1–100 %" and "± 2 %" stay on one line, whoever wrote them."""
    text = re.sub(r"(?<=\d)–(?=[\d−])", "–\N{WORD JOINER}", text)
    return re.sub(r"(?<=\d) (?=%)|(?<=±) (?=\d)", "\N{NO-BREAK SPACE}", text)


class HeldTogether(SphinxPostTransform):
    """`held_together` for all prose and tables; what is code stays as it is, since readers copy it."""

    default_priority = 400
    formats = ("html",)

    def run(self, **kwargs: Any) -> None:
        """Exchange the texts of a page."""
        code = (nodes.literal, nodes.literal_block, nodes.raw, nodes.math, nodes.math_block)
        for text in list(self.document.findall(nodes.Text)):
            held = held_together(text.astext())
            if held != text.astext() and not isinstance(text.parent, code):
                text.parent.replace(text, nodes.Text(held))


def _on_white(data: MimeData) -> bool:
    """Whether a picture is a drawing on white: its corners and most of it are. In the dark it is turned to light on dark, which would
    falsify camera pictures: a figure that shows some is left as it is."""
    if data.mime_type != "image/png":
        return False
    picture = Image.open(io.BytesIO(base64.b64decode(data.content))).convert("L")
    right, bottom = picture.width - 1, picture.height - 1
    corners = [picture.getpixel((x, y)) for x in (0, right) for y in (0, bottom)]
    return corners == [255] * 4 and picture.histogram()[255] > 0.5 * picture.width * picture.height


def keep_alternative_texts() -> None:
    """Let a picture in a notebook's output keep its `alt`. MyST-NB takes width and height from an output's metadata, and nothing else."""
    render = NbElementRenderer.render_image
    if getattr(render, "keeps_alt", False):
        return

    def render_with_alt(self: NbElementRenderer, data: MimeData) -> list[Any]:
        found: list[Any] = render(self, data)
        alt = data.output_metadata.get(data.mime_type, {}).get("alt")
        if not alt:
            raise ExtensionError(
                f"A picture in cell {data.cell_index} has no alternative text: use vla_tutorial.lab.show(figure, alt) or Image(…, alt=…)."
            )
        for node in found:
            node["alt"] = alt
            if _on_white(data):
                node["classes"].append("on-white")
        return found

    render_with_alt.keeps_alt = True  # type: ignore[attr-defined]
    NbElementRenderer.render_image = render_with_alt


def setup(app: Any) -> dict[str, bool]:
    """Connect everything to Sphinx."""
    keep_alternative_texts()
    app.add_post_transform(HeldTogether)
    app.connect("source-read", fill)
    app.connect("config-inited", launch_buttons, priority=900)
    app.connect("html-page-context", dedupe_scripts, priority=999)
    app.connect("html-page-context", mend_labels)
    app.connect("build-finished", copy_mathjax)
    app.connect("build-finished", book_llms.write_llms)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
