"""`vla-tutorial serve` as a user starts and stops it, and what it refuses before it loads anything."""

import os
import re
import signal
import subprocess
import sys

import pytest
import requests
from serve_fakes import INSTRUCTION, picture
from typer.testing import CliRunner

from vla_tutorial.cli.app import app
from vla_tutorial.serve.arrays import json_array

CLI = (sys.executable, "-m", "vla_tutorial.cli")


def test_it_says_where_it_serves_and_stops_at_a_signal(tmp_path):
    (tmp_path / "tokens.txt").write_text("a-token-of-today")
    command = [*CLI, "serve", "--port", "0", "--token-file", str(tmp_path / "tokens.txt")]
    server = subprocess.Popen(
        [*command, "--unnorm-key", "libero_object"],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "COLUMNS": "200"},
    )
    try:
        url = re.search(r"Serving mini at (http://\S+/)", server.stdout.readline())[1]
        body = {"image": json_array(picture(0)), "instruction": INSTRUCTION}
        head = {"Authorization": "Bearer a-token-of-today"}
        assert requests.post(f"{url}act", json=body, headers=head, timeout=60).ok
        assert requests.post(f"{url}act", json=body, timeout=60).status_code == 401
        server.send_signal(signal.SIGINT)
        said, _ = server.communicate(timeout=60)
    finally:
        server.kill()
        server.wait()
    assert "Stopped." in said and server.returncode == 0


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--host", "0.0.0.0"], "--token-file"),
        (["--policy", "expert"], "cannot be served"),
        (["--policy", "remote"], "itself a server's"),
        (["--policy", "openpi"], "itself a server's"),
        (["--replicas", "2"], "--engine ray"),
        (["--token-file", "/nowhere/tokens.txt"], "/nowhere/tokens.txt"),
        (["--chunk", "0"], "expected 1 to 50"),
        (["--unnorm-key", "nobodys"], "Unknown unnorm key"),
    ],
)
def test_what_it_refuses(words, says):
    found = CliRunner().invoke(app, ["serve", "--port", "0", *words])
    assert found.exit_code == 2, found.output
    assert says in " ".join(found.output.split())
