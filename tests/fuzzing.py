"""Mutated files, for tests that no file makes a reader crash, hang or fill the memory.

Each test runs 200 of them, always the same; `VLA_FUZZ=2000` runs that many, others each time.
"""

import contextlib
import copy
import json
import os
import resource
import time

from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st

from vla_tutorial.errors import TutorialError

ASKED = os.environ.get("VLA_FUZZ")
EXAMPLES = int(ASKED or 200)

SECONDS = 2
"""CPU time of a call; the clock of a busy machine says nothing."""

BYTES = 500 * 2**20
"""Memory that a call may take."""

ODD_VALUES = (
    None, True, False, 0, -1, 7, 2**31, 2**63 - 1, 2**63, 2**64, 10**400, 0.5, -1e9, 1e300,
    float("nan"), float("inf"), "", "x", "3", "\x00", "\x1b[2J", "\ud800", "é漢😀", "_x", "a\nb",
    r"$\frac{a}{$ _b", "$x$", "<!--<script>", "</script>", "[bold]:x:", "../../etc", "/etc", ".",
    "x" * 5000, [], {}, [[]], [None], {"": None}, [1] * 1000, {"name": 3}, {"__class__": "x"},
)  # fmt: skip

ODD_BYTES = (
    b"", b"NaN", b"-Infinity", b"1e999", b"-", b"0x1", b"01", b'"', b",", b":", b"]", b"}", b"{}",
    b"\\", b"\\ud800", b"\\u0000", b"\xff", b"\x80", b"\xed\xa0\x80", b"\xef\xbb\xbf", b"\0" * 50,
    b"\n", b"\r", b"\r\n\r\n", b" " * 999, b"9" * 5000, b"[" * 100_000, b'{"a":' * 5000, b"[[],",
    b"<!--", b"/*", b"={", b'={"', b";", b"'", b"None", b"true", b"null", b"&x *x", b"!!python/x",
)  # fmt: skip


def fuzzed(**changes):
    """Settings of hypothesis for a test."""
    chosen = {
        "max_examples": EXAMPLES,
        "derandomize": ASKED is None,
        "database": None,
        "deadline": None,
        # A file that fails need not be the smallest one, and shrinking takes minutes.
        "phases": [Phase.explicit, Phase.generate],
        "suppress_health_check": list(HealthCheck),
    }
    return settings(**(chosen | changes))


@contextlib.contextmanager
def in_bounds():
    """What happens inside ends, with or without a TutorialError, in `SECONDS` and `BYTES`."""
    before = resource.getrlimit(resource.RLIMIT_AS)
    with open("/proc/self/statm") as file:
        taken = int(file.read().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (taken + BYTES, before[1]))
    started = time.process_time()
    try:
        with contextlib.suppress(TutorialError):
            yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)
    assert time.process_time() - started < SECONDS


@st.composite
def mutated_text(draw, text):
    """Bytes with one to three parts cut out, doubled, changed or exchanged for odd ones."""
    for _ in range(draw(st.integers(1, 3))):
        start = draw(st.integers(0, len(text)))
        end = min(len(text), start + draw(st.sampled_from((0, 1, 2, 5, 20, 100, 10**6))))
        part = text[start:end]
        kinds = (b"", part + part, draw(st.sampled_from(ODD_BYTES)), draw(st.binary(max_size=9)))
        text = text[:start] + draw(st.sampled_from(kinds)) + text[end:]
    return text


@st.composite
def mutated_json(draw, text):
    """JSON in which up to three values are odd, gone, renamed or one level deeper, or other text."""
    value = [json.loads(text)]
    for _ in range(draw(st.integers(0, 3))):
        _change(draw, *_place(draw, value))
    changed = json.dumps(value[0], ensure_ascii=draw(st.booleans())).encode(errors="surrogatepass")
    if draw(st.integers(0, 3)):
        return changed
    return draw(mutated_text(changed))


def _place(draw, value):
    """A list or an object somewhere in `value`, and one of its keys."""
    while True:
        keys = list(value) if isinstance(value, dict) else range(len(value))
        key = draw(st.sampled_from(keys))
        inside = value[key]
        if not isinstance(inside, (dict, list)) or not inside or not draw(st.integers(0, 3)):
            return value, key
        value = inside


def _change(draw, value, key):
    kind = draw(st.sampled_from(("odd", "odd", "odd", "near", "gone", "deeper", "other key")))
    old = value[key]
    if kind == "odd":
        value[key] = copy.deepcopy(draw(st.sampled_from(ODD_VALUES)))
    elif kind == "near":
        value[key] = _near(draw, old)
    elif kind == "deeper":
        value[key] = [old]
    elif isinstance(value, dict):
        del value[key]
        if kind == "other key":
            value[draw(st.sampled_from(("", "x", "\x00", "format", "<b>")))] = old
    elif len(value) > 1:
        del value[key]


def _near(draw, old):
    """A value of the same type."""
    if isinstance(old, bool):
        return not old
    if isinstance(old, int):
        return draw(st.integers(-(2**70), 2**70))
    if isinstance(old, float):
        return draw(st.floats())
    if isinstance(old, str):
        return draw(st.text(max_size=20))
    return old


@st.composite
def mutated_lines(draw, text):
    """JSON lines of which up to three are changed, gone, doubled or empty, or other text."""
    lines = text.splitlines()
    texts = list(lines)
    for _ in range(draw(st.integers(0, 3))):
        number = draw(st.integers(0, len(lines) - 1))
        changed = draw(mutated_json(lines[number]))
        kinds = (changed, changed, changed, lines[number] + b"\n" + lines[number], b"", None)
        texts[number] = draw(st.sampled_from(kinds))
    changed = b"\n".join(text for text in texts if text is not None)
    changed += draw(st.sampled_from((b"\n", b"\n", b"")))
    if draw(st.integers(0, 3)):
        return changed
    return draw(mutated_text(changed))
