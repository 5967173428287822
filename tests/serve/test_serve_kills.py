"""kill -9 of the server, of clients and of the network at random moments: everyone recovers, no answer is another's.

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
from serve_fakes import (
    Client,
    StandIn,
    all_go_on,
    an_input,
    at_work,
    expected,
    serving,
    wait_for,
    wait_until,
)

from vla_tutorial.policies.remote import RemotePolicy, Server

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


def test_a_server_that_is_killed_and_comes_back():
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    url = f"http://127.0.0.1:{port}"
    chance = random.Random(0)
    server = start(HERE / "serve_fakes.py", port)
    try:
        wait_for(url)
        clients = [Client(url, f"client-{number}") for number in range(4)]
        with at_work(clients):
            for _ in range(KILLS):
                all_go_on(clients)
                time.sleep(chance.random() * 0.1)
                server.send_signal(signal.SIGKILL)
                server.wait()
                server = start(HERE / "serve_fakes.py", port)
            all_go_on(clients)
    finally:
        server.kill()
        server.wait()
    assert [client.error for client in clients] == [None] * 4
    assert [client.wrong for client in clients] == [0] * 4


def test_clients_that_are_killed_harm_nobody():
    chance = random.Random(1)
    with serving() as server:
        steady = Client(server.url, "steady")
        with at_work([steady]):
            for number in range(KILLS):
                process = start("-c", CLIENT, server.url, f"x{number}", stdout=subprocess.PIPE)
                assert process.stdout.readline() == b"0\n"
                time.sleep(chance.random() * 0.05)
                process.kill()
                process.communicate()
                before = steady.answers
                wait_until(lambda before=before: steady.answers > before + 5)
        assert steady.error is None and steady.wrong == 0
        wait_until(lambda: server.service.answering.waiting == 0)


class Cable:
    """Carries bytes between clients and a server, until it is cut; then the next connection is whole again."""

    def __init__(self, port):
        self.port = port
        self.socket = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self.socket.getsockname()[1]}"
        self.limits = []
        self.open = []
        threading.Thread(target=self.carry, daemon=True).start()

    def carry(self):
        while True:
            try:
                near, _ = self.socket.accept()
            except OSError:
                return
            far = socket.create_connection(("127.0.0.1", self.port))
            limit = self.limits.pop() if self.limits else None
            silent = threading.Event()
            self.open.append((near, far, silent))
            for one, other, bytes_ in ((near, far, limit), (far, near, None)):
                pumped = (one, other, silent, bytes_)
                threading.Thread(target=pump, args=pumped, daemon=True).start()

    def cut(self, silently):
        """Cut every connection; silently, as a cable that is pulled: nobody is told."""
        cut, self.open = self.open, []
        for near, far, silent in cut:
            if silently:
                silent.set()
            else:
                hang_up(near, far)
        return len(cut)


def pump(one, other, silent, limit):
    """Carry bytes from one to the other until the limit, then cut."""
    carried = 0
    with contextlib.suppress(OSError):
        while data := one.recv(65536):
            if not silent.is_set():
                other.sendall(data if limit is None else data[: limit - carried])
            carried += len(data)
            if limit is not None and carried >= limit:
                break
    hang_up(one, other)


def hang_up(*ends):
    for end in ends:
        with contextlib.suppress(OSError):
            end.shutdown(socket.SHUT_RDWR)
        end.close()


@pytest.mark.parametrize("cut_after", [0, 100, 200_000])
def test_a_network_that_breaks_in_the_middle(cut_after):
    """A cable between the two that is cut after so many bytes, three times."""
    with serving() as server:
        cable = Cable(server.port)
        with cable.socket:
            # Until the policy is there, the cable is whole.
            policy = RemotePolicy(cable.url, patience=120)
            policy.close()
            cable.limits = [cut_after] * 3
            for number in range(8):
                item = an_input(number)
                found = policy.predict([item])[0]
                assert (found == expected(item.pixels, item.prompt.text)).all()
            assert not cable.limits


def test_a_network_that_is_cut_at_random():
    """Half of the cuts are silent: a client then waits until its time is up, and asks on a new connection."""
    chance = random.Random(2)
    with serving(StandIn(0.005)) as server:
        cable = Cable(server.port)
        with cable.socket:
            clients = [Client(cable.url, f"client-{number}") for number in range(4)]
            for client in clients:
                # 30 s are right for a class, and too long for a test.
                client.policy._server = Server(cable.url, seconds=0.5)
            cuts = 0
            with at_work(clients):
                for _ in range(KILLS):
                    all_go_on(clients)
                    time.sleep(chance.random() * 0.1)
                    cuts += cable.cut(silently=chance.random() < 0.5) >= len(clients)
                all_go_on(clients)
    assert cuts == KILLS
    assert [client.error for client in clients] == [None] * 4
    assert [client.wrong for client in clients] == [0] * 4
