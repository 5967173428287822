"""One rendered picture, judged by what changes a policy's success.

Renderers differ in a few grey levels at edges, where success does not. Measured on the first
picture of libero_object's task 0 against Mesa's llvmpipe 22.3.6, in grey levels:

| | mean | worst of 256 patches | floor |
|---|---|---|---|
| softpipe of the same Mesa | 0.4 | 4.5 | 0.0 |
| NVIDIA H100, with which `mini` succeeds in 500 of 500 | | 6 | |
| MuJoCo 3.3.3 on llvmpipe; success of `mini`: 0 of 200 with its textures | 36.3 | 62 | −50.6 |

The limits lie between the last two rows. tests/data/frames holds the pictures.
"""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from vla_tutorial.arrays import Floats, Picture
from vla_tutorial.doctor.finding import HealthFinding, sentence
from vla_tutorial.files import read_data

FLOOR = np.s_[16:32, 192:208]
"""Rows and columns of a piece of bare floor; rows as MuJoCo gives them, 0 at the bottom."""

MEAN_TOLERANCE = 5.0
"""Grey levels by which the patches may differ on average, and the mean of one colour."""

FLOOR_TOLERANCE = 10.0
"""Grey levels by which the floor may be brighter or darker."""

PATCH_TOLERANCE = 25.0
"""Grey levels by which one patch may differ; an object that is missing changes it by 50 or more."""

PATIENCE = 600.0
"""Seconds after which rendering one picture has failed. It takes 5 to 20 on two CPU cores."""

_CHECK = "Rendered frame"


@dataclass(frozen=True)
class Frame:
    """A picture and what rendered it.

    Attributes:
        image: (256, 256, 3) uint8 RGB, rows as MuJoCo gives them.
        renderer, driver: GL_RENDERER and GL_VERSION of the context.
    """

    image: Picture
    renderer: str
    driver: str

    @property
    def digest(self) -> str:
        """The first 16 hexadecimal digits of the picture's SHA-256."""
        return hashlib.sha256(np.ascontiguousarray(self.image).tobytes()).hexdigest()[:16]


def reference_frame() -> dict[str, Any]:
    """The first scene of libero_object, settled, with the pinned MuJoCo.

    `grid`: (16, 16) means of llvmpipe's picture; `channels`: its means of red, green and blue;
    `floor`: its mean on `FLOOR`; `known`: digests by renderer and driver.
    """
    return read_data("reference_frame.json")


def grid_means(image: Picture, cells: int = 16) -> Floats:
    """(H, W, 3) uint8 → (cells, cells) means over blocks and channels."""
    side = image.shape[0] // cells
    return np.asarray(image.reshape(cells, side, cells, side, 3).mean(axis=(1, 3, 4)))


def render_frame() -> Frame:
    """The first scene of libero_object, settled, rendered in this process.

    Raises:
        TutorialError: as `Simulator`.
    """
    from vla_tutorial.sim import Simulator, libero

    with Simulator("libero_object", 0) as simulator:
        image = simulator.reset(0).image
        return Frame(image, libero.renderer_name(), libero.driver_version())


def render_apart() -> Frame | str:
    """`render_frame` in a process of its own, or why there is no picture.

    A driver that crashes or never answers then ends that process and not this one.
    """
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "frame.npz"
        code = f"import sys; sys.path[:] = {json.dumps(sys.path)}; import {__name__} as frame; "
        words = [sys.executable, "-c", code + f"frame.save_frame({json.dumps(str(file))})"]
        try:
            done = subprocess.run(words, capture_output=True, timeout=PATIENCE, check=False)
        except subprocess.TimeoutExpired:
            return f"the renderer did not answer within {PATIENCE:.0f} s"
        if done.returncode:
            return _why_it_ended(done.returncode, done.stderr.decode(errors="replace"))
        with np.load(file) as found:
            return Frame(
                found["image"],
                str(found["renderer"]),
                str(found["driver"]),
            )


def save_frame(file: str) -> None:
    """Write `render_frame` to a file of NumPy's for `render_apart`, or exit with the reason."""
    try:
        frame = render_frame()
    except Exception as e:
        sys.exit(sentence(e))
    np.savez(file, image=frame.image, renderer=frame.renderer, driver=frame.driver)


def _why_it_ended(code: int, printed: str) -> str:
    """The cause of an exit code that is not 0: a signal, or the error in the last line printed."""
    if code < 0:
        import signal

        return f"the renderer crashed ({signal.Signals(-code).name})"
    lines = [line.strip() for line in printed.splitlines() if line.strip()]
    return lines[-1] if lines else f"exit code {code}"


def judge_frame(frame: Frame) -> HealthFinding:
    """Whether a policy sees in this picture what it saw in training."""
    reference = reference_frame()
    source = f"{frame.renderer}, {frame.driver}"
    if frame.digest in {known["sha256"] for known in reference["known"]}:
        return HealthFinding(_CHECK, "ok", f"{frame.digest}, a known value ({source})")
    off = np.abs(grid_means(frame.image) - np.array(reference["grid"]))
    colour = np.abs(frame.image.mean((0, 1)) - np.array(reference["channels"])).max()
    floor = float(frame.image[FLOOR].mean() - reference["floor"])
    detail = (
        f"{frame.digest} is new ({source}); grey levels between it and the reference: "
        f"{off.mean():.1f} on average, {off.max():.0f} in the worst of {off.size} patches, "
        f"{colour:.1f} in one of the colours, {floor:+.1f} on the floor"
    )
    near = max(off.mean(), colour) <= MEAN_TOLERANCE and off.max() <= PATCH_TOLERANCE
    if near and abs(floor) <= FLOOR_TOLERANCE:
        return HealthFinding(_CHECK, "ok", detail)
    return HealthFinding(_CHECK, "fail", detail, _remedy(frame, floor))


def _remedy(frame: Frame, floor: float) -> str:
    from vla_tutorial.wiring import PINNED_MUJOCO

    if not frame.image.any():
        return "The picture is black: try another renderer, MUJOCO_GL=osmesa (libosmesa6)."
    if floor < -FLOOR_TOLERANCE:
        cause = "The floor is darker, as MuJoCo from 3.3.3 on draws it"
        return f"{cause}: pip install mujoco=={PINNED_MUJOCO}"
    return (
        "Policies see another scene than in training: check MuJoCo's version, then try another "
        "renderer, MUJOCO_GL=osmesa (libosmesa6)."
    )


def check_frame() -> HealthFinding:
    """One rendered frame: the known bytes, or at least the known brightness everywhere."""
    frame = render_apart()
    if isinstance(frame, Frame):
        return judge_frame(frame)
    remedy = "Repair the driver, or try another renderer: MUJOCO_GL=osmesa (libosmesa6)."
    return HealthFinding(_CHECK, "fail", frame, remedy)
