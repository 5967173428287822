"""A video that is encoded while its episode runs, and that plays wherever that is stopped."""

from __future__ import annotations

import contextlib
import os
import subprocess
from pathlib import Path

import imageio_ffmpeg
import numpy as np

from vla_tutorial.arrays import Picture
from vla_tutorial.errors import TutorialError
from vla_tutorial.files import FULL, uninterrupted

CONTROL_HZ = 20
"""LIBERO's control frequency, which is also the video's frame rate."""

CLOSING_SECONDS = 120
"""What the encoder may take to write the rest. It has at most some frames left to encode."""

LIVE = "-crf 23 -g 20"
"""FFmpeg's options for a video that is encoded beside its episode: quick, a keyframe a second."""

SMALL = "-crf 30 -g 60 -preset veryslow"
"""Options for a video that is encoded once and downloaded often: a third of the bytes of `LIVE`."""

ENDED = (0, 255)
"""FFmpeg's exit codes when the file is whole; 255 is after a signal, which it obeys when it can."""


class Video:
    """Small H.264 that browsers can seek in. `path` appears, whole, at `close`."""

    def __init__(self, path: Path, encoding: str = LIVE) -> None:
        """Say where it goes, and how small it is to be: `LIVE` or `SMALL`.

        The encoder starts with the first frame; all have its size.
        """
        self._path = path
        self._encoding = encoding
        self._part = path.with_name(f"{path.stem}.part{path.suffix}")
        self._encoder: subprocess.Popen[bytes] | None = None

    def append(self, frame: Picture) -> None:
        """Encode one frame, (H, W, 3) uint8 RGB.

        Raises:
            OSError: the disk is full.
            TutorialError: there is no encoder, or it has ended.
        """
        if self._encoder is None:
            # A process that starts while nobody knows of it could not be ended.
            with uninterrupted():
                self._encoder = self._start(*frame.shape[:2])
        assert self._encoder.stdin
        try:
            self._encoder.stdin.write(np.ascontiguousarray(frame).data)
        except BrokenPipeError as e:
            raise self._failure(self._encoder.wait()) from e

    def _failure(self, code: int) -> OSError | TutorialError:
        """What an exit code of the encoder means: FFmpeg gives 256 − errno."""
        if 256 - code in FULL:
            return OSError(256 - code, os.strerror(256 - code))
        what = f"FFmpeg ended with exit code {code} while it wrote {self._path}."
        return TutorialError(f"{what} Run the episode again.")

    def _start(self, height: int, width: int) -> subprocess.Popen[bytes]:
        try:
            options = _options(height, width, self._encoding)
            words = [imageio_ffmpeg.get_ffmpeg_exe(), *options, str(self._part)]
            # In a session of its own, so that a terminal's Ctrl-C does not end it too early.
            return subprocess.Popen(
                words,
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
            )
        except (RuntimeError, OSError) as e:
            remedy = "Install it: pip install imageio-ffmpeg, and unset IMAGEIO_FFMPEG_EXE."
            raise TutorialError(f"FFmpeg, which encodes videos, is missing ({e}). {remedy}") from e

    def close(self) -> None:
        """Write the rest. What cannot be played is deleted; without a frame nothing is written.

        A signal acts after it.

        Raises:
            OSError: the disk is full.
            TutorialError: the encoder has failed.
        """
        if self._encoder is None:
            return
        with uninterrupted():
            code = self._end(self._encoder)
        if code not in ENDED:
            raise self._failure(code)

    def _end(self, encoder: subprocess.Popen[bytes]) -> int:
        """The encoder's exit code, once the file is where it belongs or deleted."""
        try:
            encoder.communicate(timeout=CLOSING_SECONDS)
        except subprocess.TimeoutExpired:
            # Then its exit code is no success.
            pass
        finally:
            encoder.kill()
            code = encoder.wait()
            with contextlib.suppress(FileNotFoundError):
                self._part.replace(self._path) if code in ENDED else self._part.unlink()
        return code


def _options(height: int, width: int, encoding: str) -> list[str]:
    """FFmpeg's options for frames of a size, without the name of the file."""
    words = f"-y -f rawvideo -vcodec rawvideo -s {width}x{height} -pix_fmt rgb24 -r {CONTROL_HZ}"
    words += " -i - -an -vcodec libx264 -pix_fmt yuv420p"
    if height % 2 or width % 2:
        # This format has colours for two by two pixels.
        words += f" -vf scale={width + width % 2}:{height + height % 2}"
    words += f" -v quiet {encoding} -movflags +faststart"
    # Without dates and in one thread, so that the bytes depend on the frames alone.
    words += " -threads 1 -fflags +bitexact -flags:v +bitexact -map_metadata -1"
    return words.split()
