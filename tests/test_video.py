"""Videos play wherever their episode is stopped, and a full disk leaves none."""

import contextlib
import os
import random
import signal

import imageio.v2 as imageio
import numpy as np
import pytest
from small_disk import small_disk

from vla_tutorial.errors import TutorialError
from vla_tutorial.video import Video


def frames(count, size=64):
    rng = np.random.default_rng(0)
    return [rng.integers(0, 256, (size, size, 3), np.uint8) for _ in range(count)]


def write(path, shown):
    video = Video(path)
    try:
        for frame in shown:
            video.append(frame)
    finally:
        video.close()


@pytest.mark.parametrize("size", [(64, 64), (65, 33)])
def test_every_frame_is_shown(tmp_path, size):
    write(tmp_path / "a.mp4", [np.zeros((*size, 3), np.uint8)] * 7)
    found = imageio.mimread(tmp_path / "a.mp4")
    assert len(found) == 7
    assert found[0].shape == (size[0] + size[0] % 2, size[1] + size[1] % 2, 3)
    assert os.listdir(tmp_path) == ["a.mp4"]


def test_without_a_frame_there_is_no_file(tmp_path):
    write(tmp_path / "a.mp4", [])
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("kib", [4, 40, 150])
def test_a_full_disk_leaves_no_video(tmp_path, kib):
    """With few frames the encoder fails at the end, with many while it is written to."""
    for count in (30, 120):
        with small_disk(tmp_path / "disk", kib) as disk:
            with pytest.raises(OSError, match="No space left"):
                write(disk / "a.mp4", frames(count, 128))
            assert os.listdir(disk) == []


def test_an_encoder_that_is_killed_is_named(tmp_path):
    video = Video(tmp_path / "a.mp4")
    frame = frames(1)[0]
    video.append(frame)
    video._encoder.kill()
    video._encoder.wait()
    with pytest.raises(TutorialError, match="FFmpeg ended with exit code -9"):
        video.append(frame)
    with pytest.raises(TutorialError, match=r"a\.mp4"):
        video.close()
    assert os.listdir(tmp_path) == []


def test_an_encoder_that_is_told_to_end_finishes_its_file(tmp_path):
    """A batch system that ends a job signals all of its processes."""
    video = Video(tmp_path / "a.mp4")
    for frame in frames(60):
        video.append(frame)
    video._encoder.send_signal(signal.SIGTERM)
    # It obeys when it has read what waits for it.
    with contextlib.suppress(TutorialError):
        for frame in frames(60):
            video.append(frame)
    video.close()
    assert len(imageio.mimread(tmp_path / "a.mp4")) > 0


def test_a_missing_encoder_is_named(tmp_path, monkeypatch):
    monkeypatch.setenv("IMAGEIO_FFMPEG_EXE", str(tmp_path / "nothing"))
    with pytest.raises(TutorialError, match="FFmpeg, which encodes videos, is missing"):
        write(tmp_path / "a.mp4", frames(1))


def test_ctrl_c_at_random_moments_leaves_a_video_that_plays(tmp_path):
    rng = random.Random(0)
    shown = frames(40, 256)
    for number in range(8):
        path = tmp_path / f"{number}.mp4"
        video = Video(path)
        video.append(shown[0])
        signal.setitimer(signal.ITIMER_REAL, rng.uniform(0.001, 0.2))
        before = signal.signal(signal.SIGALRM, signal.default_int_handler)
        sent = 1
        try:
            for frame in shown * 10:
                video.append(frame)
                sent += 1
            video.close()
        except KeyboardInterrupt:
            pass
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, before)
            video.close()
        assert sent - 1 <= len(imageio.mimread(path, memtest=False)) <= sent + 1
        assert sorted(tmp_path.iterdir())[-1] == path
