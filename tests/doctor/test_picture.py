"""`doctor --picture`: pictures of other set-ups, and what is no such picture."""

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from vla_tutorial.cli.app import app
from vla_tutorial.doctor import check_picture
from vla_tutorial.errors import TutorialError

FRAMES = "tests/data/frames"


@pytest.fixture(scope="module")
def frames(request):
    folder = request.config.rootpath / FRAMES
    return {
        "published": np.array(Image.open(folder / "llvmpipe_llvm_15_0_6_256_bits_3_3_2.png")),
        "drifted": np.array(Image.open(folder / "llvmpipe_llvm_15_0_6_256_bits_3_3_3.png")),
        "softpipe": np.array(Image.open(folder / "softpipe_3_3_2.png")),
    }


@pytest.fixture
def save(tmp_path):
    def write(image):
        path = tmp_path / "my_agentview.png"
        Image.fromarray(image).save(path)
        return path

    return write


@pytest.mark.parametrize("side", [224, 256, 512])
@pytest.mark.parametrize("turn", [0, 2])
@pytest.mark.parametrize(
    ("name", "verdict"), [("published", "ok"), ("softpipe", "ok"), ("drifted", "fail")]
)
def test_both_floors_in_both_orientations_and_other_sizes(frames, save, name, verdict, turn, side):
    image = Image.fromarray(np.rot90(frames[name], turn)).resize((side, side))
    finding = check_picture(save(np.asarray(image)))
    assert finding.verdict == verdict
    assert ("turned" in finding.detail) == (turn == 2)
    assert ("mujoco==3.3.2" in finding.remedy) == (name == "drifted")


@pytest.mark.parametrize(
    ("change", "verdict"),
    [
        (lambda image: image[:, ::-1], "fail"),
        (lambda image: 0 * image, "note"),
        (lambda image: 255 - image, "note"),
        (lambda image: (0.9 * image).astype(np.uint8), "fail"),
        (lambda image: image[..., ::-1], "fail"),
    ],
)
def test_other_scenes_and_looks(frames, save, change, verdict):
    finding = check_picture(save(np.ascontiguousarray(change(frames["published"]))))
    assert finding.verdict == verdict
    assert finding.remedy
    assert "mujoco==" not in finding.remedy


def bytes_of(image, kind="PNG", **options):
    def write(path):
        Image.fromarray(image).save(path, kind, **options)

    return write


WIDE = np.zeros((64, 65, 3), np.uint8)
ODD = {
    "gone": (lambda path: None, "cannot be read"),
    "folder": (lambda path: path.mkdir(), "is not a file"),
    "text": (lambda path: path.write_text("hello"), "is not a PNG file"),
    "empty": (lambda path: path.touch(), "is not a PNG file"),
    "jpeg": (bytes_of(WIDE, "JPEG"), "is not a PNG file"),
    "wide": (bytes_of(WIDE), "65 × 64 pixels; expected a square"),
    "small": (bytes_of(np.zeros((9, 9, 3), np.uint8)), "expected a square of at least 64"),
    "large": (bytes_of(np.zeros((1025, 1025, 3), np.uint8)), "1024"),
    "grey": (bytes_of(np.zeros((256, 256), np.uint8)), "RGB"),
    "16 bits": (bytes_of(np.zeros((256, 256), np.uint16)), "RGB"),
    "cut": (lambda path: path.write_bytes(_cut()), "damaged"),
}


def _cut():
    import io

    buffer = io.BytesIO()
    noise = np.random.default_rng(0).integers(0, 255, (256, 256, 3), np.uint8)
    Image.fromarray(noise).save(buffer, "PNG")
    return buffer.getvalue()[:5000]


@pytest.mark.parametrize("name", ODD)
def test_what_is_no_picture_is_one_sentence(tmp_path, name):
    make, said = ODD[name]
    path = tmp_path / "odd.png"
    make(path)
    with pytest.raises(TutorialError, match=r"odd\.png") as caught:
        check_picture(path)
    assert said in str(caught.value)
    assert str(caught.value).endswith("camera agentview.")
    assert "\n" not in str(caught.value)


def test_the_command(frames, save):
    found = CliRunner().invoke(app, ["doctor", "--picture", str(save(frames["drifted"]))])
    assert found.exit_code == 1
    assert "Your picture" in found.output
    found = CliRunner().invoke(app, ["doctor", "--picture", str(save(frames["published"]))])
    assert found.exit_code == 0
