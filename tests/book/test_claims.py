"""The reader of claims.yml: what it refuses, and that no file makes it crash."""

import sys
from pathlib import Path
from typing import get_args

import pytest
from fuzzing import fuzzed, in_bounds, mutated_text
from hypothesis import given
from hypothesis import strategies as st

from vla_tutorial.errors import TutorialError

ROOT = Path(__file__).parents[2]
KEPT = ROOT / "tests/data/odd_files/claims"
sys.path.insert(0, str(ROOT / "book" / "_ext"))
import book_facts  # noqa: E402
from book_claims import Verdict, read_claims  # noqa: E402

WHOLE = """\
# What a claim has.

- id: one
  title: One
  where: The opening
  claim: A loop runs.
  test: Ask.
  command: ""
  result: >-
    It {{ value("x:y") }} does,
    on two lines.
  verdict: holds
  sources: ["https://example.org", key2020]

- {id: two-2, title: Two, where: 3, claim: no, test: 2024-99-99, command: x y, result: 0x, verdict: does not hold, sources: []}
"""


def write(folder, text):
    path = folder / "claims.yml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def test_whole_claims_are_read(tmp_path):
    one, two = read_claims(write(tmp_path, WHOLE))
    assert one["result"] == 'It {{ value("x:y") }} does, on two lines.'
    assert one["sources"] == ["https://example.org", "key2020"]
    assert (two["where"], two["claim"], two["test"]) == ("3", "no", "2024-99-99")


def test_the_book_s_claims_are_read():
    assert len(read_claims(book_facts.CLAIMS)) > 20
    assert set(get_args(Verdict)) == set(book_facts.VERDICTS)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (("  test: Ask.\n", ""), "line 3: a claim lacks test"),
        (("id: two-2", 'id: "<b>"'), "line 15: a claim holds id '<b>'"),
        (("verdict: holds", "verdict: perhaps"), "line 3: a claim holds verdict 'perhaps'"),
        (("sources: []", "sources: [[1]]"), "line 15: a claim holds sources[0] ['1']"),
        (("title: One", "title:"), "line 3: a claim holds title ''"),
        (("title: One", "titel: One\n  title: x"), "line 3: a claim is not as expected"),
        (("- id: one", "- id: {a: b}"), "line 3: a claim holds id {'a': 'b'}"),
        (("- id: one", "id: one"), "is not YAML"),
        (("- {id", "- {{id"), "is not YAML"),
        (("sources: []", "sources: " + "[" * 5000 + "]" * 5000), "is not YAML"),
        ((WHOLE, "a: 1"), "is no list of claims"),
        ((WHOLE, ""), "is no list of claims"),
        ((WHOLE, "- 5"), "line 1: a claim is not as expected"),
        ((WHOLE, "- &a [*a]"), "is not YAML"),
        ((WHOLE, "- !!python/object:os.system {}"), "line 1: a claim lacks id"),
    ],
)
def test_what_is_odd_is_named(tmp_path, change, named):
    with pytest.raises(TutorialError) as e:
        read_claims(write(tmp_path, WHOLE.replace(*change)))
    assert "claims.yml" in str(e.value) and named in str(e.value)


def test_a_file_that_is_too_large_is_not_read(tmp_path):
    with pytest.raises(TutorialError, match="expected at most"):
        read_claims(write(tmp_path, WHOLE + "#" * 300_000))


ODD_YAML = (
    "&a ",
    "*a",
    "<<: ",
    "!!binary x",
    "? ",
    "- ",
    ": ",
    "|",
    ">",
    "%",
    "@",
    "\t",
    "'",
    "[",
    "{",
)


@st.composite
def mutated_yaml(draw):
    text = WHOLE
    for _ in range(draw(st.integers(0, 3))):
        place = draw(st.integers(0, len(text)))
        text = (
            text[:place] + draw(st.sampled_from(ODD_YAML)) + text[place + draw(st.integers(0, 9)) :]
        )
    if draw(st.booleans()):
        return text.encode()
    return draw(mutated_text(text.encode()))


def test_no_mutated_file_ends_in_a_traceback(tmp_path):
    @fuzzed()
    @given(content=mutated_yaml())
    def run(content):
        path = write(tmp_path, content)
        with in_bounds():
            read_claims(path)

    run()


@pytest.mark.parametrize("path", sorted(KEPT.glob("*")), ids=lambda path: path.name)
def test_what_once_failed_is_read_or_named(tmp_path, path):
    content = path.read_bytes()
    path = write(tmp_path, content)
    with in_bounds():
        read_claims(path)
