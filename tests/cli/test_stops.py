"""Signals, lost terminals and full disks: one sentence, a sensible exit code, and folders that can be read."""

import json
import os
import pty
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import imageio.v2 as imageio
import pytest
from cli_fakes import ROLLOUT, run, start
from small_disk import small_disk

from vla_tutorial import files, record, video
from vla_tutorial.log import read_log
from vla_tutorial.record import EPISODE_FILES

MOMENTS = 20
STEPS = 60


def lines_in(folder):
    # `--overwrite` may remove the old log at any moment, so asking whether it exists is not enough.
    try:
        return (folder / "steps.jsonl").read_bytes().count(b"\n")
    except FileNotFoundError:
        return 0


def wait_for_lines(folder, count, command):
    deadline = time.monotonic() + 60
    while lines_in(folder) < count and time.monotonic() < deadline:
        if os.waitid(os.P_PID, command.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT):
            return
        time.sleep(0.002)


def check_episode(folder, code, limit=STEPS):
    """Every file is whole; an episode that was stopped before its end says so, and counts its steps."""
    if not folder.exists() or not list(folder.iterdir()):
        return
    names = {path.name for path in folder.iterdir()}
    episode = json.loads((folder / "episode.json").read_text())
    steps = lines_in(folder)
    if episode["success"] is None:
        assert code != 0
    else:
        assert steps == limit
    if steps:
        assert len(read_log(folder)) == steps
    if code == -signal.SIGKILL:
        return
    assert names <= set(EPISODE_FILES)
    assert episode["steps"] == steps
    if "episode.mp4" in names:
        assert steps - 1 <= len(imageio.mimread(folder / "episode.mp4")) <= steps + 1


HEARS_HANGUPS = pytest.mark.skipif(
    signal.getsignal(signal.SIGHUP) == signal.SIG_IGN,
    reason="SIGHUP is ignored here (nohup), and commands leave it so",
)


