"""`llms.txt`: every page of the contents once, in their order, with the first sentence of its prose."""

import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "book" / "_ext"))
etoc = pytest.importorskip("sphinx_external_toc.parsing", reason="needs the extra `book`")
book_llms = pytest.importorskip("book_llms", reason="needs the extra `book`")

from docutils.core import publish_doctree  # noqa: E402


def page(*blocks):
    return publish_doctree("\n\n".join(("Title\n=====", *blocks)))


def test_a_page_s_sentence_is_its_first_of_prose():
    text = "Here stands a first one, e.g. this. A second."
    found = book_llms.about(page("- A list before the text is none of it.", text))
    assert found == "Here stands a first one, e.g. this."


def test_what_says_too_little_is_passed_over():
    blocks = (
        "Read this.",
        "This notebook belongs to *What success looks like* in §2.4. You run the loop and break it.",
    )
    assert book_llms.about(page(*blocks)) == "You run the loop and break it."


def test_a_page_without_prose_is_an_error():
    with pytest.raises(ValueError, match="no sentence"):
        book_llms.about(page("- only a list with some words in it"))


def test_every_page_of_the_contents_stands_in_it_once_and_in_order():
    found = list(book_llms.contents(etoc.parse_toc_yaml(ROOT / "_toc.yml")))
    listed = (ROOT / "_toc.yml").read_text().split()
    pages = [word for word in listed if word.startswith(("book/", "notebooks/"))]
    assert [name for _, name in found] == pages
    parts = [part["caption"] for part in yaml.safe_load((ROOT / "_toc.yml").read_text())["parts"]]
    assert list(dict.fromkeys(part for part, _ in found)) == ["", *parts]


def test_the_file_has_a_title_a_summary_and_a_list_for_each_part():
    pages = [
        ("", "Robots", "book/index.html", "They move."),
        ("Begin", "Set up", "book/setup.html", "Choose one."),
        ("Begin", "Run", "book/run.html", "Press it."),
    ]
    assert book_llms.llms_text(pages).splitlines() == [
        "# Robots", "", "> They move.", "",
        "## First page", "", "- [Robots](book/index.html): They move.", "",
        "## Begin", "", "- [Set up](book/setup.html): Choose one.", "- [Run](book/run.html): Press it.",
    ]  # fmt: skip


def test_a_failed_build_writes_nothing(tmp_path):
    app = SimpleNamespace(outdir=tmp_path, builder=SimpleNamespace(format="html"))
    book_llms.write_llms(app, ValueError("stopped"))
    assert not list(tmp_path.iterdir())
