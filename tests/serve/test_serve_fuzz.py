"""The four parsers, with mutated requests: a TutorialError or a request, in bounded time and memory."""

import base64
import io

import msgspec
import numpy as np
import pytest
from fuzzing import _change, _place, fuzzed, in_bounds, mutated_json, mutated_text
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from vla_tutorial.policies import wire
from vla_tutorial.serve import act, openpi, tokens, vla_eval
from vla_tutorial.serve.arrays import json_array, packed_array, picture_of
from vla_tutorial.serve.pictures import prepare, read_how

SMALL = np.arange(4 * 5 * 3, dtype=np.uint8).reshape(4, 5, 3)
"""A picture whose mutations are cheap."""


def file_of(form):
    buffer = io.BytesIO()
    Image.fromarray(SMALL).save(buffer, form)
    return buffer.getvalue()


ACT = [
    {"image": json_array(SMALL), "instruction": "x", "unnorm_key": None, "wiring": "published"},
    {
        "image": base64.b64encode(file_of("png")).decode(),
        "instruction": "x",
        "wiring": {"jpeg": False},
    },
    {
        "encoded": '{"image": {"__numpy__": "AAAA", "dtype": "|u1", "shape": [1, 1, 3]}, "instruction": "x"}'
    },
]
OPENPI = {
    "observation/image": packed_array(SMALL, text_keys=False),
    "observation/state": packed_array(np.zeros(8), text_keys=False),
    "prompt": "x",
    "wiring": {"center_crop": False},
}
VLA_EVAL = {
    "type": "observation",
    "payload": {
        "images": {
            "agentview": {
                "__image__": True,
                "format": "png",
                "data": file_of("png"),
                "shape": [4, 5, 3],
            },
            "wrist": packed_array(SMALL, text_keys=True),
        },
        "task_description": "x",
    },
    "seq": 1,
    "timestamp": 0.5,
}
TOKENS = {
    "id": "a",
    "client": "b",
    "inputs": [
        {"picture": file_of("png"), "form": "png", "prompt": "x", "empty_token": True},
        {"picture": file_of("jpeg"), "form": "jpeg", "prompt": "x"},
        {"picture": b"\0" * 30, "form": "raw", "prompt": "x"},
    ],
}


@st.composite
def mutated_msgpack(draw, value):
    """MessagePack in which up to three values are odd, gone, renamed or one level deeper, or bytes."""
    value = [msgspec.msgpack.decode(msgspec.msgpack.encode(value))]
    for _ in range(draw(st.integers(0, 3))):
        if isinstance(value[0], list | dict) and value:
            _change(draw, *_place(draw, value))
    try:
        packed = msgspec.msgpack.encode(value[0])
    except (ValueError, OverflowError, UnicodeEncodeError, RecursionError):
        # Numbers and text that the format cannot hold.
        packed = msgspec.msgpack.encode(OPENPI)
    return packed if draw(st.integers(0, 2)) else draw(mutated_text(packed))


@pytest.mark.parametrize("entry", ACT)
def test_act(entry):
    @fuzzed()
    @given(mutated_json(msgspec.json.encode(entry)))
    def check(body):
        with in_bounds():
            found = act.parse(body)
            prepare(picture_of(found.image, "image"), found.instruction, found.how)

    check()


@fuzzed()
@given(mutated_msgpack(OPENPI))
def test_openpi(body):
    with in_bounds():
        entry = openpi.parse(body)
        prepare(openpi._picture(entry), entry["prompt"], read_how(entry.get("wiring"), "upright"))


@fuzzed()
@given(mutated_msgpack(VLA_EVAL))
def test_vla_eval(body):
    with in_bounds():
        found = wire.unpack(body, vla_eval.Message, "The message")
        vla_eval._suite(found.payload)
        seen = vla_eval._picture(found.payload.get("images"))
        prepare(seen, "x", read_how(found.payload.get("wiring"), "upright"))


@fuzzed()
@given(mutated_msgpack(TOKENS))
def test_tokens(body):
    with in_bounds():
        for item in tokens.inputs_of(tokens.parse(body)):
            assert item.pixels.dtype == np.uint8 and item.pixels.ndim == 3


@fuzzed()
@given(st.binary(max_size=400))
def test_any_bytes(body):
    for parse in (act.parse, openpi.parse, tokens.parse):
        with in_bounds():
            parse(body)
    with in_bounds():
        wire.unpack(body, vla_eval.Message, "The message")


@fuzzed(max_examples=30)
@given(
    st.integers(1, 1024),
    st.integers(1, 1024),
    st.sampled_from(("finished", "upright", "published")),
)
def test_any_size(width, height, how):
    item, done = prepare(np.zeros((height, width, 3), np.uint8), "x", how)
    assert item.pixels.shape == (224, 224, 3) and done.isascii()