@pytest.mark.parametrize(
    "number",
    [signal.SIGINT, signal.SIGTERM, pytest.param(signal.SIGHUP, marks=HEARS_HANGUPS)],
)
def test_a_signal_at_random_moments_closes_the_episode(tmp_path, number):
    rng = random.Random(int(number))
    stopped = []
    for moment in range(MOMENTS // 3 + 1):
        folder = tmp_path / str(moment)
        command = start(tmp_path / "said", *ROLLOUT, STEPS, "--out", folder)
        wait_for_lines(folder, rng.randrange(STEPS + 2), command)
        time.sleep(rng.uniform(0, 0.01))
        os.kill(command.pid, number)
        code, said = command.wait()
        assert "Traceback" not in said, said
        # Before the command has begun, a signal does what it does to any program.
        assert code in (0, 128 + number, -number), said
        check_episode(folder, code)
        if code == 128 + number:
            assert "Stopped." in said
            stopped.append(folder)
    assert len(stopped) > 3
    videos = [folder for folder in stopped if (folder / "episode.mp4").exists()]
    assert len(videos) > len(stopped) / 2
    again = start(tmp_path / "said", *ROLLOUT, 3, "--out", stopped[0], "--overwrite")
    assert again.wait()[0] == 0
    check_episode(stopped[0], 0, 3)


class Moments:
    """Sends signals to a forked process at one point of an episode, where they did harm."""

    def __init__(self, monkeypatch, number, count):
        self._patch = monkeypatch.setattr
        self._number, self._count = number, count
        self._tests = os.getpid()

    def send(self):
        if self._count and os.getpid() != self._tests:
            count, self._count = self._count, 0
            for _ in range(count):
                signal.raise_signal(self._number)

    def around(self, owner, name, before, is_it=lambda *_, **__: True):
        """Send when a function of `owner` begins or has ended whose arguments `is_it` likes."""
        original = getattr(owner, name)

        def replacement(*given, **named):
            chosen = is_it(*given, **named)
            if chosen and before:
                self.send()
            result = original(*given, **named)
            if chosen and not before:
                self.send()
            return result

        self._patch(owner, name, replacement)


def is_encoder(*_, **named):
    """imageio-ffmpeg starts FFmpeg as well, to try it."""
    return "start_new_session" in named


def is_video(path, _):
    return path.name == "episode.part.mp4"


def has_lines(recorder):
    return bool(recorder.lines)


POINTS = {
    "while the encoder starts": (video.imageio_ffmpeg, "get_ffmpeg_exe", True),
    "the encoder has started and nobody knows": (video.subprocess, "Popen", False, is_encoder),
    "the encoder is about to be closed": (subprocess.Popen, "communicate", True),
    "the encoder has been closed": (subprocess.Popen, "communicate", False),
    "the encoder is being ended": (subprocess.Popen, "kill", False),
    "the video is about to get its name": (Path, "replace", True, is_video),
    "a line has been written": (record, "append_whole", False),
    "the episode is about to be closed": (record.contextlib, "ExitStack", True),
    "the video has been closed": (record.Recorder, "_write_episode", True, has_lines),
    "the picture is about to be drawn": (record.Recorder, "_draw", True),
    "the picture has been drawn": (record.Recorder, "_draw", False),
}


NUMBERS = (signal.SIGHUP, signal.SIGTERM, signal.SIGINT)


@pytest.mark.parametrize("count", [1, 2])
@pytest.mark.parametrize("point", POINTS)
def test_a_signal_where_it_did_harm_closes_the_episode(tmp_path, monkeypatch, point, count):
    """Every file is whole, also if it is sent twice; each point gets two kinds of signals."""
    number = NUMBERS[(list(POINTS).index(point) + count) % 3]
    # Under `nohup` a command ignores it, and so would this test.
    if signal.getsignal(signal.SIGHUP) == signal.SIG_IGN:
        number = signal.SIGTERM
    Moments(monkeypatch, number, count).around(*POINTS[point])
    code, said = start(tmp_path / "said", *ROLLOUT, 4, "--out", tmp_path / "e").wait()
    assert code == 128 + number, said
    assert "Stopped." in said and "Traceback" not in said
    check_episode(tmp_path / "e", code, 4)
    assert (tmp_path / "e" / "steps.jsonl").stat().st_size
    assert not list((tmp_path / "e").glob("*.part.*"))


def test_a_fourth_signal_does_not_wait_for_a_disk_that_never_answers(tmp_path, monkeypatch):
    moments = Moments(monkeypatch, signal.SIGINT, files.MOST_WAITING + 1)
    moments.around(subprocess.Popen, "communicate", True)
    monkeypatch.setattr(subprocess.Popen, "wait", lambda *_, **__: 0)
    code, said = start(tmp_path / "said", *ROLLOUT, 4, "--out", tmp_path / "e").wait()
    assert code == 128 + signal.SIGINT, said


def test_kill_9_at_random_moments_leaves_files_that_can_be_read(tmp_path):
    rng = random.Random(9)
    folder = tmp_path / "e"
    for _ in range(MOMENTS):
        command = start(tmp_path / "said", *ROLLOUT, STEPS, "--out", folder, "--overwrite")
        wait_for_lines(folder, rng.randrange(STEPS), command)
        os.kill(command.pid, signal.SIGKILL)
        code, _ = command.wait()
        check_episode(folder, code)
    code, said = start(tmp_path / "said", *ROLLOUT, 3, "--out", folder, "--overwrite").wait()
    assert code == 0, said
    check_episode(folder, code, 3)


def test_a_full_disk_at_20_moments_is_one_sentence(tmp_path):
    full = 0
    for moment in range(MOMENTS):
        with small_disk(tmp_path / str(moment), 4 + 12 * moment) as disk:
            command = start(tmp_path / "said", *ROLLOUT, 20, "--out", disk / "e")
            code, said = command.wait()
            assert "Traceback" not in said, said
            assert code in (0, 2)
            check_episode(disk / "e", code, 20)
            if code == 2:
                full += 1
                assert f"Writing to {disk / 'e'} failed: No space left on device." in " ".join(
                    said.split()
                )
                assert "Make room" in said
    assert 3 < full < MOMENTS


@pytest.mark.parametrize("name", ["dangling", "dangling/below", "file", "file/below"])
def test_a_folder_that_cannot_be_written_is_named_before_the_simulator_is_built(tmp_path, name):
    (tmp_path / "dangling").symlink_to("/nonexistent/place")
    (tmp_path / "file").write_text("")
    commands = (
        [*ROLLOUT, 3],
        ["demo"],
        ["sweep", "--suite", "libero_object", "--inits", "0"],
        ["train", "--recipe", "mini"],
        ["train", "demos"],
        ["train", "fit", "--demos", tmp_path],
        ["train", "dagger"],
    )
    for words in commands:
        code, said = start(tmp_path / "said", *words, "--out", tmp_path / name).wait()
        assert code == 2
        assert "Cannot write to" in said and "--out" in said
        assert "Traceback" not in said


@HEARS_HANGUPS
def test_a_terminal_that_closes_ends_the_episode(tmp_path):
    """The process gets SIGHUP, and from then on whatever it prints is an error."""
    folder = tmp_path / "e"
    pid, terminal = pty.fork()
    if pid == 0:
        run(*ROLLOUT, 2000, "--out", folder)
    deadline = time.monotonic() + 60
    while lines_in(folder) < 5 and time.monotonic() < deadline:
        time.sleep(0.01)
    os.close(terminal)
    _, status = os.waitpid(pid, 0)
    assert os.waitstatus_to_exitcode(status) == 128 + signal.SIGHUP
    assert lines_in(folder) >= 5
    check_episode(folder, 128 + signal.SIGHUP, 2000)


def test_nohup_is_obeyed(tmp_path):
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        command = start(tmp_path / "said", *ROLLOUT, 30, "--out", tmp_path / "e")
    finally:
        signal.signal(signal.SIGHUP, before)
    wait_for_lines(tmp_path / "e", 5, command)
    os.kill(command.pid, signal.SIGHUP)
    code, said = command.wait()
    assert code == 0, said
    assert lines_in(tmp_path / "e") == 30


PRINTING = [
    "conditions",
    "--help",
    "sweep --help",
    "report SWEEP",
    "report --json SWEEP",
    "diagnose --json EPISODE",
]


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    """A sweep and an episode to print something about."""
    import sweep_folder

    folder = tmp_path_factory.mktemp("results")
    sweep_folder.write(folder / "sweep", [sweep_folder.episode(0, k) for k in range(3)])
    assert start(folder / "said", *ROLLOUT, 5, "--out", folder / "episode").wait()[0] == 0
    return folder


def printed_to(where, words, results):
    """Run a command whose stdout a shell sends somewhere → exit code and stderr."""
    words = words.replace("SWEEP", str(results / "sweep")).replace(
        "EPISODE", str(results / "episode")
    )
    line = f"{sys.executable} -m vla_tutorial.cli {words} {where}"
    done = subprocess.run(
        ["bash", "-o", "pipefail", "-c", line], capture_output=True, text=True, check=False
    )
    return done.returncode, done.stderr


@pytest.mark.parametrize("words", PRINTING)
def test_a_full_stdout_is_one_sentence(results, words):
    code, said = printed_to("> /dev/full", words, results)
    assert code == 2
    assert "No space left on device" in said
    assert len(said.splitlines()) <= 2 and "Traceback" not in said, said


@pytest.mark.parametrize("words", PRINTING[:1] + PRINTING[3:])
def test_a_closed_stdout_is_one_sentence(results, words):
    code, said = printed_to(">&-", words, results)
    assert code == 2
    assert "Standard output cannot be written: it is closed." in " ".join(said.split())
    assert "Traceback" not in said


def test_a_closed_stderr_costs_nothing(results):
    code, _ = printed_to("2>&-", "report SWEEP", results)
    assert code == 0


@pytest.mark.parametrize("words", ["conditions", "report --json SWEEP"])
def test_a_reader_that_ends_early_is_no_error(results, words):
    code, said = printed_to("| head -c 10", words, results)
    assert code in (0, 1)
    assert said == ""


def test_any_locale_can_be_printed_in(results, monkeypatch):
    monkeypatch.setenv("PYTHONIOENCODING", "ascii")
    code, said = printed_to("", "report SWEEP", results)
    assert code == 0, said


def test_a_page_that_cannot_be_written_is_one_sentence(tmp_path, results):
    with small_disk(tmp_path / "disk", 8) as disk:
        (disk / "filler").write_bytes(bytes(8 * 1024))
        words = ["report", results / "sweep", "--json", "--out", disk / "r.json"]
        code, said = start(tmp_path / "said", *words).wait()
        assert code == 2
        assert "No space left on device" in said and "Traceback" not in said
        assert os.listdir(disk) == ["filler"]
