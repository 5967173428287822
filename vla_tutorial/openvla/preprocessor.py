"""preprocessor_config.json: that its pictures are prepared as `pixels.pixel_values` does it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from vla_tutorial.errors import TutorialError
from vla_tutorial.openvla.config import read_json
from vla_tutorial.pixels import DINO_MEAN, DINO_STD, SIGLIP_MEAN, SIGLIP_STD, SIZE

# Keys as openvla's PrismaticImageProcessor saves them; for DINOv2, then for SigLIP.
_EXPECTED = {
    "image_resize_strategy": "resize-naive",
    "input_sizes": [[3, SIZE, SIZE], [3, SIZE, SIZE]],
    "interpolations": ["bicubic", "bicubic"],
    "means": [list(DINO_MEAN), list(SIGLIP_MEAN)],
    "stds": [list(DINO_STD), list(SIGLIP_STD)],
    "use_fused_vision_backbone": True,
}


def check_preprocessor(folder: Path) -> None:
    """Compare the folder's preprocessor_config.json, if there is one, with what this package does.

    Raises:
        TutorialError: it is damaged, or pictures are to be prepared in another way. The policy
            would see pictures unlike those of its training.
    """
    path = folder / "preprocessor_config.json"
    if not os.path.lexists(path):
        return
    found = read_json(path)
    for key, expected in _EXPECTED.items():
        given = found.get(key)
        if given is not None and _rounded(given) != expected:
            raise TutorialError(
                f"{path}: {key} is {given!r:.120}, expected {expected!r}. Only OpenVLA's own "
                "preparation of pictures is supported."
            )


def _rounded(value: Any) -> Any:
    """Numbers to four digits: some tools save them as float32."""
    if isinstance(value, list):
        return [_rounded(one) for one in value]
    return round(value, 4) if isinstance(value, float) else value
