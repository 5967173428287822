"""`llms.txt`: the site's pages with one sentence each, for programs that read. No text is typed here.

Titles and sentences come from the pages, parts and order from `_toc.yml`. The form is that of
<https://llmstxt.org>.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from docutils import nodes

NAME = "llms.txt"

FEWEST_WORDS = 5
"""A first sentence with fewer words says too little of a page."""

REFERENCE = "This notebook belongs to "
"""A notebook begins with the passage of the chapter that it belongs to."""

_END = re.compile(r"(?<=[.!?])[)”\"]?\s+(?=[“\"A-Z0-9])")


def about(page: nodes.document) -> str:
    """The first sentence of a page's own prose: no list, table, figure or box.

    Raises:
        ValueError: the page has no such sentence.
    """
    for paragraph in page.findall(nodes.paragraph):
        if not isinstance(paragraph.parent, (nodes.section, nodes.document)):
            continue
        for sentence in _END.split(" ".join(paragraph.astext().split())):
            if len(sentence.split()) >= FEWEST_WORDS and not sentence.startswith(REFERENCE):
                return sentence
    raise ValueError("no sentence of prose")


def contents(site_map: Any) -> Iterator[tuple[str, str]]:
    """(part, page) in the order of `_toc.yml`, whose `SiteMap` this is; the first page has no part."""
    yield "", str(site_map.root.docname)
    for tree in site_map.root.subtrees:
        for item in tree.items:
            for page in below(site_map, str(item)):
                yield tree.caption or "", page


def below(site_map: Any, page: str) -> Iterator[str]:
    """A page and, after it, those of its own sections."""
    yield page
    for tree in site_map[page].subtrees:
        for item in tree.items:
            yield from below(site_map, str(item))


def llms_text(pages: list[tuple[str, str, str, str]]) -> str:
    """The file. `pages` are (part, title, path, sentence), the first page first."""
    (_, title, _, sentence), *_ = pages
    lines = [f"# {title}", "", f"> {sentence}"]
    last = None
    for part, title, path, sentence in pages:
        if part != last:
            lines += ["", f"## {part or 'First page'}", ""]
            last = part
        lines.append(f"- [{title}]({path}): {sentence}")
    return "\n".join(lines) + "\n"


def write_llms(app: Any, error: Exception | None) -> None:
    """Sphinx, when a build is finished: put the file beside the site's `index.html`."""
    if error or app.builder.format != "html":
        return
    pages = [
        (part, app.env.titles[page].astext(), f"{page}.html", about(app.env.get_doctree(page)))
        for part, page in contents(app.config.external_site_map)
    ]
    (Path(app.outdir) / NAME).write_text(llms_text(pages), encoding="utf-8")
