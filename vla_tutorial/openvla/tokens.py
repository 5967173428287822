"""A checkpoint's tokenizer, and that its ids are those that the model was trained on."""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import Any

from vla_tutorial.actions import N_BINS, VOCABULARY
from vla_tutorial.errors import TutorialError
from vla_tutorial.openvla.foreign import recognise_bytes
from vla_tutorial.openvla.sizes import OpenVLAConfig
from vla_tutorial.prompt import EMPTY_TOKEN, Tokenizer
from vla_tutorial.wiring import OPENVLA_TEMPLATE

MOST_BYTES = 64 << 20
"""Of a tokenizer.json. Llama-2's has 1.8 MB."""

# Llama-2's ids of the template, before and behind the instruction (golden.json has them from the
# official code).
_BEFORE = [1, 512, 29901, 1724, 3158, 881, 278, 19964, 2125, 304]
_BEHIND = [29973, 13, 3744, 29901]

_REMEDY = "Use the tokenizer.json that came with the weights."

log = logging.getLogger(__name__)


def load_tokenizer(folder: Path, config: OpenVLAConfig) -> Tokenizer:
    """The checkpoint's tokenizer, from its tokenizer.json alone.

    Raises:
        TutorialError: the file is missing or damaged, or gives ids that the model was not trained
            on: other ones than Llama-2's, or ids of the bins.
    """
    from transformers import PreTrainedTokenizerFast

    path = folder / "tokenizer.json"
    _check_file(path)
    try:
        tokenizer = PreTrainedTokenizerFast(tokenizer_file=str(path))  # type: ignore[no-untyped-call]
        prompt = OPENVLA_TEMPLATE.format(instruction="pick up the milk")
        ids = list(tokenizer(prompt)["input_ids"])
        vocabulary = tokenizer.get_vocab()
    # The tokenizers library raises a bare Exception for a file that does not parse or fit itself.
    except Exception as e:
        raise TutorialError(f"{path} is not a tokenizer ({e!s:.200}). Download it again.") from e
    if config.empty_token_id == EMPTY_TOKEN:
        _check_llama_ids(ids, tokenizer, path)
    else:
        _check_own_ids(vocabulary, config, path)
    return tokenizer


def _check_file(path: Path) -> None:
    if not os.path.lexists(path):
        remedy = "Download the whole checkpoint."
        if (path.parent / "tokenizer.model").exists():
            remedy = "Copy the tokenizer.json of openvla/openvla-7b beside its tokenizer.model."
        raise TutorialError(f"{path.parent} has no tokenizer.json (the tokenizer). {remedy}")
    try:
        with path.open("rb") as f:
            stranger = recognise_bytes(f.read(512))
    except OSError as e:
        raise TutorialError(f"{path} cannot be read: {e.strerror}. Download it again.") from e
    if stranger:
        raise TutorialError(f"{path} is not a tokenizer. {stranger}")
    if path.stat().st_size > MOST_BYTES:
        raise TutorialError(f"{path} has more than {MOST_BYTES >> 20} MiB. {_REMEDY}")


def _check_llama_ids(ids: list[int], tokenizer: Any, path: Path) -> None:
    if tokenizer.vocab_size < VOCABULARY:
        log.warning(
            "%s has %d tokens, Llama-2's %d: instructions mean nothing to an OpenVLA model.",
            path,
            tokenizer.vocab_size,
            VOCABULARY,
        )
        return
    added = [repr(tokenizer.decode([i])) for i in ids if i >= VOCABULARY]
    if added:
        raise TutorialError(
            f"{path} has tokens that were added to Llama-2's {VOCABULARY}, and splits the prompt "
            f"by them: {', '.join(added[:4])}. OpenVLA was trained without them. {_REMEDY}"
        )
    found = ids[: len(_BEFORE)] + ids[-len(_BEHIND) :]
    if found != _BEFORE + _BEHIND:
        raise TutorialError(
            f"{path} gives the prompt's template the ids {found}, expected {_BEFORE + _BEHIND}, "
            f"which are Llama-2's. {_REMEDY}"
        )


def _check_own_ids(vocabulary: dict[str, int], config: OpenVLAConfig, path: Path) -> None:
    first_bin = config.vocabulary - N_BINS
    token = max(vocabulary, key=vocabulary.__getitem__, default="")
    if vocabulary.get(token, 0) >= first_bin:
        raise TutorialError(
            f"{path} has token {token!r:.80} with id {vocabulary[token]}, but ids from {first_bin} "
            f"on are the model's bins and its padding. {_REMEDY}"
        )
