"""Result packs: nothing private in them, other versions refused in a sentence, and the book's page with their owner."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from vla_tutorial.accept.judge import Finding
from vla_tutorial.accept.pack import (
    PACK_FORMAT,
    Pack,
    Ran,
    check_private,
    public_name,
    read_pack,
    write_pack,
)
from vla_tutorial.accept.page import accept_html
from vla_tutorial.accept.rows import Row
from vla_tutorial.errors import TutorialError

sys.path.insert(0, str(Path(__file__).parents[2] / "book" / "_ext"))
import book_facts
import book_packs

OBJECT = "openvla/openvla-7b-finetuned-libero-object"


def pack(checkpoint: str = OBJECT, **changes: Any) -> Pack:
    given: dict[str, Any] = {
        "format": PACK_FORMAT,
        "ran": [Ran(checkpoint, "0123456789abcdef", "int4", "bfloat16", ["libero_object"])],
        "gpu": "NVIDIA GeForce RTX 3060",
        "machine": {"gpus": ["NVIDIA GeForce RTX 3060"], "cpus": 8, "cpu": "CPU @ 2.20GHz"},
        "versions": {"python": "3.11.7", "mujoco": "3.3.2"},
        "date": "2026-11-28",
        "hours": 0.5,
        "checks": {},
        "claims": {
            "success-rate": Finding(
                "agrees", "It succeeds in 88 <b>%</b> | `x`.", {"episodes": 500}
            ),
            "timing": Finding("open", "Not measured yet: successes."),
        },
        "episodes": [Row("published", "libero_object", "published", 0, 0, True)],
    }
    return Pack(**(given | changes))


def test_a_pack_comes_back_as_it_was(tmp_path: Path) -> None:
    write_pack(tmp_path / "pack.json", pack())
    assert read_pack(tmp_path / "pack.json") == pack()


@pytest.mark.parametrize(
    ("edit", "error"),
    [
        ({"format": 2}, "is a pack of version 2; this version reads 1"),
        ({"format": "1"}, "format"),
        ({"gpu": 3}, "gpu"),
        ({"claims": {"success-rate": {"verdict": "true", "text": "x"}}}, "verdict"),
        ({"date": "/home/jane/out"}, "Expected no path and no address"),
        ({"ran": []}, None),
    ],
)
def test_another_version_or_a_damaged_pack_is_one_sentence(
    tmp_path: Path, edit: dict[str, Any], error: str | None
) -> None:
    path = tmp_path / "pack.json"
    write_pack(path, pack())
    path.write_text(json.dumps(json.loads(path.read_text()) | edit))
    if error is None:
        read_pack(path)
        return
    with pytest.raises(TutorialError, match=error) as caught:
        read_pack(path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("text", ["", "{", "[]", "\x00", '{"format": 1}'])
def test_what_is_no_pack(tmp_path: Path, text: str) -> None:
    path = tmp_path / "pack.json"
    path.write_text(text)
    with pytest.raises(TutorialError):
        read_pack(path)
    with pytest.raises(TutorialError, match="cannot be read"):
        read_pack(tmp_path / "none.json")


@pytest.mark.parametrize(
    "text", ["/home/jane/x", "in /tmp/x", "~/x", "C:\\Users\\x", "jane@host", "'/root'", "file:x"]
)
def test_paths_and_addresses_never_get_into_a_pack(tmp_path: Path, text: str) -> None:
    with pytest.raises(TutorialError, match="Expected no path and no address"):
        write_pack(tmp_path / "pack.json", pack(checks={"engine": [{"note": text}]}))
    assert not list(tmp_path.iterdir())


def test_what_is_no_path() -> None:
    check_private({"a": [OBJECT, "CPU @ 2.20GHz", "40 ms/step", "10–30 points", 3, None]}, "x")


def test_names_of_checkpoints() -> None:
    assert public_name(OBJECT) == OBJECT
    assert public_name(None) == public_name("mini") == "mini"
    assert public_name("/home/jane/openvla") == public_name("jane/secret") == "other"
    assert public_name("openvla/../jane") == "other"


def test_a_pack_is_limited(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vla_tutorial.accept.pack.MOST_BYTES", 300)
    with pytest.raises(TutorialError, match="expected at most"):
        write_pack(tmp_path / "pack.json", pack())


def test_two_thousand_episodes_fit() -> None:
    import msgspec

    full = Row("published", "libero_object", "wrong_unnorm_key", 9, 49, False, 280, 100, 12, 123.45, 0.1234, 2, 0.1234, 0.1234, 0.1234, True, 12, 12, 0.1234)  # fmt: skip
    assert 2300 * len(msgspec.json.encode(full)) < 2e6


def test_the_page_escapes_what_it_shows() -> None:
    page = accept_html(pack())
    assert "88 &lt;b&gt;%&lt;/b&gt;" in page and "<b>%" not in page
    assert "none of the published ones" not in page and OBJECT in page


@pytest.fixture
def shelf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(book_packs, "PACKS", tmp_path)
    book_packs.packs.cache_clear()
    yield tmp_path
    book_packs.packs.cache_clear()


def rendered() -> str:
    return book_facts.render((book_facts.ROOT / "book/claims.md").read_text())


def test_the_book_shows_a_pack_beside_ours_with_its_owner(shelf: Path) -> None:
    write_pack(shelf / "jane-doe.json", pack())
    page = rendered()
    assert page.count("Measured by jane-doe") == 1
    at = page.index("Measured by jane-doe")
    assert page.rindex("(claim-", 0, at) == page.index("(claim-success-rate)=")
    assert "88 \\<b\\>%\\</b\\> \\| \\`x\\`" in page and "<b>%" not in page
    assert "not a published" not in page


def test_the_book_says_of_another_checkpoint_that_it_is_none_of_the_published(shelf: Path) -> None:
    write_pack(shelf / "us.json", pack("mini"))
    assert "which is not a published checkpoint" in rendered()


def test_a_bad_pack_stops_the_book(shelf: Path) -> None:
    write_pack(shelf / "a b.json", pack())
    with pytest.raises(TutorialError, match=r"says whose it is"):
        rendered()


def test_without_packs_the_page_has_the_command_alone(shelf: Path) -> None:
    assert "vla-tutorial accept --checkpoint" in rendered() and "Measured by" not in rendered()
