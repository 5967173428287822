"""What `mini` is fitted to: the expert's tokens, where things are among the patches, positions."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from vla_tutorial.actions import ACTION_DIMENSIONS
from vla_tutorial.openvla.llama import rope_table
from vla_tutorial.openvla.model import OpenVLA
from vla_tutorial.training.labels import KEYPOINTS, POSITION_MEAN


class ModelWithAuxHeads(nn.Module):
    """The policy and its auxiliary heads; they speed learning up and are thrown away after it."""

    rope: Tensor

    def __init__(self, model: OpenVLA) -> None:
        super().__init__()
        width = model.config.llama.hidden_size
        self.model = model
        self.positions = nn.Linear(width, len(POSITION_MEAN))
        self.keypoints = nn.Linear(width, len(KEYPOINTS))
        # A compiled forward would compute every angle anew for each number that it turns.
        llama = model.config.llama
        rope = rope_table(llama, llama.max_position_embeddings, "cpu")
        self.register_buffer("rope", torch.stack(rope), persistent=False)

    def forward(
        self, pixels: Tensor, ids: Tensor, lengths: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Teacher forcing: pixels (N, 6, 224, 224), `teacher_ids` (N, T + 7), prompt lengths (N,).

        Returns:
            Logits of the seven tokens (N, 7, V); the positions (N, A), read where the prompt ends;
            logits of how much of each keypoint each patch holds (N, patches, K).
        """
        m = self.model
        image = m.embed_image(pixels)
        x = m.embed(image, ids)
        cos, sin = self.rope[:, : x.shape[1]]
        hidden = m.language_model(x, (cos, sin))
        last = m.config.vision.patches + lengths - 1
        at = last[:, None] + torch.arange(ACTION_DIMENSIONS, device=ids.device)
        hidden = hidden.take_along_dim(at[..., None], 1)
        positions = self.positions(m.language_model.model.norm(hidden[:, 0]))
        return m.language_model.logits(hidden), positions, self.keypoints(image)


def teacher_ids(prompts: Tensor, lengths: Tensor, actions: Tensor) -> Tensor:
    """Prompts, each followed by six of its seven action tokens.

    Args:
        prompts: (N, T) int64, right-padded.
        lengths: (N,) int64, theirs without the padding.
        actions: (N, 7) int64, ids of the tokens.

    Returns:
        (N, T + 7) int64.
    """
    ids = torch.cat([prompts, prompts.new_zeros(len(prompts), ACTION_DIMENSIONS)], 1)
    at = lengths[:, None] + torch.arange(ACTION_DIMENSIONS - 1, device=ids.device)
    return ids.scatter(1, at, actions[:, :-1])


def soft_targets(bins: Tensor, spread: float, count: int) -> Tensor:
    """A Gaussian around each bin; the gripper's, the last, stay sharp.

    Args:
        bins: (N, D) int64.
        spread: standard deviation in bins.
        count: how many bins there are.

    Returns:
        (N, D, count) float32 probabilities.
    """
    distance = torch.arange(count, device=bins.device) - bins[..., None]
    weights = torch.exp(-0.5 * (distance / spread) ** 2)
    weights[:, -1] = (distance[:, -1] == 0).float()
    return weights / weights.sum(-1, keepdim=True)


def keypoint_targets(keypoints: Tensor, side: int) -> tuple[Tensor, Tensor]:
    """How points divide among the four patches around them, straight in either axis.

    Args:
        keypoints: (N, K, 2), x and y in the picture's −1 … 1, or NaN for what is not there.
        side: the picture has side² patches.

    Returns:
        (N, side², K) weights that sum to 1 over the patches; (N, K) bool, whether the point is
        inside the picture.
    """
    # A comparison with NaN is false.
    inside = (keypoints.abs() < 1).all(-1)
    grid = ((keypoints.nan_to_num() + 1) / 2 * side - 0.5).clamp(0, side - 1)
    middles = torch.arange(side, device=keypoints.device)[:, None, None]
    # (N, side, K, 2)
    distance = (grid[:, None] - middles).abs()
    x, y = (1 - distance).clamp(min=0).unbind(-1)
    return (y[:, :, None] * x[:, None]).flatten(1, 2), inside


def keypoint_loss(found: Tensor, keypoints: Tensor) -> Tensor:
    """Cross-entropy of where keypoints are, averaged over those in the picture.

    Args:
        found: (N, patches, K) logits.
        keypoints: (N, K, 2) as `keypoint_targets` takes them.

    Returns:
        A scalar, nat.
    """
    targets, inside = keypoint_targets(keypoints, round(found.shape[1] ** 0.5))
    cross_entropy = -(targets * found.float().log_softmax(1)).sum(1)
    return (cross_entropy * inside).sum() / inside.sum().clamp(min=1)
