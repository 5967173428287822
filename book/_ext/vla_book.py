"""Sphinx: fill the book's pages, keep the site free of other hosts, and offer launch buttons only where they lead somewhere."""

from __future__ import annotations

import importlib.metadata
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import book_facts

MATHJAX = ("tex-chtml.js", "output/chtml/fonts/woff-v2")
"""What a page needs of MathJax 3.2.2, 1.6 MB, from the package sphinx-mathjax-offline (byte-identical to npm's mathjax)."""


def fill(app: Any, docname: str, source: list[str]) -> None:
    """Fill a page under book/ with results, claims and conditions; it is read anew when one of them changes."""
    if not docname.startswith("book/"):
        return
    source[0] = book_facts.render(source[0])
    read = [*book_facts.RESULTS.glob("*.json"), *book_facts.RESULTS.glob("sweeps/*/*.json*")]
    for path in (*read, book_facts.CLAIMS, Path(book_facts.__file__)):
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


def repository() -> str | None:
    """https address of the repository that this checkout belongs to: GitHub's own variables in a workflow, else the remote `origin`."""
    if name := os.environ.get("GITHUB_REPOSITORY"):
        return f"{os.environ.get('GITHUB_SERVER_URL', 'https://github.com')}/{name}"
    asked = subprocess.run(
        ["git", "remote", "get-url", "origin"],
        cwd=book_facts.ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    match = re.match(
        r"(?:https://|git@|ssh://git@)([^/:]+)[/:](.+?)(?:\.git)?/?$", asked.stdout.strip()
    )
    return f"https://{match[1]}/{match[2]}" if match else None


def launch_buttons(app: Any, config: Any) -> None:
    """Binder, Colab and (with VLA_BOOK_HUB) JupyterHub, when the repository has an address; otherwise none, rather than dead ones."""
    address = repository()
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


def setup(app: Any) -> dict[str, bool]:
    """Connect everything to Sphinx."""
    app.connect("source-read", fill)
    app.connect("config-inited", launch_buttons, priority=900)
    app.connect("html-page-context", dedupe_scripts, priority=999)
    app.connect("html-page-context", mend_labels)
    app.connect("build-finished", copy_mathjax)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
