"""Checks before the first episode: two silent failures that cost success without any error."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from vla_tutorial.errors import TutorialError
from vla_tutorial.openvla.model import OpenVLA
from vla_tutorial.prompt import EMPTY_TOKEN, Prompt, Tokenizer, token_ids
from vla_tutorial.wiring import OPENVLA_TEMPLATE


def check_image_matters(model: OpenVLA, prompt_ids: Sequence[int]) -> float:
    """Run a black and a white frame; they must not give the same logits.

    Args:
        prompt_ids: ids of any prompt, BOS first.

    Returns:
        The largest difference between the two rows of logits at the end of the prompt.

    Raises:
        TutorialError: there is none, so the image is ignored, as with the published remote code on
            transformers ≥ 4.50 (openvla issue 346).
    """
    size = model.config.vision.image_size
    extremes = torch.tensor([-1.0, 1.0], device=model.device)
    frames = extremes[:, None, None, None].expand(2, 6, size, size)
    ids = torch.tensor([list(prompt_ids)] * 2, device=model.device)
    with torch.inference_mode():
        black, white = model(frames, ids)[:, -1].float()
    difference = float((black - white).abs().max())
    # NaN fails too.
    if not difference > 0:
        raise TutorialError(
            f"A black and a white frame give the same logits (difference {difference}): the model "
            "ignores its image. Expected different ones. The weights are damaged or belong to "
            "another model; load the checkpoint again."
        )
    return difference


def check_prompt(prompt: Prompt, tokenizer: Tokenizer, bos: int = 1) -> list[int]:
    """The prompt's ids, if the prompt is as in training.

    Raises:
        TutorialError: the text is not OpenVLA's template, BOS is not in front, or 29871 is not at
            the end.
    """
    head, tail = OPENVLA_TEMPLATE.split("{instruction}")
    if not (prompt.text.startswith(head) and prompt.text.endswith(tail)):
        raise TutorialError(
            f"Prompt {prompt.text!r} is not what OpenVLA was trained with. "
            f"Expected {OPENVLA_TEMPLATE!r}. Set the template in the wiring."
        )
    ids = token_ids(prompt, tokenizer)
    if ids[0] != bos:
        raise TutorialError(
            f"The prompt's first id is {ids[0]}, expected {bos} (BOS). "
            "Use the tokenizer.json that came with the checkpoint."
        )
    if ids[-1] != EMPTY_TOKEN:
        raise TutorialError(
            f"The prompt's last id is {ids[-1]}, expected {EMPTY_TOKEN}, the empty token. "
            "Set empty_token=True in the wiring."
        )
    return ids
