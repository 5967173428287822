"""Which share of the tokens is the same over every protocol as in process.

    python benchmarks/serve_tokens.py --out results/serve_tokens_cpu.json      (`mini`, two cores, 2 minutes)

`serve_throughput.py` measures it too, for the policy that it has loaded, such as OpenVLA's shapes on a
GPU. In process each picture is asked about alone. "alone" is one client that asks one question after
the other, so that only the protocol differs. "together" is several clients at once. A CPU answers
them one by one, so every share must be 1. A GPU answers them in batches, whose size changes the
last bits of its sums.

OpenVLA's `/act` answers with an action: the seven numbers are compared with those of the right tokens.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shlex
import sys
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from serve_soak import WAYS, actions_by_act, prompt_of
from serve_throughput import FRAMES, SUITE, add_common, load, record_frames, served

from vla_tutorial import actions, pixels
from vla_tutorial.files import write_atomically
from vla_tutorial.policies import Policy, PolicyInput
from vla_tutorial.prompt import Prompt
from vla_tutorial.provenance import machine, versions
from vla_tutorial.wiring import Wiring

INSTRUCTIONS = (
    "pick up the milk and place it in the basket",
    "pick up the alphabet soup and place it in the basket",
)

Question = tuple[Any, str]
"""A finished picture and an instruction."""


def questions() -> list[Question]:
    """Every recorded frame with every instruction."""
    wiring = Wiring(unnorm_key=SUITE)
    finished = [pixels.prepare(frame, wiring) for frame in np.load(os.environ[FRAMES])]
    return [(picture, text) for text in INSTRUCTIONS for picture in finished]


def in_process(policy: Policy, asked: Sequence[Question]) -> np.ndarray:
    """Tokens (N, 7), each of a batch of one."""
    items = [PolicyInput(picture, Prompt(prompt_of(text))) for picture, text in asked]
    return np.stack([policy.predict([item])[0] for item in items])


def ask_all(port: int, way: str, asked: Sequence[Question]) -> np.ndarray:
    """One client's answers: tokens (N, 7); actions where the protocol is OpenVLA's."""
    with contextlib.ExitStack() as opened:
        ask = actions_by_act(port) if way == "act" else WAYS[way](port, opened)
        return np.stack([ask(picture, text) for picture, text in asked])


def ask_together(port: int, way: str, asked: Sequence[Question], clients: int) -> np.ndarray:
    """The same, the questions dealt out to so many clients that ask at once."""
    found = None
    with ThreadPoolExecutor(clients) as pool:
        shares = [asked[k::clients] for k in range(clients)]
        runs = [pool.submit(ask_all, port, way, share) for share in shares]
        for k, run in enumerate(runs):
            answers = run.result()
            if found is None:
                found = np.empty((len(asked), 7), answers.dtype)
            found[k::clients] = answers
    return found


def share(found: np.ndarray, right: np.ndarray) -> dict[str, float]:
    """Of equal tokens, and of pictures whose seven are all equal."""
    same = found == right
    return {"tokens": round(same.mean(), 4), "actions": round(same.all(axis=1).mean(), 4)}


def measure(policy: Policy, batch_seconds, clients: int) -> dict[str, Any]:
    """Every protocol's shares, and that of the policy asked in process a second time."""
    asked = questions()
    right = in_process(policy, asked)
    found: dict[str, Any] = {
        "pictures": len(asked),
        "different_answers": len({tuple(row) for row in right.tolist()}),
        "clients_together": clients,
        "in_process_again": share(in_process(policy, asked), right),
    }
    statistics = actions.find_statistics(SUITE, policy.statistics)
    with served(policy, batch_seconds, SUITE) as server:
        for way in WAYS:
            wanted = right
            if way == "act":
                wanted = np.stack([actions.decode(row, statistics) for row in right])
            alone = ask_all(server.port, way, asked)
            together = ask_together(server.port, way, asked, clients)
            found[way] = {"alone": share(alone, wanted), "together": share(together, wanted)}
            print(way, json.dumps(found[way]), flush=True)
    return found


def main() -> None:
    import torch

    from vla_tutorial.sweep import prompts_of, warm_up

    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add_common(parser)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        os.environ[FRAMES] = str(Path(folder) / "frames.npy")
        record_frames(Path(os.environ[FRAMES]))
        plan, policy = load(given)
        batch_seconds = warm_up(policy, prompts_of(plan), 32)
        found = measure(policy, batch_seconds, given.clients)
    what = "random weights in openvla-7b's shapes; no published checkpoint was run"
    gpus = [torch.cuda.get_device_name(k) for k in range(torch.cuda.device_count())]
    about = {
        "command": shlex.join(["python", *sys.argv]),
        "about": what if given.random_openvla else policy.name,
        "machine": machine(gpus),
        "note": given.note,
        "versions": versions(),
        "policy": {k: v for k, v in policy.provenance.items() if k != "checkpoint"},
        "torch_threads": torch.get_num_threads(),
    }
    print(json.dumps(found))
    if given.out:
        write_atomically(given.out, json.dumps({**about, **found}, indent=1) + "\n")


if __name__ == "__main__":
    main()
