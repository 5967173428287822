"""A checkpoint's tokenizer, and that its ids are those that the model was trained on."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vla_tutorial.actions import N_BINS, VOCABULARY
from vla_tutorial.decoding import read_bytes
from vla_tutorial.errors import TutorialError
from vla_tutorial.openvla.foreign import recognise_bytes
from vla_tutorial.openvla.sizes import OpenVLAConfig
from vla_tutorial.prompt import EMPTY_TOKEN
from vla_tutorial.wiring import OPENVLA_TEMPLATE

MOST_BYTES = 64 << 20
"""Of a tokenizer.json. Llama-2's has 1.8 MB."""

# Llama-2's ids of the template, before and behind the instruction (golden.json has them from the
# official code).
_BEFORE = [1, 512, 29901, 1724, 3158, 881, 278, 19964, 2125, 304]
_BEHIND = [29973, 13, 3744, 29901]

_REMEDY = "Use the tokenizer.json that came with the weights."

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class CheckedTokenizer:
    """A checkpoint's tokenizer, as `prompt.Tokenizer`; ids that were added to it are errors."""

    path: Path
    # Of transformers.
    inner: Any
    # Tokens by id that stand behind the vocabulary which the model was trained on.
    added: Mapping[int, str]

    def __call__(self, text: str) -> Mapping[str, list[int]]:
        """Text → a mapping with `input_ids`, BOS in front."""
        try:
            ids = list(self.inner(text)["input_ids"])
        # The tokenizers library raises a bare Exception, for example for a word without a token.
        except Exception as e:
            why = f"{e!s:.200}"
            raise TutorialError(f"{self.path} cannot read {text!r:.200} ({why}). {_REMEDY}") from e
        added = [repr(self.added[i]) for i in ids if i in self.added]
        if added:
            raise TutorialError(
                f"{self.path} has tokens that were added to its vocabulary, and splits the prompt "
                f"{text!r:.200} by them: {', '.join(added[:4])}. OpenVLA's training adds none. "
                f"{_REMEDY}"
            )
        return {"input_ids": ids}


def load_tokenizer(folder: Path, config: OpenVLAConfig) -> CheckedTokenizer:
    """The checkpoint's tokenizer, from its tokenizer.json alone.

    Raises:
        TutorialError: the file is missing or damaged, or gives ids that the model was not trained
            on: other ones than Llama-2's, or ids of the bins.
    """
    from transformers import PreTrainedTokenizerFast

    path = folder / "tokenizer.json"
    _check_file(path)
    try:
        inner = PreTrainedTokenizerFast(tokenizer_file=str(path))  # type: ignore[no-untyped-call]
        vocabulary = inner.get_vocab()
    # The tokenizers library raises a bare Exception for a file that does not parse or fit itself.
    except Exception as e:
        raise TutorialError(f"{path} is not a tokenizer ({e!s:.200}). Download it again.") from e
    added = {i: token for token, i in vocabulary.items() if i >= inner.vocab_size}
    tokenizer = CheckedTokenizer(path, inner, added)
    if config.empty_token_id == EMPTY_TOKEN:
        _check_llama_ids(tokenizer)
    else:
        _check_own_ids(vocabulary, config, path)
    return tokenizer


def _check_file(path: Path) -> None:
    if not os.path.lexists(path):
        remedy = "Download the whole checkpoint."
        if (path.parent / "tokenizer.model").exists():
            remedy = "Copy the tokenizer.json of openvla/openvla-7b beside its tokenizer.model."
        raise TutorialError(f"{path.parent} has no tokenizer.json (the tokenizer). {remedy}")
    stranger = recognise_bytes(read_bytes(path, "Download it again.", MOST_BYTES)[:512])
    if stranger:
        raise TutorialError(f"{path} is not a tokenizer. {stranger}")


def _check_llama_ids(tokenizer: CheckedTokenizer) -> None:
    size = tokenizer.inner.vocab_size
    if size < VOCABULARY:
        what = "has %d tokens, Llama-2's %d: to an OpenVLA model instructions mean nothing"
        log.warning(f"%s {what}.", tokenizer.path, size, VOCABULARY)
        return
    ids = tokenizer(OPENVLA_TEMPLATE.format(instruction="pick up the milk"))["input_ids"]
    found = ids[: len(_BEFORE)] + ids[-len(_BEHIND) :]
    if found != _BEFORE + _BEHIND:
        raise TutorialError(
            f"{tokenizer.path} gives the prompt's template the ids {found}, expected "
            f"{_BEFORE + _BEHIND}, which are Llama-2's. {_REMEDY}"
        )


def _check_own_ids(vocabulary: Mapping[str, int], config: OpenVLAConfig, path: Path) -> None:
    first_bin = config.vocabulary - N_BINS
    token = max(vocabulary, key=vocabulary.__getitem__, default="")
    if vocabulary.get(token, 0) >= first_bin:
        raise TutorialError(
            f"{path} has token {token!r:.80} with id {vocabulary[token]}, but ids from {first_bin} "
            f"on are the model's bins and its padding. {_REMEDY}"
        )
