"""The same tokens over every protocol as in process, bit for bit on a CPU."""

import base64
import contextlib
import io

import msgspec
import numpy as np
import pytest
import requests
from PIL import Image
from prometheus_client import parser
from prometheus_client.openmetrics import parser as openmetrics
from serve_fakes import INSTRUCTION, KEY, StandIn, expected, picture, serving, wait_until
from websockets.sync.client import connect

from vla_tutorial import actions, pixels, prompt
from vla_tutorial.policies import PolicyInput, load_policy, native_key
from vla_tutorial.policies.remote import RemotePolicy
from vla_tutorial.serve import Settings
from vla_tutorial.serve.arrays import json_array, packed_array
from vla_tutorial.wiring import Wiring

WIRING = Wiring(unnorm_key=KEY)
RAW = picture(7, 256)
"""As the simulator has it, with row 0 at the bottom."""

UPRIGHT = np.ascontiguousarray(RAW[::-1, ::-1])


@pytest.fixture(scope="module")
def mini():
    """`mini`, its tokens in process for RAW, and a server of it."""
    policy = load_policy("mini", device="cpu")
    item = PolicyInput(pixels.prepare(RAW, WIRING), prompt.build(WIRING, INSTRUCTION))
    tokens = policy.predict([item])[0]
    with serving(policy, settings=Settings(unnorm_key=KEY)) as server:
        server.tokens = tokens
        server.item = item
        server.action = actions.decode(tokens, policy.statistics[KEY])
        server.command = actions.to_libero(server.action, "binarised", 1.0)
        yield server


@pytest.fixture(scope="module")
def stand_in():
    with serving(settings=Settings(chunk=3)) as server:
        yield server


def act(server, **fields):
    return requests.post(
        f"{server.url}/act", json={"instruction": INSTRUCTION, **fields}, timeout=60
    )


def unpacked(entry):
    """What openpi's and vla-eval's clients make of an array."""
    plain = {key.decode() if isinstance(key, bytes) else key: value for key, value in entry.items()}
    return np.ndarray(buffer=plain["data"], dtype=plain["dtype"], shape=plain["shape"])


@pytest.mark.parametrize("form", ["raw", "png"])
def test_our_own(mini, form):
    policy = RemotePolicy(mini.url, form=form)
    assert (policy.predict([mini.item] * 2) == mini.tokens).all()
    assert policy.name == "mini" and policy.statistics.keys() >= {KEY}
    assert policy.provenance["checkpoint"] == "vla_tutorial/weights/mini"
    assert policy.provenance["device"] == "cpu" and policy.provenance["latency_ms"] > 0
    assert policy.provenance["served_at"] == mini.url
    assert native_key("remote", KEY, mini.url) == native_key("mini", KEY)
    policy.close()


def test_act_with_the_simulators_picture(mini):
    """`deploy.py` answers with the action in the data's units; the gripper is the client's matter."""
    answer = act(mini, image=json_array(RAW), wiring="published")
    found = answer.json()
    decoded = np.frombuffer(base64.b64decode(found["__numpy__"]), found["dtype"])
    assert (decoded == mini.action).all() and found["shape"] == [7]
    assert "rotate_180" in answer.headers["X-VLA-Picture"]
    for name in ("Position", "Queue-Length", "Infer-Ms", "Wait-Ms", "Batch"):
        assert float(answer.headers[f"X-VLA-{name}"]) >= 0


@pytest.mark.parametrize("wiring", [{"orientation": "raw"}, "upright"])
def test_act_with_an_upright_file(mini, wiring):
    buffer = io.BytesIO()
    Image.fromarray(UPRIGHT).save(buffer, "PNG")
    image = base64.b64encode(buffer.getvalue()).decode()
    answer = act(mini, image=image, wiring=wiring)
    assert answer.json() == mini.action.tolist(), "a file is answered with a plain list"


