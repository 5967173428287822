"""No file of a checkpoint ends in anything but a result or a TutorialError, in 2 s and 500 MiB."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fuzzing import fuzzed, in_bounds, mutated_json, mutated_text
from golden_folder import DATA
from hypothesis import given
from hypothesis import strategies as st
from tiny_checkpoint import CONFIG, INDEX, SHARDS

from vla_tutorial.actions import decode, parse_statistics
from vla_tutorial.openvla.checkpoint import check_folder, find_shards
from vla_tutorial.openvla.checks import check_preprocessor
from vla_tutorial.openvla.config import MOST_BYTES, OpenVLAConfig, read_config, read_json
from vla_tutorial.openvla.model import meta_model
from vla_tutorial.openvla.names import match_names
from vla_tutorial.openvla.shards import MAX_HEADER, read_headers
from vla_tutorial.openvla.tokens import load_tokenizer

KEPT = DATA / "odd_checkpoints"
"""What once failed, in a folder for each reader."""

PUBLISHED = DATA / "tiny_openvla"


# --- what reads each file -----------------------------------------------------------------------


BUILT = set[OpenVLAConfig]()


def config(path: Path) -> None:
    """What is read can be built."""
    found = read_config(path)
    if found not in BUILT:
        meta_model(found)
        BUILT.add(found)


def statistics(path: Path) -> None:
    """What is read turns all tokens into finite motion."""
    for one in parse_statistics(read_json(path), str(path)).values():
        tokens = np.repeat(np.arange(31744, 32000)[:, None], len(one.q01), axis=1)
        actions = decode(tokens, one)
        assert np.isfinite(actions).all()
        assert (np.diff(actions, axis=0) <= 0).all()


def header(path: Path) -> None:
    """What is read fills the file without a hole."""
    entries = read_headers([path])
    end = path.stat().st_size - sum(entry.nbytes for entry in entries.values())
    for entry in sorted(entries.values(), key=lambda entry: (entry.start, entry.nbytes)):
        assert entry.start == end
        end += entry.nbytes
    match_names(entries, {}, str(path))


def index(path: Path) -> None:
    """What is read are files of this folder."""
    assert {shard.parent for shard in find_shards(path.parent)} == {path.parent}


def tokenizer(path: Path) -> None:
    load_tokenizer(path.parent, CONFIG)("pick up the soup")


def preprocessor(path: Path) -> None:
    check_preprocessor(read_json(path), path)


def adapter(path: Path) -> None:
    check_folder(path.parent)


READERS: dict[str, tuple[str, Callable[[Path], None]]] = {
    "config": ("config.json", config),
    "published_config": ("published/config.json", config),
    "statistics": ("dataset_statistics.json", statistics),
    "header": ("header.safetensors", header),
    "index": (INDEX, index),
    "tokenizer": ("tokenizer.json", tokenizer),
    "preprocessor": ("preprocessor_config.json", preprocessor),
    "adapter": ("adapter/adapter_config.json", adapter),
}
"""Name → the file that is damaged, and what then reads it."""


@pytest.fixture(scope="module")
def files(whole: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a small, whole file for each reader."""
    folder = tmp_path_factory.mktemp("files")
    (folder / "published").mkdir()
    (folder / "adapter").mkdir()
    for name in ("config.json", "tokenizer.json", INDEX, *SHARDS):
        (folder / name).write_bytes((whole / name).read_bytes())
    for name in ("dataset_statistics.json", "preprocessor_config.json"):
        (folder / name).write_bytes((PUBLISHED / name).read_bytes())
    (folder / "published/config.json").write_bytes((PUBLISHED / "config.json").read_bytes())
    (folder / "adapter/adapter_config.json").write_text('{"base_model_name_or_path": "a/b"}')
    (folder / "adapter/adapter_model.bin").write_bytes(b"")
    tensors: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    for i, (dtype, size) in enumerate((("F32", 4), ("F32", 4), ("F64", 8), ("BF16", 2))):
        offsets = [24 * i, 24 * i + 24]
        tensor = {"dtype": dtype, "shape": [24 // size, 1], "data_offsets": offsets}
        tensors[f"layers.{i}.weight"] = tensor
    (folder / "header.safetensors").write_bytes(framed(json.dumps(tensors).encode()))
    return folder


def framed(text: bytes, body: int = 96) -> bytes:
    """A safetensors file with this header and that many bytes of tensors."""
    return struct.pack("<Q", len(text)) + text + bytes(body)


# --- the tests ----------------------------------------------------------------------------------


def read(files: Path, name: str, content: bytes) -> None:
    """Put `content` in the place of the reader's file, and read it within the bounds."""
    place, reader = READERS[name]
    path = files / place
    whole = path.read_bytes()
    path.write_bytes(content)
    try:
        with in_bounds():
            reader(path)
    finally:
        path.write_bytes(whole)


def mutated(name: str, content: bytes) -> Any:
    """Files like `content`, which a reader reads."""
    if name != "header":
        return mutated_json(content)
    text = content[8:-96]
    bodies = st.sampled_from((96, 96, 96, 95, 97, 0))
    return st.one_of(
        st.builds(framed, mutated_json(text), bodies),
        mutated_text(content),
    )


def read_whole(files: Path, name: str) -> None:
    """As `read` does it later, outside of the bounds: the first call imports what is kept."""
    place, reader = READERS[name]
    if name == "header":
        read_headers([files / place])
    elif name != "adapter":
        reader(files / place)


@pytest.mark.parametrize("name", READERS)
def test_no_mutated_file_ends_in_a_traceback(files: Path, name: str) -> None:
    read_whole(files, name)

    @fuzzed()
    @given(content=mutated(name, (files / READERS[name][0]).read_bytes()))
    def run(content: bytes) -> None:
        read(files, name, content)

    run()


def large() -> Iterator[tuple[str, bytes]]:
    """Files as large as a reader takes them, and hard to read."""
    most = MOST_BYTES - 100
    for name in ("config", "statistics", "index", "preprocessor"):
        for kind, unit in {"lists": b"[],", "objects": b"{},", "numbers": b"1.5,"}.items():
            yield f"{name}, {kind}", b'{"x":[' + unit * (most // len(unit)) + b"0]}"
        keys = b",".join(b'"%x":[]' % i for i in range(most // 12))
        yield f"{name}, keys", b"{" + keys + b"}"
    most = MAX_HEADER - 100
    for kind, unit in {"tensors": b'"%x":{}', "lists": b'"%x":[[]]'}.items():
        text = b",".join(unit % i for i in range(most // 14))
        yield f"header, {kind}", framed(b"{" + text + b"}")
    whole = b'"%x":{"dtype":"F32","shape":[0],"data_offsets":[0,0]}'
    text = b",".join(whole % i for i in range(most // 60))
    yield "header, empty tensors", framed(b"{" + text + b"}", 0)
    yield "header, numbers", framed(b'{"a":{"shape":[' + b"0," * (most // 2) + b"0]}}")


LARGE = dict(large())


@pytest.mark.parametrize("kind", LARGE)
def test_the_largest_files_stay_in_bounds(files: Path, kind: str) -> None:
    name = kind.partition(",")[0]
    read_whole(files, name)
    read(files, name, LARGE[kind])


def kept() -> list[Path]:
    return sorted(path for path in KEPT.glob("*/*") if path.is_file())


@pytest.mark.parametrize("path", kept(), ids=lambda path: f"{path.parent.name}-{path.name}")
def test_what_once_failed_is_read_or_named(files: Path, path: Path) -> None:
    read_whole(files, path.parent.name)
    read(files, path.parent.name, path.read_bytes())
