"""The two files of a scene of the reader's own: its definition, and states that it may begin in."""

from __future__ import annotations

import contextlib
import hashlib
import io
import math
import tempfile
import zipfile
import zlib
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import numpy as np

from vla_tutorial.arrays import Floats
from vla_tutorial.decoding import read_bytes
from vla_tutorial.errors import TutorialError
from vla_tutorial.scene import OwnScene
from vla_tutorial.sim import libero
from vla_tutorial.sim.own.definition import Definition, check_definition
from vla_tutorial.sim.own.grammar import Refused

MOST_BYTES = 2**20
"""Of a BDDL file. LIBERO's own have up to 4,400."""

MOST_STATE_BYTES = 64 * 2**20
"""Of a file of states, also unpacked: 80,000 states of 100 numbers."""

MOST_STATES = 100_000

_EXAMPLE = "The book's page “Set up” has an example, “A scene of your own”."
_SAVE = "Save them with numpy.save: an array (states, numbers) of finite floats."


def read_own_scene(bddl: Path | str, init_states: Path | str | None = None) -> OwnScene:
    """Check the files of an own scene and remember their hashes.

    The first call imports LIBERO, which takes two seconds.

    Args:
        bddl: a file (or its path as text) in LIBERO's format.
        init_states: `.npy`, or `.npz` with one array: (N, S), MuJoCo's time, qpos and qvel
            flattened, as `Simulator.state` gives them.

    Raises:
        TutorialError: a file cannot be read, or something in it is not as expected.
    """
    bddl = Path(bddl).absolute()
    states = None
    states_hash = None
    if init_states is not None:
        states = Path(init_states).absolute()
        if states.suffix not in (".npy", ".npz"):
            raise TutorialError(f"{states} is not a .npy or .npz file. {_SAVE}")
        states_hash = _hash(read_bytes(states, _SAVE, MOST_STATE_BYTES))
    own = OwnScene(bddl, _hash(read_bytes(bddl, _EXAMPLE, MOST_BYTES)), states, states_hash)
    definition_of(own)
    states_of(own)
    return own


def _hash(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _unchanged(path: Path, content: bytes, sha256: str | None) -> bytes:
    """The content of a file, which must be what it was when the command began."""
    if _hash(content) != sha256:
        what = f"{path} has changed since the command began"
        raise TutorialError(f"{what}. Leave it as it is until the end, and run it again.")
    return content


@cache
def definition_of(own: OwnScene) -> Definition:
    """What the BDDL file says; raises a TutorialError as `read_own_scene`."""
    content = read_bytes(own.bddl, _EXAMPLE, MOST_BYTES)
    text = _unchanged(own.bddl, content, own.bddl_sha256)
    libero.load()
    from libero.libero.envs.objects import get_object_dict

    try:
        return check_definition(text.decode(), get_object_dict())
    except UnicodeDecodeError as e:
        raise TutorialError(f"{own.bddl} is not text in UTF-8 ({e.reason}). {_EXAMPLE}") from e
    except Refused as e:
        raise TutorialError(f"{own.bddl} {e}. {_EXAMPLE}") from e


@contextlib.contextmanager
def definition_file(own: OwnScene) -> Iterator[str]:
    """Path of a file for LIBERO with the checked definition, for as long as the block lasts."""
    with tempfile.NamedTemporaryFile("w", suffix=".bddl", encoding="ascii") as file:
        file.write(definition_of(own).text)
        file.flush()
        yield file.name


@cache
def states_of(own: OwnScene) -> Floats | None:
    """The states (N, S) that the scene may begin in, if it has any; raises as `read_own_scene`."""
    path = own.init_states
    if path is None:
        return None
    content = read_bytes(path, _SAVE, MOST_STATE_BYTES)
    content = _unchanged(path, content, own.init_states_sha256)
    try:
        states = _array(_member(content) if path.suffix == ".npz" else content)
    except _BROKEN as e:
        why = " ".join(str(e).split())
        raise TutorialError(f"{path} cannot be read ({why:.200}). {_SAVE}") from e
    states.flags.writeable = False
    return states


_BROKEN = (ValueError, OSError, EOFError, RuntimeError, MemoryError, zipfile.BadZipFile, zlib.error)
"""What numpy and zipfile raise; NotImplementedError, of a packing unknown to them, included."""


def _member(content: bytes) -> bytes:
    """The only file in an archive, unpacked in bounds."""
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        members = archive.infolist()
        if len(members) != 1:
            raise ValueError(f"it has {len(members)} arrays, expected one")
        with archive.open(members[0]) as file:
            unpacked = file.read(MOST_STATE_BYTES + 1)
    if len(unpacked) > MOST_STATE_BYTES:
        raise ValueError(f"its array has more than {MOST_STATE_BYTES >> 20} MiB")
    return unpacked


def _array(content: bytes) -> Floats:
    """The array in a file of numpy's format: its head first, then no more than it holds."""
    file = io.BytesIO(content)
    version = np.lib.format.read_magic(file)
    readers = {
        (1, 0): np.lib.format.read_array_header_1_0,
        (2, 0): np.lib.format.read_array_header_2_0,
    }
    if version not in readers:
        raise ValueError(f"it is of version {version}, expected 1.0 or 2.0")
    shape, _, dtype = readers[version](file)
    if dtype.kind not in "fiu" or len(shape) != 2:
        raise ValueError(f"it holds {dtype} of shape {shape}, expected floats of two dimensions")
    if not 0 < shape[0] <= MOST_STATES or math.prod(shape) * dtype.itemsize > len(content):
        raise ValueError(f"its shape is {shape}, which is not what it holds")
    file.seek(0)
    states = np.load(file, allow_pickle=False).astype(np.float64)
    if not np.isfinite(states).all():
        row = int(np.flatnonzero(~np.isfinite(states).all(axis=1))[0])
        raise ValueError(f"state {row} holds NaN or infinity")
    return np.ascontiguousarray(states)
