"""The policy's tokenizer for the page, if it is of the one kind that the page knows.

That kind is byte-level BPE as in GPT-2: special tokens are found first, the rest is cut into words
by GPT-2's pattern, and each word's UTF-8 bytes are merged. `mini` has such a tokenizer.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal

import msgspec

from vla_tutorial.decoding import decode, read_bytes
from vla_tutorial.live.site_files import write_json
from vla_tutorial.openvla.tokens import MOST_BYTES

FILE = "data/policy/tokenizer.json"

_REMEDY = "The live page knows byte-level BPE alone. Extend page/tokenizer.js for this tokenizer."


class _AddedToken(msgspec.Struct):
    """A token that is found as it stands, before anything else."""

    id: int
    content: Annotated[str, msgspec.Meta(min_length=1)]
    single_word: Literal[False]
    lstrip: Literal[False]
    rstrip: Literal[False]
    normalized: Literal[False]


class _ByteLevel(msgspec.Struct):
    type: Literal["ByteLevel"]
    add_prefix_space: bool
    use_regex: Literal[True]


class _Special(msgspec.Struct):
    ids: list[int]


class _Piece(msgspec.Struct):
    """A part of the template: a special token, or the text as sequence A."""

    SpecialToken: dict[str, str | int] | None = None
    Sequence: dict[str, str | int] | None = None


class _Template(msgspec.Struct):
    type: Literal["TemplateProcessing"]
    # BOS, then the text.
    single: tuple[_Piece, _Piece]
    special_tokens: dict[str, _Special]


class _Model(msgspec.Struct):
    type: Literal["BPE"]
    vocab: dict[str, int]
    merges: list[tuple[str, str]]
    dropout: None = None
    continuing_subword_prefix: Literal["", None] = None
    end_of_word_suffix: Literal["", None] = None
    byte_fallback: Literal[False] = False
    ignore_merges: Literal[False] = False


class _Tokenizer(msgspec.Struct):
    """The parts of a tokenizer.json that decide its ids."""

    added_tokens: list[_AddedToken]
    pre_tokenizer: _ByteLevel
    post_processor: _Template
    model: _Model
    normalizer: None = None
    truncation: None = None
    padding: None = None


class PageTokenizer(msgspec.Struct, frozen=True, rename="camel"):
    """What the page reads.

    Attributes:
        vocabulary: token → id; bytes are written as GPT-2's letters for them.
        merges: pairs of tokens, those that are merged first in front.
        special: tokens that are found as they stand → id.
        prefix_space: whether a text gets a space in front where it has none.
        start: ids in front of every text.
        empty: the model's id for OpenVLA's empty token.
    """

    vocabulary: dict[str, int]
    merges: Sequence[tuple[str, str]]
    special: dict[str, int]
    prefix_space: bool
    start: list[int]
    empty: int


def export(folder: Path, tokenizer: Path, empty_token_id: int) -> str:
    """Write a checkpoint's tokenizer.json; the path of the file below the page's folder.

    Args:
        empty_token_id: as `OpenVLAConfig` has it.

    Raises:
        TutorialError: it is of another kind.
        DiskFull: the disk is full.
    """
    write_json(folder / FILE, convert(tokenizer, empty_token_id))
    return FILE


def convert(path: Path, empty_token_id: int) -> PageTokenizer:
    """Read a tokenizer.json; raises a TutorialError if it is of another kind."""
    found = decode(read_bytes(path, _REMEDY, MOST_BYTES), _Tokenizer, str(path), _REMEDY)
    special = found.post_processor.single[0].SpecialToken or {}
    name = str(special.get("id"))
    return PageTokenizer(
        found.model.vocab,
        found.model.merges,
        {token.content: token.id for token in found.added_tokens},
        found.pre_tokenizer.add_prefix_space,
        found.post_processor.special_tokens[name].ids,
        empty_token_id,
    )
