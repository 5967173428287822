"""A soak: 100,000 requests of 30 clients over the loopback interface, with a stand-in policy.

    python benchmarks/serve_soak.py --out results/serve_soak.json        (two cores, some 10 minutes)

The stand-in's tokens are a hash of picture and prompt, which every client checks. So an answer that
goes to the wrong client is seen. The clients speak all four protocols. The server is a process of
its own; its resident memory is looked at once a second. Memory counts as flat when the highest look
after the first tenth of the requests is at most 50 MiB above the lowest.
"""

from __future__ import annotations

import argparse
import base64
import contextlib
import hashlib
import http.client
import json
import os
import shlex
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import psutil
from websockets.sync.client import connect

from vla_tutorial import actions
from vla_tutorial.files import write_atomically
from vla_tutorial.policies import PolicyInput
from vla_tutorial.policies.remote import RemotePolicy
from vla_tutorial.prompt import Prompt
from vla_tutorial.provenance import machine, versions
from vla_tutorial.serve.arrays import json_array, packed_array
from vla_tutorial.wiring import OPENVLA_TEMPLATE

KEY = "libero_object"
PICTURES = 40
PROCESSES = 3
"""Of clients, each with a thread for each client."""

FLAT_MIB = 50


def expected(pixels, text):
    """The stand-in's tokens for a picture and a prompt."""
    digest = hashlib.sha256(np.ascontiguousarray(pixels).tobytes() + text.encode()).digest()
    return np.frombuffer(digest[:7], np.uint8).astype(np.int64) + 31744


class StandIn:
    """A policy that takes `seconds` an answer, whatever the batch."""

    name, privileged = "stand-in", False

    def __init__(self, seconds: float) -> None:
        self.statistics = {KEY: actions.embedded_statistics()[KEY]}
        self.provenance = {"checkpoint": "none", "revision": None, "device": "none"}
        self.seconds = seconds

    def predict(self, batch):
        """Tokens that can be checked."""
        time.sleep(self.seconds)
        return np.array([expected(item.pixels, item.prompt.text) for item in batch])

    def close(self):
        """Nothing to release."""


def serve(port: int) -> None:
    """The server's process."""
    from vla_tutorial.serve import Limits, Service, listen, make_app, make_server

    service = Service(StandIn(0.002), limits=Limits(per_second=10_000))
    with listen("127.0.0.1", port) as listening:
        print(listening.getsockname()[1], flush=True)
        make_server(make_app(service), service).run(sockets=[listening])


Ask = Callable[[Any, str], Any]
"""Asks about a finished picture with an instruction → tokens (7,)."""


def by_tokens(port: int, opened: contextlib.ExitStack) -> Ask:
    policy = RemotePolicy(f"http://127.0.0.1:{port}")

    def ask(pixels, instruction):
        return policy.predict([PolicyInput(pixels, Prompt(prompt_of(instruction)))])[0]

    return ask


def actions_by_act(port: int) -> Ask:
    """As an `Ask`, but the answer is an action (7,)."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)

    def ask(pixels, instruction):
        body = json.dumps({"image": json_array(pixels), "instruction": instruction})
        connection.request("POST", "/act", body, {"X-Client": instruction.replace(" ", "-")})
        answer = json.loads(connection.getresponse().read())
        return np.frombuffer(base64.b64decode(answer["__numpy__"]))

    return ask


def by_act(port: int, opened: contextlib.ExitStack) -> Ask:
    statistics = actions.embedded_statistics()[KEY]
    act = actions_by_act(port)

    def ask(pixels, instruction):
        right = expected(pixels, prompt_of(instruction))
        same = (act(pixels, instruction) == actions.decode(right, statistics)).all()
        # An action has no tokens in it: it is compared with the right ones' action.
        return right if same else right * 0

    return ask


def by_openpi(port: int, opened: contextlib.ExitStack) -> Ask:
    socket = opened.enter_context(connect(f"ws://127.0.0.1:{port}", max_size=None))
    socket.recv()

    def ask(pixels, instruction):
        image = packed_array(pixels, text_keys=False)
        asked = {"observation/image": image, "prompt": instruction, "wiring": "finished"}
        socket.send(msgspec.msgpack.encode(asked))
        found = msgspec.msgpack.decode(socket.recv())["tokens"]
        return np.frombuffer(found[b"data"], np.int64)

    return ask


def by_vla_eval(port: int, opened: contextlib.ExitStack) -> Ask:
    socket = opened.enter_context(connect(f"ws://127.0.0.1:{port}/vla-eval", max_size=None))
    numbers = count()

    def ask(pixels, instruction):
        number = next(numbers)
        images = {"agentview": packed_array(pixels, text_keys=True)}
        payload = {"images": images, "task_description": instruction, "wiring": "finished"}
        message = {"type": "observation", "payload": payload, "seq": number, "timestamp": 0.0}
        socket.send(msgspec.msgpack.encode(message))
        answer = msgspec.msgpack.decode(socket.recv())
        assert answer["seq"] == number, answer
        return np.array(answer["payload"]["tokens"])

    return ask


WAYS = {"tokens": by_tokens, "act": by_act, "openpi": by_openpi, "vla-eval": by_vla_eval}


def prompt_of(instruction: str) -> str:
    """The prompt's text."""
    return OPENVLA_TEMPLATE.format(instruction=instruction)


