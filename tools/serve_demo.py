"""A class of four on one computer: one server with `mini`, four simulators. `make serve-demo`.

    python tools/serve_demo.py [--out out/class] [--port 8000] [--no-browser]

Each simulator is a process of its own, `vla-tutorial rollout --policy remote`, as on a student's
laptop. The status page opens in a browser. It takes a few minutes on two cores, and 5 GB of memory.
Ctrl-C ends all of it.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import subprocess
import sys
import time
import urllib.request
import webbrowser
from pathlib import Path

STUDENTS = 4
CLI = (sys.executable, "-m", "vla_tutorial.cli")


def wait_for(url: str, server: subprocess.Popen[bytes]) -> None:
    """Wait until the server answers; end this program where it has ended."""
    while server.poll() is None:
        with contextlib.suppress(OSError), urllib.request.urlopen(f"{url}healthz", timeout=5):
            return
        time.sleep(0.2)
    sys.exit("The server has ended; its error stands above.")


def start_students(url: str, out: Path) -> list[subprocess.Popen[bytes]]:
    """One rollout each, of different tasks."""
    how = ("--suite", "libero_object", "--init", "0", "--policy", "remote", "--url", url)
    found = []
    for task in range(STUDENTS):
        folder = out / f"student_{task}"
        command = [*CLI, "rollout", *how, "--task", str(task), "--out", str(folder), "--overwrite"]
        found.append(subprocess.Popen(command, stdout=subprocess.DEVNULL))
    return found


def show(url: str, students: list[subprocess.Popen[bytes]]) -> None:
    """A line every five seconds, until all episodes have ended."""
    while any(student.poll() is None for student in students):
        time.sleep(5)
        with urllib.request.urlopen(f"{url}status.json", timeout=60) as reply:
            status = json.load(reply)
        latency = status["latency_ms"].get("p95", "–")
        busy = sum(student.poll() is None for student in students)
        rate = status["actions_per_second"]
        print(f"{busy} simulators · {rate} actions/s · 95 of 100 answers within {latency} ms")


def main() -> None:
    """Start all, show how it goes, and say how the episodes ended."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--out", type=Path, default=Path("out/class"))
    parser.add_argument("--port", type=int, default=8000)
    parser.add_argument("--no-browser", action="store_true")
    given = parser.parse_args()
    url = f"http://127.0.0.1:{given.port}/"
    server = subprocess.Popen([*CLI, "serve", "--policy", "mini", "--port", str(given.port)])
    students: list[subprocess.Popen[bytes]] = []
    try:
        wait_for(url, server)
        if not given.no_browser:
            webbrowser.open(url)
        students = start_students(url, given.out)
        show(url, students)
        for task in range(STUDENTS):
            found = json.loads((given.out / f"student_{task}" / "episode.json").read_text())
            outcome = {True: "success", False: "failure", None: "incomplete"}[found["success"]]
            print(f"student {task}: {outcome} after {found['steps']} steps")
    except KeyboardInterrupt:
        print("Stopped.")
    finally:
        for process in (*students, server):
            process.terminate()
        for process in (*students, server):
            process.wait()


if __name__ == "__main__":
    main()
