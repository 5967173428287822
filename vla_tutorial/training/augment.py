"""What training does to pictures, on the GPU: random crops near the centre crop, light, noise."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from vla_tutorial.openvla.model import normalise
from vla_tutorial.pixels import CROP_AREA


@dataclass(frozen=True)
class Augmentation:
    """How far pictures are varied.

    Attributes:
        shift: the crop's centre moves by up to this share of the picture (0.01 is 2.2 pixels).
        zoom: the crop's side varies by up to this share.
        light: brightness and contrast vary by up to this share.
        noise: standard deviation in grey levels.
        colour: by up to this share each colour channel is mixed from the others.
    """

    shift: float = 0.012
    zoom: float = 0.02
    light: float = 0.12
    noise: float = 3.0
    colour: float = 0.0


NO_AUGMENTATION = Augmentation(0.0, 0.0, 0.0, 0.0)
"""Evaluation's centre crop, nothing else."""


def center_crop(images: Tensor) -> Tensor:
    """(N, 224, 224, 3) uint8 → the same: `pixels.center_crop` on their device, to 1 grey level."""
    return _to_uint8(_cut(images, CROP_AREA**0.5, 0.0))


def augmented(
    images: Tensor, keypoints: Tensor, augmentation: Augmentation
) -> tuple[Tensor, Tensor]:
    """Pictures and what they show, cropped alike.

    Args:
        images: (N, 224, 224, 3) uint8, not cropped yet.
        keypoints: (N, K, 2) float32, in the whole picture's −1 … 1.

    Returns:
        (N, 6, 224, 224) float32 for the two encoders; (N, K, 2) in the cropped picture's −1 … 1.
    """
    side = CROP_AREA**0.5 * (1 + augmentation.zoom * _uniform(images, 1))
    centre = 2 * augmentation.shift * _uniform(images, 2)
    x = _relight(_cut(images, side, centre), augmentation)
    return normalise(_to_uint8(x)), (keypoints - centre[:, None]) / side[:, None]


def _relight(x: Tensor, augmentation: Augmentation) -> Tensor:
    """(N, 3, S, S) float32 → the same in another light and colour, with noise."""
    if augmentation.colour:
        x = torch.einsum("nij,njhw->nihw", _channel_mix(x, augmentation.colour), x)
    gain = 1 + augmentation.light * _uniform(x, 1, 1, 1)
    contrast = 1 + augmentation.light * _uniform(x, 1, 1, 1)
    mean = x.mean((1, 2, 3), keepdim=True)
    x = (x - mean) * contrast + mean * gain
    if augmentation.noise:
        x = x + augmentation.noise * torch.randn_like(x)
    return x


def _channel_mix(x: Tensor, share: float) -> Tensor:
    """(N, 3, 3): how each channel is mixed; grey stays as light as it is."""
    drawn = share * _uniform(x, 3, 3)
    return torch.eye(3, device=x.device) + drawn - drawn.mean(2, keepdim=True)


def _cut(images: Tensor, side: Tensor | float, centre: Tensor | float) -> Tensor:
    """(N, S, S, 3) uint8 → windows of them, (N, 3, S, S) float32, 0 … 255.

    A window has half a side (N, 1) and a centre (N, 2; x, y) in the whole picture's −1 … 1.
    """
    across = torch.linspace(-1, 1, images.shape[1], device=images.device)
    # By a kernel: a copy from the host could not be captured in a CUDA graph.
    halves = torch.zeros(len(images), 1, device=images.device) + side
    centres = torch.zeros(len(images), 2, device=images.device) + centre
    x = across * halves + centres[:, :1]
    y = across * halves + centres[:, 1:]
    shape = (-1, images.shape[1], images.shape[1])
    grid = torch.stack([x[:, None].expand(shape), y[:, :, None].expand(shape)], -1)
    channels_first = images.permute(0, 3, 1, 2).float()
    return F.grid_sample(channels_first, grid, padding_mode="border", align_corners=True)


def _to_uint8(x: Tensor) -> Tensor:
    """(N, 3, S, S) float32 → (N, S, S, 3) uint8."""
    return (
        x.clamp(0, 255)
        .round()
        .byte()
        .permute(
            0,
            2,
            3,
            1,
        )
    )


def _uniform(images: Tensor, *shape: int) -> Tensor:
    """Random numbers, −1 … 1, of this shape for each picture: (N, *shape)."""
    return 2 * torch.rand(len(images), *shape, device=images.device) - 1
