"""Decoding by type: what an error names, and what is refused before it is read."""

import json
import os

import msgspec
import pytest

from vla_tutorial.decoding import (
    MOST_BYTES,
    MOST_LEVELS,
    Count,
    Name,
    decode,
    is_file,
    is_json,
    printable,
    read_bytes,
    read_lines,
    read_object,
    script_json,
)
from vla_tutorial.errors import TutorialError


class Part(msgspec.Struct):
    size: Count


class Kind(msgspec.Struct):
    name: Name
    parts: list[Part] = []
    free: dict[str, object] = {}


def refused(text, kind=Kind):
    with pytest.raises(TutorialError) as e:
        decode(text.encode() if isinstance(text, str) else text, kind, "here", "Do it again.")
    found = str(e.value)
    assert found.startswith("here ") and found.endswith(". Do it again.")
    assert len(found) < 500
    return found


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("", "is not JSON"),
        ("{", "is not JSON"),
        (b"\xff", "is not JSON"),
        (b'\xef\xbb\xbf{"name": "a"}', "is not JSON"),
        ("3", "is not as expected (expected `object`, got `int`)"),
        ("{}", "lacks name"),
        ('{"name": 5}', "holds name 5 (expected `str`, got `int`)"),
        ('{"name": "a\\u0007"}', "holds name 'a\\x07' (expected `str` matching"),
        ('{"name": "\\ud800"}', "is not JSON"),
        ('{"name": "a", "parts": [{"size": 1}, {"size": "x"}]}', "holds parts[1].size 'x' "),
        ('{"name": "a", "parts": [{"size": 1}, {}]}', "holds parts[1] {} (object missing"),
        ('{"name": "a", "parts": [{"size": -1}]}', "holds parts[0].size -1 (expected `int` >= 0)"),
        ('{"name": "a", "parts": [{"size": NaN}]}', "holds parts[0].size nan "),
        ('{"name": "a", "parts": [{"size": 1e999}]}', "holds parts[0].size inf "),
        ('{"name": "a", "free": NaN}', "holds free nan "),
        ('{"name": "a", "free": {"x": NaN}}', "holds free.x nan, no number of JSON"),
        ('{"name": "' + "x" * 9999 + '"}', "holds name 'xxx"),
        ('{"name": ' + "9" * 5000 + "}", "holds name"),
        ('{"name": "a", "free": ' + "[" * 9999, "holds free (expected `object`, got `array`)"),
        ('{"name": "a", "free": {"x":' + "[" * 9999, "is nested too deeply"),
        ('{"name": "a", "more": ' + "[" * 9999, "is nested too deeply"),
        ('{"more": "' + "x" * 2**20 + '"}', "is not as expected (object missing"),
    ],
)
def test_an_error_names_key_and_value(text, named):
    assert named in refused(text)


def test_an_object_keeps_all_of_its_keys(tmp_path):
    path = tmp_path / "a.json"
    path.write_text('{"name": "a", "more": [1, {"x": null}]}')
    assert read_object(path, Kind, "Again.") == {"name": "a", "more": [1, {"x": None}]}


def test_free_values_have_few_levels(tmp_path):
    path = tmp_path / "a.json"
    for levels, allowed in ((MOST_LEVELS - 1, True), (MOST_LEVELS + 1, False)):
        value = 0
        for _ in range(levels - 1):
            value = {"x": value}
        path.write_text(json.dumps({"name": "a", "free": value}))
        if allowed:
            read_object(path, Kind, "Again.")
        else:
            with pytest.raises(TutorialError, match=r"a\.json is nested deeper than 40 levels"):
                read_object(path, Kind, "Again.")


def test_what_cannot_be_read_is_named(tmp_path):
    with pytest.raises(TutorialError, match=r"gone cannot be read: No such file.*Again\."):
        read_bytes(tmp_path / "gone", "Again.")
    with pytest.raises(TutorialError, match="is not a file"):
        read_bytes(tmp_path, "Again.")
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(TutorialError, match="pipe is not a file"):
        read_bytes(tmp_path / "pipe", "Again.")
    with pytest.raises(TutorialError, match="cannot be read"):
        read_bytes(tmp_path / ("x" * 300), "Again.")
    large = tmp_path / "large"
    large.touch()
    os.truncate(large, MOST_BYTES + 2**20)
    with pytest.raises(TutorialError, match="large has 5 MiB, expected at most 4 MiB"):
        read_bytes(large, "Again.")
    large.write_bytes(b"\r" * 11)
    assert len(read_lines(large, "Again.", 100, 11)) == 11
    with pytest.raises(TutorialError, match="large has 11 lines, expected at most 10"):
        read_lines(large, "Again.", 100, 10)


def test_is_file(tmp_path):
    (tmp_path / "a").touch()
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    assert is_file(tmp_path / "a")
    for name in ("b", "x" * 300, "a/b", "loop", "\0", "."):
        assert not is_file(tmp_path / name)


def test_is_json():
    for text in (b"1", b"[NaN]", b"{}\n", b"[" * 9999 + b"]" * 9999):
        assert is_json(text)
    for text in (b"", b"{", b"\0", b'{"a": 1', b"[" * 99):
        assert not is_json(text)


@pytest.mark.parametrize("text", ["</script>", "<!--<script>", "a & <b>", "é\u2028", "\\u003c"])
def test_json_for_a_script_is_the_same_json(text):
    written = script_json({text: [text]})
    assert json.loads(written) == {text: [text]}
    assert "<" not in written
    assert " " not in written.replace(" & ", "").replace(" <b", "") or " " in text


def test_json_for_a_script_has_no_nan():
    with pytest.raises(ValueError, match="not JSON compliant"):
        script_json(float("nan"))


def test_printable():
    assert printable("a é漢😀 \N{NO-BREAK SPACE}") == "a é漢😀 \N{NO-BREAK SPACE}"
    for odd in ("\0", "\n", "\x1b", "\x7f", "\x85", "\ud800", "\uffff"):
        assert printable(f"a{odd}b") == "a\N{REPLACEMENT CHARACTER}b"
