"""Record the picture that `vla-tutorial doctor` judges, as this machine renders it, for the tests.

    python tools/record_frame.py

The picture goes to tests/data/frames, and what rendered it into frames.json there. tests/doctor
then expects `doctor` to say ok of it, or FAIL where MuJoCo is not the pinned version. With
`--known` its digest also joins those that `doctor` knows (vla_tutorial/data/reference_frame.json).
Standard output shows the devices of EGL and CUDA, and which one renders and why.

On a machine that gives files back only from one folder, record there and adopt them here:

    python tools/record_frame.py --out FOLDER
    python tools/record_frame.py --adopt FOLDER --known
"""

import argparse
import json
import re
from pathlib import Path

import numpy as np
from PIL import Image

from vla_tutorial.doctor.frame import Frame, judge_frame, render_frame
from vla_tutorial.files import write_atomically
from vla_tutorial.sim import libero
from vla_tutorial.wiring import PINNED_MUJOCO

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / "tests" / "data" / "frames"
REFERENCE = ROOT / "vla_tutorial" / "data" / "reference_frame.json"


def main() -> None:
    """Render, judge and write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, default=FOLDER, help="the folder of the picture")
    parser.add_argument("--known", action="store_true", help="let doctor know it by its digest")
    parser.add_argument("--adopt", type=Path, help="take what was recorded into this folder")
    args = parser.parse_args()
    if args.adopt:
        entries = json.loads((args.adopt / "frames.json").read_text())
        for entry in entries:
            picture = Image.open(args.adopt / entry["file"])
            keep(Frame(np.array(picture), entry["renderer"], entry["driver"]), entry, args.out)
    else:
        frame = render_frame()
        show_devices()
        entries = [describe(frame)]
        keep(frame, entries[0], args.out)
    for entry in entries:
        if args.known:
            make_known(entry)
        print(json.dumps(entry, indent=1))


def show_devices() -> None:
    """Print what EGL and CUDA say."""
    if libero.choose_backend() != "egl":
        return
    from vla_tutorial.sim.egl import driver

    for device in driver.devices():
        print(f"EGL: {device!r}")
    print(f"CUDA: {driver.cuda_gpus()}")
    print(f"chosen: {driver.choice()}")


def describe(frame: Frame) -> dict[str, str]:
    """The entry of a picture in frames.json."""
    import mujoco

    words = f"{frame.renderer} {mujoco.__version__}"
    return {
        "file": re.sub(r"[^a-z0-9]+", "_", words.lower()).strip("_") + ".png",
        "renderer": frame.renderer,
        "driver": frame.driver,
        "mujoco": mujoco.__version__,
        "sha256": frame.digest,
        "verdict": "ok" if mujoco.__version__ == PINNED_MUJOCO else "fail",
    }


def keep(frame: Frame, entry: dict[str, str], folder: Path) -> None:
    """Judge the picture, and write it and its entry; an entry of the same file is replaced."""
    finding = judge_frame(frame)
    print(f"doctor: {finding.verdict}: {finding.detail} {finding.remedy}")
    folder.mkdir(parents=True, exist_ok=True)
    Image.fromarray(frame.image).save(folder / entry["file"], optimize=True)
    index = folder / "frames.json"
    entries = json.loads(index.read_text()) if index.is_file() else []
    entries = [one for one in entries if one["file"] != entry["file"]]
    entries = sorted([*entries, entry], key=lambda one: one["file"])
    write_atomically(index, json.dumps(entries, indent=1) + "\n")


def make_known(entry: dict[str, str]) -> None:
    """Add a picture of the pinned MuJoCo to those that doctor knows by their digest."""
    if entry["verdict"] != "ok":
        raise SystemExit("A picture of another MuJoCo cannot be a known one.")
    reference = json.loads(REFERENCE.read_text())
    known = {name: entry[name] for name in ("renderer", "driver", "sha256")}
    if known not in reference["known"]:
        reference["known"].append(known)
    write_atomically(REFERENCE, json.dumps(reference) + "\n")


if __name__ == "__main__":
    main()
