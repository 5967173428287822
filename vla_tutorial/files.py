"""Files that are whole or absent, checks of a folder before any work begins, and full disks.

A signal in the middle of closing a file would leave half of it, so `uninterrupted` puts it off.
"""

from __future__ import annotations

import contextlib
import errno
import os
import tempfile
import threading
from collections.abc import Callable, Iterable, Iterator
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any, TypeVar

from vla_tutorial.decoding import read_object
from vla_tutorial.errors import TutorialError

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
"""Errors of a full disk, of a used-up quota, and of a limit on the size of files."""

AGAIN = "Make room and give the same command again to resume."

Item = TypeVar("Item")

MOST_WAITING = 3
"""Signals that are put off. One more acts at once, should a disk never answer."""


class _Signals:
    """What signals have asked for while nothing may be interrupted, in the main thread.

    Python runs their handlers there only, so other threads are never interrupted.
    """

    def __init__(self) -> None:
        self._blocks = 0
        self._waiting: list[Callable[[], None]] = []

    def put_off(self, act: Callable[[], None]) -> bool:
        """Keep what a handler wants to do for the end of the block; False if it shall act now."""
        if not self._blocks or len(self._waiting) == MOST_WAITING:
            return False
        self._waiting.append(act)
        return True

    @contextlib.contextmanager
    def entered(self, blocks: int) -> Iterator[None]:
        """Inside, there are so many blocks. Where there is none, what has waited is done."""
        before = self._blocks
        self._blocks = blocks
        try:
            self._act()
            yield
        finally:
            self._blocks = before
            self._act()

    def _act(self) -> None:
        if not self._blocks:
            waiting = self._waiting
            self._waiting = []
            for act in waiting:
                act()


_signals = _Signals()


def put_off(act: Callable[[], None]) -> bool:
    """For the handler of a signal: whether `act` waits for the end of an `uninterrupted` block."""
    return _signals.put_off(act)


