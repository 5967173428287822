"""Headers of safetensors files, by the rules of the format."""

from __future__ import annotations

import json
import os
import struct
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from vla_tutorial.errors import TutorialError
from vla_tutorial.openvla.shards import MAX_HEADER, fill_parameters, read_headers


def tensor(start: int, end: int, dtype: str = "F32", shape: Any = None) -> dict[str, Any]:
    return {
        "dtype": dtype,
        "shape": [(end - start) // 4] if shape is None else shape,
        "data_offsets": [start, end],
    }


def write(path: Path, header: Any, body: int = 24) -> Path:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + bytes(body))
    return path


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "model.safetensors"


def test_what_the_library_writes(path: Path) -> None:
    tensors = {
        "b": torch.zeros(3, 2),
        "a": torch.zeros(5, dtype=torch.bfloat16),
        "none": torch.zeros(0, 4),
        "number": torch.tensor(1.0),
    }
    save_file(tensors, path, metadata={"format": "pt"})
    found = read_headers([path])
    assert {name: entry.shape for name, entry in found.items()} == {
        name: tuple(tensor.shape) for name, tensor in tensors.items()
    }
    assert all(found[name].nbytes == tensors[name].nbytes for name in tensors)


def test_the_order_in_the_header_is_free(path: Path) -> None:
    write(path, {"b": tensor(8, 24), "a": tensor(0, 8), "empty": tensor(8, 8)})
    found = read_headers([path])
    assert found["b"].start == found["a"].start + 8


def test_spaces_may_follow(path: Path) -> None:
    write(path, json.dumps({"a": tensor(0, 24)}).encode() + b"   ")
    assert read_headers([path])["a"].shape == (6,)


@pytest.mark.parametrize(
    ("header", "message"),
    [
        ({"a": tensor(0, 16)}, "promises"),
        ({"a": tensor(0, 32)}, "promises"),
        ({"a": tensor(4, 24)}, "begins at byte"),
        ({"a": tensor(0, 12), "b": tensor(8, 24)}, "begins at byte"),
        ({"a": tensor(0, 8), "b": tensor(12, 24)}, "begins at byte"),
        ({"a": tensor(0, 24), "b": tensor(0, 24)}, "begins at byte"),
        ({"a": tensor(24, 0, shape=[6])}, "-24 bytes for shape"),
        ({"a": tensor(0, 24, shape=[5])}, "24 bytes for shape"),
        ({"a": tensor(0, 24, shape=[2**62, 2**62, 0])}, r"'a' holds shape\[0\]"),
        ({"a": tensor(0, 24, shape=[2**61, 2**61])}, "24 bytes for shape"),
        ({"a": tensor(0, 24, shape=[-6])}, r"'a' holds shape\[0\] -6"),
        ({"a": tensor(0, 24, shape=["6"])}, r"'a' holds shape\[0\] '6'"),
        ({"a": tensor(0, 24, shape=[6.0])}, r"'a' holds shape\[0\] 6.0"),
        ({"a": tensor(0, 24, shape=[1] * 9)}, "'a' holds shape"),
        ({"a": {"dtype": "F32", "shape": [6]}}, "'a' lacks data_offsets"),
        ({"a": {"dtype": "F32", "shape": [6], "data_offsets": [0]}}, "'a' holds data_offsets"),
        ({"a": {"dtype": 3, "shape": [6], "data_offsets": [0, 24]}}, "'a' holds dtype 3"),
        ({"a": None}, "'a' is not as expected"),
        ({"a": []}, "'a' is not as expected"),
        ({"a": tensor(0, 24), "__metadata__": {"format": 3}}, "str"),
        ({"a": tensor(0, 24), "__metadata__": []}, "object"),
        ([], "begins with b'\\['"),
        (b" {}", "begins with b' '"),
        (b"{", "truncated"),
        (b'{"a": 1,}', "malformed"),
        (b"{" + b'"a":{' * 9999, "header"),
        (b'{"\xff": 1}', "header"),
    ],
)
def test_headers_that_break_the_rules(path: Path, header: Any, message: str) -> None:
    write(path, header)
    with pytest.raises(TutorialError, match=rf"{path} is not a whole safetensors file.*{message}"):
        read_headers([path])


@pytest.mark.parametrize("length", [0, 25, 10**9, 2**63, 2**64 - 1])
def test_lengths_of_the_header(path: Path, length: int) -> None:
    path.write_bytes(struct.pack("<Q", length) + b"{}" + bytes(20))
    with pytest.raises(TutorialError, match=r"names a header of \d+ bytes"):
        read_headers([path])


def test_a_header_beyond_all_models_is_not_read(path: Path) -> None:
    path.write_bytes(struct.pack("<Q", MAX_HEADER + 1))
    os.truncate(path, 2 * MAX_HEADER)
    with pytest.raises(TutorialError, match=r"names a header of 4194305 bytes"):
        read_headers([path])


@pytest.mark.parametrize("dtype", ["I64", "F8_E4M3", "BOOL", "C64", "f32", ""])
def test_dtypes_that_are_not_read(path: Path, dtype: str) -> None:
    write(path, {"a": tensor(0, 24, dtype)})
    with pytest.raises(TutorialError, match=rf"tensor 'a' has dtype '{dtype}'; known: BF16, F16"):
        read_headers([path])


def test_a_file_that_goes_away_or_shrinks_after_its_header_was_read(path: Path) -> None:
    save_file({"a": torch.ones(100)}, path)
    entries = read_headers([path])
    target = {"a": torch.zeros(100)}
    fill_parameters(entries, target)
    assert target["a"].all()
    os.truncate(path, 200)
    with pytest.raises(TutorialError, match=r"ends at byte 200, inside a tensor"):
        fill_parameters(entries, target)
    path.unlink()
    with pytest.raises(TutorialError, match=r"cannot be read at byte \d+ .No such file"):
        fill_parameters(entries, target)


def test_a_pipe_and_a_folder_are_not_opened(path: Path) -> None:
    os.mkfifo(path)
    with pytest.raises(TutorialError, match=r"is not a file"):
        read_headers([path])
    path.unlink()
    path.mkdir()
    with pytest.raises(TutorialError, match=r"is not a file"):
        read_headers([path])


def test_the_library_refuses_them_too(path: Path) -> None:
    """What is refused here for holes and overlaps is no file that safetensors itself would read."""
    from safetensors import SafetensorError, safe_open

    for header in ({"a": tensor(0, 12), "b": tensor(8, 24)}, {"a": tensor(4, 24)}):
        write(path, header)
        with pytest.raises(SafetensorError):
            safe_open(path, "pt")
