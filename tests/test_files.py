"""Files are whole or absent, and a folder that cannot take them is named before any work."""

import errno
import os
import pickle
import resource
from pathlib import Path

import pytest
from small_disk import small_disk

from vla_tutorial.errors import TutorialError
from vla_tutorial.files import (
    DiskFull,
    append_whole,
    check_writable,
    explain_full_disk,
    is_disk_full,
    whole_file,
    write_atomically,
    write_in_place,
)


def link_to_nothing(folder):
    (folder / "link").symlink_to("/nonexistent/place")
    return folder / "link"


def below_a_link_to_nothing(folder):
    return link_to_nothing(folder) / "a/b"


def loop(folder):
    (folder / "a").symlink_to(folder / "b")
    (folder / "b").symlink_to(folder / "a")
    return folder / "a"


def a_file(folder):
    (folder / "file").write_text("")
    return folder / "file"


def below_a_file(folder):
    return a_file(folder) / "a"


def too_long(folder):
    return folder / ("x" * 300) / "a"


BAD_FOLDERS = [
    (link_to_nothing, "link to /nonexistent/place, which does not exist"),
    (below_a_link_to_nothing, "link to /nonexistent/place"),
    (loop, "link to"),
    (a_file, "not a folder"),
    (below_a_file, "not a folder"),
    (too_long, "File name too long"),
]


@pytest.mark.parametrize(
    ("make", "words"), BAD_FOLDERS, ids=lambda value: getattr(value, "__name__", "")
)
def test_a_folder_that_cannot_be_made_is_named(tmp_path, make, words):
    folder = make(tmp_path)
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(TutorialError, match=words) as told:
        check_writable(folder)
    assert str(folder) in str(told.value) and "--out" in str(told.value)
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize("name", ["", "a", "a/b/c", "link", "link/a"])
def test_a_good_folder_is_left_as_it_is(tmp_path, name):
    (tmp_path / "target").mkdir()
    (tmp_path / "link").symlink_to("target")
    before = sorted(tmp_path.rglob("*"))
    check_writable(tmp_path / name)
    assert sorted(tmp_path.rglob("*")) == before


def test_no_right_to_write_is_named(tmp_path):
    """The right of a plain user, whom root becomes for it."""
    tmp_path.chmod(0o555)
    if os.geteuid() == 0:
        for folder in (tmp_path, *tmp_path.parents):
            if not os.stat(folder).st_mode & 0o005:
                folder.chmod(folder.stat().st_mode | 0o005)
        os.seteuid(65534)
    try:
        with pytest.raises(TutorialError, match="Permission denied"):
            check_writable(tmp_path / "a")
    finally:
        os.seteuid(os.getuid())


def test_a_relative_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    check_writable(Path("a/b"))
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_is_known_before_any_work(tmp_path):
    with small_disk(tmp_path / "disk", 16) as disk:
        check_writable(disk / "a")
        (disk / "filler").write_bytes(bytes(16 * 1024))
        with pytest.raises(DiskFull, match="No space left") as told:
            check_writable(disk / "a")
        assert "Make room" in str(told.value)


def test_what_does_not_fit_leaves_what_was_there(tmp_path):
    with small_disk(tmp_path / "disk", 16) as disk:
        path = disk / "a.json"
        write_atomically(path, "old")
        with pytest.raises(OSError, match="No space left"):
            write_atomically(path, "x" * 20_000)
        assert path.read_text() == "old"
        assert list(disk.iterdir()) == [path]


def test_a_line_is_appended_whole_or_not_at_all(tmp_path):
    with small_disk(tmp_path / "disk", 16) as disk:
        file = os.open(disk / "a", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        line = b"x" * 1500 + b"\n"
        for _ in range(16 * 1024 // len(line)):
            append_whole(file, line)
        with pytest.raises(OSError, match="No space left"):
            append_whole(file, line)
        os.close(file)
        written = (disk / "a").read_bytes()
        assert written == line * (16 * 1024 // len(line))


def test_a_full_disk_still_takes_what_a_file_has_room_for(tmp_path):
    with small_disk(tmp_path / "disk", 8) as disk:
        path = disk / "a.json"
        path.write_text("x" * 100)
        (disk / "filler").write_bytes(bytes(4096))
        with pytest.raises(OSError, match="No space left"):
            write_atomically(path, "short")
        write_in_place(path, "short")
        assert path.read_text() == "short"
        with pytest.raises(OSError, match="No space left"):
            write_in_place(path, "x" * 5000)
        assert path.read_text() == "short"


@pytest.mark.parametrize("error", [KeyboardInterrupt, ValueError])
def test_an_error_while_writing_leaves_the_old_file(tmp_path, error):
    path = tmp_path / "a.png"
    path.write_text("old")

    def write_half():
        with whole_file(path) as part:
            assert part.suffix == ".png"
            part.write_text("half")
            raise error

    with pytest.raises(error):
        write_half()
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_name_that_is_not_utf_8_can_be_written(tmp_path):
    write_atomically(tmp_path / "a", '"\udcff"')
    assert (tmp_path / "a").read_text() == r'"\udcff"'


def test_a_full_disk_is_told_from_other_errors(tmp_path, monkeypatch):
    assert not is_disk_full(PermissionError(13, "no"), tmp_path)
    assert not is_disk_full(BrokenPipeError(32, "no"), tmp_path / "missing")
    full = os.statvfs_result((4096, 4096, 10**6, 0, 0, 0, 0, 0, 0, 255))
    monkeypatch.setattr(os, "statvfs", lambda path: full)
    assert is_disk_full(BrokenPipeError(32, "the video's encoder died"), tmp_path)
    assert not is_disk_full(PermissionError(13, "no"), tmp_path)
    with pytest.raises(DiskFull, match="No space left"), explain_full_disk(tmp_path):
        raise BrokenPipeError(32, "the video's encoder died")
    with pytest.raises(DiskFull, match="quota"), explain_full_disk(tmp_path):
        raise OSError(122, "Disk quota exceeded")


def test_a_limit_on_the_size_of_files_is_a_full_disk(tmp_path):
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, before[1]))
    try:
        with pytest.raises(DiskFull, match="File too large"), explain_full_disk(tmp_path):
            write_atomically(tmp_path / "a", "x" * 2000)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert list(tmp_path.iterdir()) == []


def test_the_error_of_a_full_disk_passes_between_processes(tmp_path):
    for why in ("it is full", OSError(errno.EDQUOT, "x")):
        error = DiskFull(tmp_path, why, "Make room.")
        found = pickle.loads(pickle.dumps(error))
        assert (type(found), str(found), found.why) == (DiskFull, str(error), error.why)
