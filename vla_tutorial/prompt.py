"""The boundary instruction → tokens: OpenVLA's prompt template and its empty token."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from vla_tutorial.wiring import Wiring

EMPTY_TOKEN = 29871
"""Llama-2's token for a lone space.

OpenVLA's training data end the prompt with it, so inference must too (openvla, `predict_action`).
"""


@dataclass(frozen=True)
class Prompt:
    """A prompt's text, and whether id 29871 is put at its end where it is not there already."""

    text: str
    empty_token: bool = True


class Tokenizer(Protocol):
    """The part of a transformers tokenizer that this project uses."""

    def __call__(self, text: str) -> Mapping[str, list[int]]:
        """Text → a mapping with `input_ids`, BOS in front."""
        ...


def build(wiring: Wiring, instruction: str) -> Prompt:
    """Put `instruction` (LIBERO's `task.language`, or a paraphrase) into the wiring's template."""
    given = instruction
    spellings = {"lower": given.lower(), "as_given": given, "upper": given.upper()}
    text = wiring.prompt_template.format(instruction=spellings[wiring.letter_case])
    return Prompt(text, wiring.empty_token)


def token_ids(prompt: Prompt, tokenizer: Tokenizer) -> list[int]:
    """Token ids of a prompt, BOS in front, of the tokenizer's vocabulary.

    29871 is appended only when the last id is another, as in openvla's `predict_action`.
    """
    ids = list(tokenizer(prompt.text)["input_ids"])
    if prompt.empty_token and (not ids or ids[-1] != EMPTY_TOKEN):
        ids.append(EMPTY_TOKEN)
    return ids