@contextlib.contextmanager
def uninterrupted() -> Iterator[None]:
    """Put off what signals ask for until the end of the block, for handlers that ask `put_off`."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    with _signals.entered(1):
        yield


def interruptible(items: Iterable[Item]) -> Iterator[Item]:
    """The same items. Inside an `uninterrupted` block, signals act while one is made, not later."""
    made = iter(items)
    while True:
        try:
            if threading.current_thread() is threading.main_thread():
                with _signals.entered(0):
                    item = next(made)
            else:
                item = next(made)
        except StopIteration:
            return
        yield item


@contextlib.contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """A path to write to in the block. At its end the file replaces `path` in one move.

    No reader and no crash sees half of it. After an error in the block nothing of it stays.
    """
    part = path.with_name(f"{path.stem}.part{path.suffix}")
    try:
        yield part
        part.replace(path)
    except BaseException:
        with uninterrupted(), contextlib.suppress(OSError):
            part.unlink(missing_ok=True)
        raise


def write_atomically(path: Path, content: str | bytes) -> None:
    """Replace the content of `path`, as UTF-8, in one move (`whole_file`)."""
    with whole_file(path) as part:
        part.write_bytes(_encoded(content))


def write_in_place(path: Path, content: str | bytes) -> None:
    """Overwrite a file within the room that it takes on its disk; OSError if that is too little.

    For a full disk alone: a crash could leave half of it.
    """
    encoded = _encoded(content)
    with path.open("r+b", buffering=0) as file:
        # Its unit is 512 bytes on any disk.
        if len(encoded) > 512 * os.fstat(file.fileno()).st_blocks:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
        file.write(encoded)
        file.truncate()


def _encoded(content: str | bytes) -> bytes:
    if isinstance(content, bytes):
        return content
    # A file name that is not UTF-8 arrives as a lone surrogate, which JSON may escape so.
    return content.encode(errors="backslashreplace")


def append_whole(file: int, line: bytes, *, sync: bool = False) -> None:
    """Append to an open file (a descriptor): the whole line or, after an error, nothing of it.

    Args:
        sync: wait until it is on the disk.
    """
    size = os.fstat(file).st_size
    try:
        while line:
            # A full disk takes only a part. The next write then raises and says why.
            line = line[os.write(file, line) :]
        if sync:
            os.fsync(file)
    except BaseException:
        os.ftruncate(file, size)
        raise


def check_writable(folder: Path) -> None:
    """Try whether `folder` can be created and written to; nothing of that stays.

    Raises:
        DiskFull: its disk is full.
        TutorialError: it or a folder above it is a file, a link to nothing, or must not be written
            to, or its name is too long.
    """
    try:
        nearest = _nearest_folder(folder)
        # It has no name, so that a crash leaves nothing behind.
        with tempfile.TemporaryFile(dir=nearest) as file:
            file.write(bytes(os.sysconf("SC_PAGE_SIZE")))
    except OSError as e:
        if e.errno in FULL:
            raise DiskFull(folder, e) from e
        raise _not_writable(folder, e.strerror or str(e)) from e


def _nearest_folder(folder: Path) -> Path:
    """The folder itself, or the one above it that exists; raises as `check_writable`."""
    for path in (folder.absolute(), *folder.absolute().parents):
        try:
            path.lstat()
        except (FileNotFoundError, NotADirectoryError):
            continue
        if not os.path.exists(path):
            target = f"{path} is a link to {os.readlink(path)}, which does not exist"
            raise _not_writable(folder, f"{target} (is that disk mounted?)")
        if not path.is_dir():
            raise _not_writable(folder, f"{path} is not a folder")
        return path
    raise _not_writable(folder, "no folder above it exists")


def _not_writable(folder: Path, why: str) -> TutorialError:
    return TutorialError(f"Cannot write to {folder}: {why}. Choose another folder with --out.")


class DiskFull(TutorialError):
    """Nothing more can be written; what is there is whole.

    Attributes:
        why: the cause in a few words, for example "No space left on device".
    """

    def __init__(self, folder: Path, why: OSError | str, remedy: str = AGAIN) -> None:
        self.why = str(why)
        if isinstance(why, OSError):
            # The error of an encoder's broken pipe would not name the disk.
            self.why = os.strerror(why.errno if why.errno in FULL else errno.ENOSPC)
        super().__init__(f"Writing to {folder} failed: {self.why}. {remedy}")
        self._made_of = (folder, self.why, remedy)

    def __reduce__(self) -> tuple[type[DiskFull], tuple[Path, str, str]]:
        """Processes send it to each other, and the text alone would not make it again."""
        return DiskFull, self._made_of


def is_disk_full(error: OSError, folder: Path) -> bool:
    """Whether an error means that the disk of `folder` is full.

    A video's encoder dies of a full disk and leaves only a broken pipe, so the disk itself is asked
    as well.
    """
    if error.errno in FULL or "No space left" in str(error):
        return True
    if error.errno not in (None, errno.EPIPE):
        return False
    try:
        disk = os.statvfs(folder)
    except OSError:
        return False
    return disk.f_bavail * disk.f_frsize < 1 << 20


@contextlib.contextmanager
def explain_full_disk(folder: Path, remedy: str = AGAIN) -> Iterator[None]:
    """Turn the error of a full disk into a `DiskFull` with a remedy; others pass."""
    try:
        yield
    except OSError as e:
        if is_disk_full(e, folder):
            raise DiskFull(folder, e, remedy) from e
        raise


def shared_memory_folder() -> str:
    """A folder whose files live in memory: /dev/shm if it is writable, else the temporary one."""
    if os.access("/dev/shm", os.W_OK):
        return "/dev/shm"
    return tempfile.gettempdir()


@cache
def read_data(name: str) -> dict[str, Any]:
    """The JSON object in a file of this package's `data` folder; only to be read."""
    file = resources.files("vla_tutorial").joinpath("data", name)
    remedy = "It came with this package: install vla-tutorial again."
    return read_object(Path(str(file)), dict[str, Any], remedy)
