"""Clients that others wrote, as PyPI has them, against a real server: OpenVLA's README, openpi, vla-eval, `requests`.

openpi's package asks for numpy below 2, so pip installs the wheels alone, in a folder of their own (0.6 MB). Without PyPI these are skipped.
"""

import os
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest
from serve_fakes import INSTRUCTION, KEY, StandIn, expected, picture, serving

from vla_tutorial import actions, pixels, prompt
from vla_tutorial.wiring import Wiring

WHEELS = ("openpi-client==0.1.2", "vla-eval==0.8.0")
WIRING = Wiring(unnorm_key=KEY)
UPRIGHT = picture(5, 256)


@pytest.fixture(scope="module")
def wheels(tmp_path_factory):
    folder = tmp_path_factory.mktemp("wheels")
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", folder]
    done = subprocess.run([*pip, *WHEELS], capture_output=True, text=True, timeout=300)
    if done.returncode:
        pytest.skip(f"PyPI does not answer: {done.stderr[-200:]}")
    return folder


@pytest.fixture(scope="module")
def server():
    with serving() as found:
        yield found


def run(server, folder, script, tmp_path):
    """What a client's script leaves in OUT, as an array."""
    np.save(tmp_path / "image.npy", UPRIGHT)
    names = {"PORT": server.port, "OUT": str(tmp_path / "out.npy"), "INSTRUCTION": INSTRUCTION}
    head = "".join(f"{name} = {value!r}\n" for name, value in names.items())
    head += f"import numpy as np\nimage = np.load({str(tmp_path / 'image.npy')!r})\n"
    path = Path(tmp_path / "client.py")
    path.write_text(head + textwrap.dedent(script))
    environment = {**os.environ, "PYTHONPATH": str(folder or "")}
    done = subprocess.run(
        [sys.executable, path], env=environment, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    return np.load(tmp_path / "out.npy")


def action_for(item):
    tokens = expected(item, prompt.build(WIRING, INSTRUCTION).text)
    return actions.decode(tokens, StandIn().statistics[KEY])


def upright():
    """The action for a picture that is upright already, in LIBERO's units."""
    seen = pixels.prepare(np.ascontiguousarray(UPRIGHT[::-1, ::-1]), WIRING)
    return actions.to_libero(action_for(seen), "binarised", 1.0)


def test_openvlas_own(server, tmp_path):
    """The client in the docstring of OpenVLA's vla-scripts/deploy.py."""
    script = """
    import requests
    import json_numpy
    json_numpy.patch()
    action = requests.post(
        f"http://127.0.0.1:{PORT}/act",
        json={"image": image, "instruction": INSTRUCTION}
    ).json()
    double = requests.post(
        f"http://127.0.0.1:{PORT}/act",
        json={"encoded": json_numpy.dumps({"image": image, "instruction": INSTRUCTION})}
    ).json()
    np.save(OUT, [action, json_numpy.loads(double)])
    """
    found = run(server, None, script, tmp_path)
    assert (found == action_for(pixels.resize_naive(UPRIGHT))).all()


def test_requests_in_five_lines(server, tmp_path):
    script = """
    import base64, io, requests
    from PIL import Image
    file = io.BytesIO(); Image.fromarray(image).save(file, "PNG")
    asked = {"image": base64.b64encode(file.getvalue()).decode(), "instruction": INSTRUCTION, "wiring": "upright"}
    np.save(OUT, requests.post(f"http://127.0.0.1:{PORT}/act", json=asked).json())
    """
    found = run(server, None, script, tmp_path)
    assert (actions.to_libero(found, "binarised", 1.0) == upright()).all()


def test_openpi(server, wheels, tmp_path):
    """As examples/libero/main.py of openpi asks, with --args.replan-steps 1."""
    script = """
    from openpi_client import websocket_client_policy
    client = websocket_client_policy.WebsocketClientPolicy("127.0.0.1", PORT)
    element = {
        "observation/image": image,
        "observation/wrist_image": image,
        "observation/state": np.zeros(8),
        "prompt": INSTRUCTION,
    }
    first = client.infer(element)["actions"]
    assert len(first) >= 1 and client.get_server_metadata()["policy"] == "stand-in"
    several = websocket_client_policy.WebsocketClientPolicy(f"ws://127.0.0.1:{PORT}/?chunk=5")
    assert (several.infer(element)["actions"] == first).all()
    np.save(OUT, first)
    """
    assert (run(server, wheels, script, tmp_path)[0] == upright()).all()


@pytest.mark.parametrize("form", ["png", "raw"])
def test_vla_eval(server, wheels, tmp_path, form):
    script = f"""
    import asyncio
    from vla_eval.connection import Connection
    from vla_eval.protocol.numpy_codec import set_image_format
    set_image_format("{form}")

    async def main():
        async with Connection(f"ws://127.0.0.1:{{PORT}}/vla-eval") as connection:
            assert connection.server_info["protocol_version"] == 1
            await connection.start_episode({{"task": {{"name": INSTRUCTION, "suite": "{KEY}"}}}})
            asked = {{"images": {{"agentview": image}}, "task_description": INSTRUCTION}}
            answer = await connection.act(asked)
            await connection.end_episode({{"metrics": {{"success": True}}}})
            return answer["actions"]

    np.save(OUT, asyncio.run(main()))
    """
    assert (run(server, wheels, script, tmp_path) == upright().astype(np.float32)).all()