def client(port: int, number: int, requests: int, way: str) -> int:
    """So many requests of one client, each checked; how many answers were wrong."""
    rng = np.random.default_rng(number)
    instruction = f"client {number}"
    pictures = [rng.integers(0, 256, (224, 224, 3), np.uint8) for _ in range(PICTURES)]
    right = [expected(pixels, prompt_of(instruction)) for pixels in pictures]
    wrong = 0
    with contextlib.ExitStack() as opened:
        ask = WAYS[way](port, opened)
        for done in range(requests):
            k = done % PICTURES
            wrong += not np.array_equal(ask(pictures[k], instruction), right[k])
    return wrong


def several(port: int, first: int, clients: int, requests: int) -> None:
    """A process with a thread for each of its clients; prints what came out."""
    names = list(WAYS)
    with ThreadPoolExecutor(clients) as pool:
        numbers = range(first, first + clients)
        runs = [pool.submit(client, port, n, requests, names[n % len(names)]) for n in numbers]
        wrong = sum(run.result() for run in runs)
    print(json.dumps({"answers": requests * clients, "wrong": wrong}))


def soak(requests: int, clients: int, most_seconds: float) -> dict[str, Any]:
    """Run all; raises where a client has failed or time is up."""
    server = _start("--serve", "0", stdout=subprocess.PIPE, text=True)
    processes = []
    try:
        port = int(server.stdout.readline())
        each = (requests + clients - 1) // clients
        begin = time.monotonic()
        for share in np.array_split(np.arange(clients), min(PROCESSES, clients)):
            how = (port, share[0], len(share), each)
            processes.append(_start("--client", *how, stdout=subprocess.PIPE, text=True))
        looks: list[float] = []
        stop = threading.Event()
        threading.Thread(target=_look, args=(server.pid, looks, stop), daemon=True).start()
        answers = []
        for process in processes:
            left = most_seconds - (time.monotonic() - begin)
            said, _ = process.communicate(timeout=max(left, 1))
            assert process.returncode == 0, "a client has failed"
            answers.append(json.loads(said))
        seconds = time.monotonic() - begin
        stop.set()
    finally:
        for process in (*processes, server):
            process.kill()
            process.wait()
    return {"clients": clients, **_figures(answers, looks, seconds)}


def _figures(answers, looks, seconds) -> dict[str, Any]:
    settled = looks[len(looks) // 10 :]
    growth = max(settled) - min(settled)
    total = sum(answer["answers"] for answer in answers)
    return {
        "requests": total,
        "wrong": sum(answer["wrong"] for answer in answers),
        "protocols": list(WAYS),
        "seconds": round(seconds, 1),
        "requests_per_s": round(total / seconds, 1),
        "server_memory_mib": {
            "first": looks[0],
            "lowest": min(settled),
            "highest": max(settled),
            "last": looks[-1],
            "every_tenth": looks[:: max(1, len(looks) // 10)],
        },
        "growth_mib": round(growth, 1),
        "flat": growth <= FLAT_MIB,
    }


def _start(*arguments, **options):
    command = [sys.executable, __file__, *map(str, arguments)]
    return subprocess.Popen(command, env={**os.environ, "OMP_NUM_THREADS": "1"}, **options)


def _look(pid: int, looks: list[float], stop: threading.Event) -> None:
    process = psutil.Process(pid)
    while not stop.wait(1):
        looks.append(round(process.memory_info().rss / 2**20, 1))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--requests", type=int, default=100_000)
    parser.add_argument("--clients", type=int, default=30)
    parser.add_argument("--most-seconds", type=float, default=3600)
    parser.add_argument("--note", help="what else the machine was doing")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--serve", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--client", nargs=4, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.serve is not None:
        serve(given.serve)
    elif given.client:
        several(*map(int, given.client))
    else:
        about = {
            "command": shlex.join(["python", *sys.argv]),
            "about": "a stand-in policy; the server, its protocols and its queue are the real ones",
            "machine": {**machine([]), "load_before": os.getloadavg()},
            "note": given.note,
            "versions": versions(),
        }
        found = {**about, **soak(given.requests, given.clients, given.most_seconds)}
        print(json.dumps(found))
        if given.out:
            write_atomically(given.out, json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
