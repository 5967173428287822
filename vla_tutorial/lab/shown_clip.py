"""What the lab shows of a recorded clip: first picture, prompt, first tokens and three curves."""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image

from vla_tutorial import plots, prompt
from vla_tutorial.actions import ACTION_DIMENSIONS, N_BINS, VOCABULARY
from vla_tutorial.arrays import Picture
from vla_tutorial.conditions import PUBLISHED
from vla_tutorial.log import closing_steps, picture_fields
from vla_tutorial.player import read_clip_script
from vla_tutorial.spec import EpisodeSpec

CURVES: dict[str, dict[str, Any]] = {
    "gripper": {
        "ylabel": "gripper",
        "ylim": (-1.3, 1.3),
        "yticks": (-1, 1),
        "yticklabels": ("open", "close"),
    },
    "height": {"ylabel": "height (cm)", "ylim": (0, 60)},
    "motion": {"ylabel": "|a|", "ylim": (0, 1.6)},
}
"""Series of a clip → how its axis is labelled."""

INVISIBLE = {"gripper": 0.05, "height": 0.5, "motion": 0.05}
"""Series of a clip → the largest difference that cannot be seen in the figure."""

INVISIBLE_GREY = 0.5
"""The same for two pictures: mean absolute difference in grey levels."""

GOOD = "known-good run"
"""What the published run from the same start is called beside a clip."""


@dataclass(frozen=True)
class ShownClip:
    """One recorded clip.

    Attributes:
        picture: (224, 224, 3) uint8, the first that the policy got.
        prompt: the text that the policy got.
        tokens: the seven action tokens of control step 0, as ids.
        series: `CURVES` over control steps, as `player.episode_data.series` describes them.
    """

    picture: Picture
    prompt: str
    tokens: tuple[int, ...]
    series: Mapping[str, Sequence[float]]

    def drawn(self) -> dict[str, Sequence[float]]:
        """The series that the figure shows."""
        return {name: self.series[name] for name in CURVES}

    def unlike(self, other: ShownClip) -> list[str]:
        """The parts in which a reader can see that two clips differ."""
        grey = np.abs(self.picture.astype(float) - other.picture).mean()
        differing = {
            "the first picture": grey > INVISIBLE_GREY,
            "the prompt": self.prompt != other.prompt,
            "the tokens of step 0": self.tokens != other.tokens,
        }
        for name, limit in INVISIBLE.items():
            here = self.series[name]
            there = other.series[name]
            same = len(here) == len(there) and np.allclose(
                here,
                there,
                rtol=0,
                atol=limit,
            )
            differing[f"the curve of {name}"] = not same
        return [part for part, differs in differing.items() if differs]

    def in_words(self) -> str:
        """Picture and curves for those who do not see them; no fault is named."""
        quarters = ", ".join(f"{q:.0f}" for q in picture_fields(self.picture)["img_quarters"])
        closes = closing_steps(np.array(self.series["gripper"]))
        gripper = "never closes"
        if len(closes):
            gripper = f"first closes at step {closes[0]} (closes in all: {len(closes)})"
        height = self.series["height"]
        motion = np.median(self.series["motion"])
        return (
            f"{len(height)} steps. Brightness of the first picture's quarters: {quarters}. "
            f"The gripper {gripper}. Height from {height[0]:.0f} cm, lowest {min(height):.0f} cm. "
            f"Median motion {motion:.2f}"
        )


def load_clip(folder: Path, condition: str) -> ShownClip:
    """The clip of `condition` in `folder`, which holds the clips of one task and start.

    Raises:
        TutorialError: the clip is missing or broken.
    """
    data = read_clip_script(folder / condition / "episode.js")
    names = () if condition == PUBLISHED else (condition,)
    wiring, _ = EpisodeSpec(task=data["task"], init=data["init"], conditions=names).settings()
    first = bytes.fromhex(data["series"]["tokens"])[:ACTION_DIMENSIONS]
    with Image.open(folder / condition / "poster.webp") as poster:
        picture = np.asarray(poster.convert("RGB"))
    return ShownClip(
        picture,
        prompt.build(wiring, data["instruction"]).text,
        tuple(VOCABULARY - N_BINS + token for token in first),
        data["series"],
    )


def clip_figure(clip: ShownClip, good: ShownClip, title: str) -> Figure:
    """First pictures of both and the curves of both; the known-good run is grey and dashed."""
    with plots.style():
        figure = Figure(figsize=(7.2, 2.9), layout="constrained")
        grid = figure.add_gridspec(len(CURVES), 3, width_ratios=(1, 1, 1.8))
        _show_picture(figure.add_subplot(grid[:, 0]), clip, title)
        _show_picture(figure.add_subplot(grid[:, 1]), good, GOOD)
        for row, (key, labels) in enumerate(CURVES.items()):
            axis = figure.add_subplot(grid[row, 2])
            drawstyle = "steps-post" if key == "gripper" else "default"
            axis.plot(clip.series[key], drawstyle=drawstyle)
            look: dict[str, Any] = {"color": "0.45", "linestyle": "--"}
            axis.plot(good.series[key], drawstyle=drawstyle, **look)
            axis.set(**labels)
        axis.set_xlabel("control step")
    return figure


def _show_picture(axis: Axes, clip: ShownClip, title: str) -> None:
    axis.imshow(clip.picture)
    axis.set(xticks=[], yticks=[])
    axis.set_title(title, fontsize=9)
    axis.grid(False)


def clip_html(clip: ShownClip, good: ShownClip, title: str) -> str:
    """The figure with an alternative text, and the two prompts and first tokens as text."""
    buffer = io.BytesIO()
    # Five of them stand on one page; as PNG they would be three times as large.
    options = {"quality": 80}
    clip_figure(clip, good, title).savefig(
        buffer,
        format="webp",
        dpi=110,
        pil_kwargs=options,
    )
    source = base64.b64encode(buffer.getvalue()).decode()
    alt = html.escape(f"{title}: {clip.in_words()}. The {GOOD}: {good.in_words()}.")
    picture = f'<img src="data:image/webp;base64,{source}" alt="{alt}" style="max-width: 100%">'
    rows = "".join(_html_row(name, shown) for name, shown in ((title, clip), (GOOD, good)))
    head = "<tr><th></th><th>prompt</th><th>tokens of step 0</th></tr>"
    return f"{picture}<table>{head}{rows}</table>"


def _html_row(name: str, clip: ShownClip) -> str:
    cells = (repr(clip.prompt), " ".join(map(str, clip.tokens)))
    shown = "".join(f"<td><code>{html.escape(cell)}</code></td>" for cell in cells)
    return f"<tr><th>{html.escape(name)}</th>{shown}</tr>"
