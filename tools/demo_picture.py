"""The moving picture of README.md: both runs of `make demo`, beside their plots.

make demo && .venv/bin/python tools/demo_picture.py demo book/images/demo.webp
"""

from __future__ import annotations

import argparse
from pathlib import Path

import imageio.v3 as iio
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.font_manager import findfont
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from vla_tutorial.log import read_log
from vla_tutorial.plots import episode_figure

RUNS = {"published": "#0072B2", "wrong_unnorm_key": "#D55E00"}
"""Folder of a run below the demo's folder, and its colour in the plots."""

CAMERA = 224
CAPTION = 24
GAP = 12
EVERY = 7
"""Control steps from one frame to the next."""

MILLISECONDS = 200
LAST_MILLISECONDS = 3000
QUALITY = 45


def frames_of(folder: Path) -> NDArray[np.uint8]:
    """Every frame of a run's video, (steps, height, width, 3)."""
    return iio.imread(folder / "episode.mp4", plugin="FFMPEG")


def pixels_of(figure: Figure) -> Image.Image:
    """The figure as a picture."""
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return Image.fromarray(np.asarray(canvas.buffer_rgba())).convert("RGB")


def draw_frame(step: int, videos: dict[str, NDArray[np.uint8]], figure: Figure) -> Image.Image:
    """Both cameras at `step` (or at their end), one above the other, and the plots with a line."""
    lines = [axes.axvline(step, color="0.4", linewidth=1) for axes in figure.axes]
    plot = pixels_of(figure)
    for line in lines:
        line.remove()
    page = Image.new("RGB", (CAMERA + GAP + plot.width, plot.height), "white")
    page.paste(plot, (CAMERA + GAP, 0))
    draw = ImageDraw.Draw(page)
    font = ImageFont.truetype(findfont("DejaVu Sans:bold"), 14)
    for row, (name, video) in enumerate(videos.items()):
        top = row * (CAPTION + CAMERA + GAP)
        draw.text((0, top + 3), name, fill=RUNS[name], font=font)
        camera = Image.fromarray(video[min(step, len(video) - 1)])
        page.paste(camera.resize((CAMERA, CAMERA), Image.Resampling.LANCZOS), (0, top + CAPTION))
    return page


def main() -> None:
    """Read the demo's folder and write the moving picture."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("demo", type=Path, help="folder that `make demo` wrote")
    parser.add_argument("out", type=Path)
    asked = parser.parse_args()
    videos = {name: frames_of(asked.demo / name) for name in RUNS}
    first, second = (read_log(asked.demo / name) for name in RUNS)
    figure = episode_figure(first, second, labels=tuple(RUNS))
    figure.set_dpi(100)
    last = max(len(video) for video in videos.values()) - 1
    steps = [*range(0, last, EVERY), last]
    frames = [draw_frame(step, videos, figure) for step in steps]
    shown_for = [MILLISECONDS] * (len(frames) - 1) + [LAST_MILLISECONDS]
    frames[0].save(
        asked.out,
        save_all=True,
        append_images=frames[1:],
        duration=shown_for,
        loop=0,
        quality=QUALITY,
        method=6,
        minimize_size=True,
    )
    print(f"{asked.out}: {len(frames)} frames, {asked.out.stat().st_size} bytes")


if __name__ == "__main__":
    main()