def test_act_with_a_finished_picture_within_json(mini):
    inner = {"image": json_array(mini.item.pixels), "instruction": INSTRUCTION, "unnorm_key": KEY}
    body = {"encoded": msgspec.json.encode(inner).decode()}
    answer = requests.post(f"{mini.url}/act", json=body, timeout=60)
    found = msgspec.json.decode(answer.json())
    decoded = np.frombuffer(base64.b64decode(found["__numpy__"]), found["dtype"])
    assert (decoded == mini.action).all()
    assert answer.headers["X-VLA-Picture"] == "taken as it is"


def test_openpi(mini):
    with connect(f"ws://{mini.host}", max_size=None) as socket:
        about = msgspec.msgpack.decode(socket.recv())
        assert about["policy"] == "mini" and about["action_horizon"] == 1 and not about["repeated"]
        image = packed_array(UPRIGHT, text_keys=False)
        state = packed_array(np.zeros(8), text_keys=False)
        asked = {"observation/image": image, "observation/state": state, "prompt": INSTRUCTION}
        socket.send(msgspec.msgpack.encode(asked))
        answer = msgspec.msgpack.decode(socket.recv())
    assert (unpacked(answer["actions"]) == mini.command[None]).all()
    assert (unpacked(answer["tokens"]) == mini.tokens[None]).all()
    assert answer["server_timing"]["infer_ms"] > 0 and answer["server_timing"]["position"] == 0


def test_vla_eval(mini):
    with connect(f"ws://{mini.host}/vla-eval", max_size=None) as socket:

        def ask(kind, payload, seq):
            message = {"type": kind, "payload": payload, "seq": seq, "timestamp": 0.0}
            socket.send(msgspec.msgpack.encode(message))
            return seq

        ask("hello", {"protocol_version": 1, "harness_version": "0.8.0"}, 1)
        hello = msgspec.msgpack.decode(socket.recv())
        assert hello["type"] == "hello" and hello["seq"] == 1
        ask("episode_start", {"task": {"name": INSTRUCTION, "suite": KEY}}, 2)
        buffer = io.BytesIO()
        Image.fromarray(UPRIGHT).save(buffer, "PNG")
        image = {
            "__image__": True,
            "format": "png",
            "data": buffer.getvalue(),
            "shape": [256, 256, 3],
        }
        payload = {"images": {"agentview": image}, "task_description": INSTRUCTION}
        ask("observation", payload, 3)
        answer = msgspec.msgpack.decode(socket.recv())
        assert (answer["type"], answer["seq"]) == ("action", 3)
        assert (unpacked(answer["payload"]["actions"]) == mini.command.astype(np.float32)).all()
        assert answer["payload"]["tokens"] == mini.tokens.tolist()
        assert answer["payload"]["position"] == answer["payload"]["queue_length"] == 0
        assert answer["payload"]["infer_ms"] > 0
        ask("observation", {"images": {}, "task_description": INSTRUCTION}, 4)
        answer = msgspec.msgpack.decode(socket.recv())
        assert (answer["type"], answer["seq"]) == ("error", 4)
        ask("episode_end", {}, 5)
        ask("observation", payload, 6)
        assert msgspec.msgpack.decode(socket.recv())["seq"] == 6, "it goes on after an error"


def test_vla_eval_batches_across_sessions():
    """One session's picture is with the policy; the others', which wait, are answered together."""
    policy = StandIn(seconds=1)
    with contextlib.ExitStack() as stack, serving(policy) as server:
        opened = [stack.enter_context(connect(f"ws://{server.host}/vla-eval")) for _ in range(5)]
        for number, socket in enumerate(opened):
            image = packed_array(picture(number, 256), text_keys=True)
            payload = {"images": {"agentview": image}, "task_description": INSTRUCTION}
            asked = {"type": "observation", "payload": payload, "seq": number, "timestamp": 0.0}
            socket.send(msgspec.msgpack.encode(asked))
            if number == 0:
                wait_until(lambda: policy.entered)
        answers = [msgspec.msgpack.decode(socket.recv(timeout=60)) for socket in opened]
    assert policy.batches == [1, 4]
    for number, answer in enumerate(answers):
        assert (answer["type"], answer["seq"]) == ("action", number)
        raw = np.ascontiguousarray(picture(number, 256)[::-1, ::-1])
        tokens = expected(pixels.prepare(raw, WIRING), prompt.build(WIRING, INSTRUCTION).text)
        assert answer["payload"]["tokens"] == tokens.tolist()


