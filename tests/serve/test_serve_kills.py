"""kill -9 of the server and of clients at random moments: everyone recovers, no answer is another's.

Three of each here; `VLA_KILLS=20 pytest tests/serve/test_serve_kills.py` does twenty.
"""

import contextlib
import os
import random
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from serve_fakes import an_input, expected, serving, wait_for

from vla_tutorial.policies.remote import RemotePolicy

KILLS = int(os.environ.get("VLA_KILLS", 3))
HERE = Path(__file__).parent
ROOT = HERE.parent.parent

CLIENT = """
import sys
from serve_fakes import an_input, expected
from vla_tutorial.policies.remote import RemotePolicy
policy = RemotePolicy(sys.argv[1])
for number in range(10**9):
    item = an_input(number % 50, sys.argv[2])
    assert (policy.predict([item])[0] == expected(item.pixels, item.prompt.text)).all()
    print(number, flush=True)
"""


def start(*arguments, **options):
    environment = {**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{HERE}"}
    return subprocess.Popen([sys.executable, *map(str, arguments)], env=environment, **options)


class Client(threading.Thread):
    """Asks and checks until it is told to stop."""

    def __init__(self, url, name):
        super().__init__(name=name)
        self.policy = RemotePolicy(url, patience=120)
        self.answers = self.wrong = 0
        self.error = None
        self.stopping = False

    def run(self):
        items = [an_input(number, self.name) for number in range(20)]
        right = [expected(item.pixels, item.prompt.text) for item in items]
        try:
            while not self.stopping:
                number = self.answers % len(items)
                found = self.policy.predict([items[number]])[0]
                self.wrong += not (found == right[number]).all()
                self.answers += 1
        except Exception as e:
            self.error = e


def wait_until(condition, seconds=120):
    ends = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < ends, "it takes too long"
        time.sleep(0.02)


def all_go_on(clients):
    """Wait until each client has more answers."""
    for client in clients:
        before = client.answers
        wait_until(lambda client=client, before=before: client.answers > before + 3)


def test_a_server_that_is_killed_and_comes_back():
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    url = f"http://127.0.0.1:{port}"
    chance = random.Random(0)
    server = start(HERE / "serve_fakes.py", port)
    clients = []
    try:
        wait_for(url)
        clients = [Client(url, f"client-{number}") for number in range(4)]
        for client in clients:
            client.start()
        for _ in range(KILLS):
            all_go_on(clients)
            time.sleep(chance.random() * 0.1)
            server.send_signal(signal.SIGKILL)
            server.wait()
            server = start(HERE / "serve_fakes.py", port)
        all_go_on(clients)
    finally:
        for client in clients:
            client.stopping = True
        for client in clients:
            client.join()
        server.kill()
        server.wait()
    assert [client.error for client in clients] == [None] * 4
    assert [client.wrong for client in clients] == [0] * 4


def test_clients_that_are_killed_harm_nobody():
    chance = random.Random(1)
    with serving() as server:
        steady = Client(server.url, "steady")
        steady.start()
        try:
            for number in range(KILLS):
                process = start("-c", CLIENT, server.url, f"x{number}", stdout=subprocess.PIPE)
                assert process.stdout.readline() == b"0\n"
                time.sleep(chance.random() * 0.05)
                process.kill()
                process.communicate()
                before = steady.answers
                wait_until(lambda before=before: steady.answers > before + 5)
        finally:
            steady.stopping = True
            steady.join()
        assert steady.error is None and steady.wrong == 0
        wait_until(lambda: server.service.answering.waiting == 0)


@pytest.mark.parametrize("cut_after", [0, 100, 200_000])
def test_a_network_that_breaks_in_the_middle(cut_after):
    """A cable between the two that is cut after so many bytes, three times."""
    with serving() as server, socket.create_server(("127.0.0.1", 0)) as cable:
        cuts = []

        def carry():
            while True:
                try:
                    near, _ = cable.accept()
                except OSError:
                    return
                far = socket.create_connection(("127.0.0.1", server.port))
                cut = len(cuts) < 3
                cuts.append(cut)
                for one, other in ((near, far), (far, near)):
                    limit = cut_after if cut and one is near else 10**12
                    threading.Thread(target=pump, args=(one, other, limit), daemon=True).start()

        threading.Thread(target=carry, daemon=True).start()
        # Until the policy is there, the cable is whole.
        cuts += [False] * 3
        policy = RemotePolicy(f"http://127.0.0.1:{cable.getsockname()[1]}", patience=120)
        policy.close()
        cuts.clear()
        for number in range(8):
            item = an_input(number)
            found = policy.predict([item])[0]
            assert (found == expected(item.pixels, item.prompt.text)).all()
        assert sum(cuts) == 3


def pump(one, other, limit):
    """Carry bytes from one to the other until the limit, then cut."""
    carried = 0
    try:
        while carried < limit and (data := one.recv(65536)):
            other.sendall(data[: limit - carried])
            carried += len(data)
    except OSError:
        pass
    for end in (one, other):
        with contextlib.suppress(OSError):
            end.shutdown(socket.SHUT_RDWR)
        end.close()
