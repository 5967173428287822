"""How readable the prose of each page is: no page falls below a floor, and no sentence is endless.

The figure is Flesch's reading ease, 206.835 − 1.015 words a sentence − 84.6 syllables a word, from
the package `readability`. Higher is easier; 60 to 70 is plain English, 30 to 50 is a college text.
Only prose counts: no code, tables, headings, links' addresses or what is folded into HTML tags.
"""

import re
import sys
from pathlib import Path

import nbformat
import pytest

readability = pytest.importorskip("readability")

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "book" / "_ext"))
import book_facts  # noqa: E402

FLOOR = 64.0
"""Reading ease that every page reaches."""

LONGEST = 35
"""Words of the longest sentence that a page may have."""

NAMES = {
    r"(?:same|every|each|this|saved|published|other|several) starts?\b(?! (?:up|at|in|with))": "initial state",
    r"\bstarts \d+–\d+": "initial states",
    r"\bpublished protocol\b": "published settings",
    r"\bend[- ]effector\b": "hand",
    r"\b(?:first|second|third|fourth|four) pass(?:es)?\b|\[[Pp]age \d": "notebook",
}
"""Words that pages do not use, as regular expressions, and the one name that they use instead."""

BLOCKS = (
    r"^( *)(```|~~~).*?^\1\2",  # code, figures and other directives
    r"^:::.*$",
    r"<(style|script|svg|figcaption)\b.*?</\1>",
    r"<!--.*?-->",
    r"^#.*$",
    r"^\s*\|.*$",
    r"^\([\w-]+\)=$",
    r"^:\w+:.*$",
)
INLINE = (
    (r"\{cite[^}]*\}`[^`]*`", ""),
    (r"\{[\w:]+\}`([^`<]*)[^`]*`", r"\1"),
    # Before addresses, which may stand in code; capital, since a sentence may begin with it.
    (r"`[^`]*`", "Name"),
    (r"!\[[^\]]*\]\([^)]*\)", ""),
    (r"\[([^\]]*)\]\([^)]*\)", r"\1"),
    (r"<https?://[^>]*>", ""),
    (r"https?://\S+", ""),
    (r"<[^>]+>", " "),
    (r"\$[^$]*\$", "name"),
    (r"[*_]{1,2}([^*_]+)[*_]{1,2}", r"\1"),
)


def prose(markdown):
    """Markdown → its sentences, each a list of words."""
    text = markdown
    for pattern in BLOCKS:
        text = re.sub(pattern, "\n\n", text, flags=re.M | re.S if ".*?" in pattern else re.M)
    for pattern, kept in INLINE:
        text = re.sub(pattern, kept, text)
    # Items of lists and of definition lists are paragraphs of their own.
    text = re.sub(r"^\s*(?:[-*:]|\d+\.)\s+", "\n\n", text, flags=re.M)
    sentences = []
    for paragraph in re.split(r"\n\s*\n", text):
        line = " ".join(paragraph.split())
        for sentence in re.split(r"(?<=[.!?])[)”\"]?\s+(?=[\"“(A-Z0-9])", line):
            words = re.findall(r"[A-Za-z][A-Za-z'’-]*", sentence)
            if len(words) >= 3:
                sentences.append(words)
    return sentences


def ease(sentences):
    """Flesch's reading ease of sentences."""
    text = "\n".join(" ".join(words) + " ." for words in sentences)
    return readability.getmeasures(text, lang="en")["readability grades"]["FleschReadingEase"]


def other_names(markdown):
    """What a page calls by another name than the others do → the name."""
    text = re.sub(r"^( *)(```|~~~).*?^\1\2", "", markdown, flags=re.M | re.S)
    text = " ".join(re.sub(r"`[^`]*`", " ", text).split())
    found = [(re.search(pattern, text), name) for pattern, name in NAMES.items()]
    return {match[0]: name for match, name in found if match}


def pages():
    """Every page by name, as Markdown that is filled in."""
    found = {path.stem: book_facts.render(path.read_text()) for path in book_facts.pages()}
    for path in sorted((ROOT / "notebooks").glob("*.ipynb")):
        cells = nbformat.read(path, as_version=4).cells
        found[path.stem] = "\n\n".join(c.source for c in cells if c.cell_type == "markdown")
    return found | {"README": (ROOT / "README.md").read_text()}


PAGES = pages()


@pytest.mark.parametrize("name", PAGES)
def test_a_page_is_readable(name):
    sentences = prose(PAGES[name])
    longest = max(sentences, key=len)
    assert len(longest) <= LONGEST, f"{len(longest)} words: {' '.join(longest)}"
    found = ease(sentences)
    assert found >= FLOOR, f"reading ease {found:.1f}, expected {FLOOR} or more"


@pytest.mark.parametrize("name", sorted(PAGES.keys() - {"glossary"}))
def test_a_thing_has_one_name(name):
    """The glossary is left out: it says which other names papers use."""
    assert other_names(PAGES[name]) == {}


def test_another_name_is_found():
    page = (
        "From the same start, as on [page 2](x.md), the end effector starts at 3 cm. It starts up."
    )
    assert other_names(page) == {
        "same start": "initial state",
        "end effector": "hand",
        "[page 2": "notebook",
    }


def test_hard_prose_is_found():
    easy = prose("The arm moves down. The hand closes. It lifts the can and puts it into the box.")
    hard = prose(
        "Instrumentation considerations necessitate comprehensive characterisation of systematic "
        "environmental perturbations, notwithstanding computational infeasibility."
    )
    assert ease(easy) > 90 > 10 > ease(hard)


def test_only_prose_counts():
    page = """# A heading here now

(anchor-1)=
```python
unreadable_configuration_instrumentation()
```

| a table | has characterisation |
|---|---|

<div class="x">The arm</div> moves [slowly down](https://example.org/a.b). It `stops.now` here.

- One item of three words
"""
    assert prose(page) == [
        ["The", "arm", "moves", "slowly", "down"],
        ["It", "Name", "here"],
        ["One", "item", "of", "three", "words"],
    ]


if __name__ == "__main__":
    for name, found in sorted(((n, prose(t)) for n, t in PAGES.items()), key=lambda x: ease(x[1])):
        longest = max(found, key=len)
        print(f"{name:30} {ease(found):5.1f}  {len(found):4d} sentences, longest {len(longest)}")
        print(f"    {' '.join(longest)}")
