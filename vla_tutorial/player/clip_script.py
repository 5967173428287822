"""The scripts in which clips carry their data: types, reader and writer."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec

from vla_tutorial.decoding import Count, Name, decode_object, read_bytes, script_json
from vla_tutorial.episodes import Init
from vla_tutorial.files import write_atomically
from vla_tutorial.player.episode_data import PolicyName

# Keys become paths. The second part is names of conditions.
Key = Annotated[str, msgspec.Meta(pattern=r"^\d+_\d+/\w[\w+.-]*\Z", max_length=1000)]
Finite = Annotated[float, msgspec.Meta(ge=-1e12, le=1e12)]


class ClipEntry(msgspec.Struct):
    """What the index says of a clip: `clips.INDEXED`."""

    key: Key
    task: Count
    init: Init
    instruction: str
    conditions: list[Name]
    success: bool | None
    steps: Count
    first_close: Count | None
    caption: str
    changes: dict[Name, tuple[Any, Any]]


class Series(msgspec.Struct):
    """Series over control steps, as `episode_data.series` has them."""

    gripper: list[Finite]
    height: list[Finite]
    motion: list[Finite]
    image_mean: list[Finite]
    tokens: Annotated[str, msgspec.Meta(pattern=r"^[0-9a-f]*\Z")]

    def __post_init__(self) -> None:
        """Refuse series of different lengths."""
        lengths = {len(s) for s in (self.gripper, self.height, self.motion, self.image_mean)}
        if lengths != {len(self.tokens) / TOKENS_A_STEP}:
            raise ValueError("its series have different numbers of steps")


TOKENS_A_STEP = 14
"""Letters of `Series.tokens` for a step: two hexadecimal digits for each of seven tokens."""


class ClipData(ClipEntry):
    """An `episode.js`."""

    format: Literal[1]
    suite: Name
    warnings: list[str]
    policy: PolicyName
    versions: dict[Name, Name]
    weights: Name
    series: Series


class _ConditionEntry(msgspec.Struct):
    name: Name
    boundary: Name
    teaches: str
    settings: list[Name]


class ClipIndex(msgspec.Struct):
    """A `manifest.js`."""

    format: Literal[1]
    suite: Name
    policies: list[str]
    conditions: list[_ConditionEntry]
    episodes: list[ClipEntry]


def read_clip_script(path: Path, kind: type[msgspec.Struct] = ClipData) -> dict[str, Any]:
    """The JSON in a script that `write_clip_script` wrote: `…={…};`, with all of its keys.

    Args:
        kind: `ClipData` for an episode.js, `ClipIndex` for a manifest.js.

    Raises:
        TutorialError: the file is missing or was cut, or a key of `kind` is missing or has a wrong
            value.
    """
    out = path.parent
    if path.name == "episode.js":
        # <out>/<task>_<init>/<name>/episode.js
        out = out.parent.parent
    remedy = f"Make it again: vla-tutorial clips --out {out}"
    _, equals, value = read_bytes(path, remedy).partition(b'={"')
    text = equals[1:] + value.rstrip().removesuffix(b";")
    return decode_object(text, kind, str(path), remedy)


def write_clip_script(path: Path, target: str, value: object) -> None:
    """Write a script that assigns `value`, as JSON, to `target`, an expression of JavaScript."""
    write_atomically(path, f"{target}={script_json(value)};\n")