def test_a_chunk_is_repeated_where_the_client_insists(stand_in):
    asked = {"observation/image": packed_array(UPRIGHT, text_keys=False), "prompt": "x"}
    for query, length in (("", 3), ("?chunk=5", 5)):
        with connect(f"ws://{stand_in.host}/{query}", max_size=None) as socket:
            about = msgspec.msgpack.decode(socket.recv())
            assert (about["action_horizon"], about["repeated"]) == (length, True)
            socket.send(msgspec.msgpack.encode(asked))
            found = unpacked(msgspec.msgpack.decode(socket.recv())["actions"])
        assert found.shape == (length, 7) and (found == found[0]).all()


def test_another_size_without_wiring_is_resized_as_openvlas_processor_does(stand_in):
    answer = act(stand_in, image=json_array(picture(1, 300)))
    assert answer.headers["X-VLA-Picture"].startswith("300 x 300; resized to 224 x 224")
    seen = pixels.resize_naive(picture(1, 300))
    text = prompt.build(WIRING, INSTRUCTION).text
    statistics = StandIn().statistics[KEY]
    action = actions.decode(expected(seen, text), statistics)
    found = np.frombuffer(base64.b64decode(answer.json()["__numpy__"]))
    assert (found == action).all()


def test_a_clients_faults_of_pixels_and_prompt_are_obeyed(stand_in):
    changes = {"colour_order": "bgr", "jpeg": False, "center_crop": False, "letter_case": "upper"}
    wiring = Wiring(unnorm_key=KEY, **changes)
    answer = act(stand_in, image=json_array(RAW), wiring=changes)
    tokens = expected(pixels.prepare(RAW, wiring), prompt.build(wiring, INSTRUCTION).text)
    action = actions.decode(tokens, StandIn().statistics[KEY])
    assert (np.frombuffer(base64.b64decode(answer.json()["__numpy__"])) == action).all()


def test_the_page_and_what_it_shows(stand_in):
    page = requests.get(stand_in.url, timeout=30)
    assert "status.json" in page.text and page.headers["content-type"].startswith("text/html")
    act(stand_in, image=json_array(RAW))
    status = requests.get(f"{stand_in.url}/status.json", timeout=30).json()
    assert status["about"]["policy"] == "stand-in"
    assert {"127.0.0.1"} == {client["name"] for client in status["clients"]}
    assert status["actions_per_second"] > 0 and status["latency_ms"]["p95"] >= 0


def test_prometheus_reads_the_metrics(stand_in):
    """By its own parser, in both forms that it may ask for. Version 3 refuses an answer without a content type."""
    act(stand_in, image=json_array(RAW))
    act(stand_in, image="no picture")
    forms = {
        "": (parser, "text/plain; version="),
        "application/openmetrics-text; version=1.0.0": (
            openmetrics,
            "application/openmetrics-text",
        ),
    }
    for accept, (reader, kind) in forms.items():
        answer = requests.get(
            f"{stand_in.url}/metrics", headers={"Accept": accept or "*/*"}, timeout=30
        )
        assert answer.headers["content-type"].startswith(kind)
        found = {f.name: f for f in reader.text_string_to_metric_families(answer.text)}
        names = ("answers", "refusals", "latency_seconds", "batch_pictures", "waiting", "sessions")
        assert {f"vla_tutorial_{name}" for name in names} <= set(found)
        counts = {
            s.labels["protocol"]: s.value
            for s in found["vla_tutorial_answers"].samples
            if s.name.endswith("_total")
        }
        assert counts["act"] >= 1
        refused = [s.labels for s in found["vla_tutorial_refusals"].samples]
        assert {"protocol": "act", "status": "422"} in refused
