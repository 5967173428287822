"""A small policy as one ONNX graph: a picture and a prompt's ids in, the action's tokens out."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec
import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper

from vla_tutorial.actions import ACTION_DIMENSIONS, VOCABULARY
from vla_tutorial.arrays import Ints, Picture
from vla_tutorial.errors import TutorialError
from vla_tutorial.live import tokenizer_export
from vla_tutorial.live.graph import policy_file
from vla_tutorial.live.graph.policy_file import Run
from vla_tutorial.live.graph.policy_graph import END, Graph
from vla_tutorial.live.graph.policy_layers import LlamaGraph, project, vision
from vla_tutorial.live.site_files import entry, write_bytes
from vla_tutorial.openvla.engine import TEXT_STEP
from vla_tutorial.openvla.model import OpenVLA, tokens_after_eos
from vla_tutorial.openvla.sizes import OpenVLAConfig
from vla_tutorial.openvla.tokens import CheckedTokenizer
from vla_tutorial.pixels import SIZE, prepare
from vla_tutorial.policies import (
    PolicyInput,
    check_suite,
    known_suites,
    load_policy,
    native_key,
    unfamiliar,
)
from vla_tutorial.policies.model import ModelPolicy
from vla_tutorial.prompt import build
from vla_tutorial.scene import Scene
from vla_tutorial.sim import Simulator
from vla_tutorial.wiring import Wiring

FOLDER = "data/policy"

CHECKED_TASKS = (0, 6)
"""Whose first pictures come with the policy, so that a browser can check its own arithmetic."""


class PolicyCheck(msgspec.Struct, frozen=True):
    """Pictures and what the policy answers to them.

    Attributes:
        file: below the page's folder, pictures (N, 224, 224, 3) uint8 one after the other.
        ids: N prompts.
        tokens: N × 7, in OpenVLA's numbering.
    """

    file: str
    bytes: int
    sha256: str
    ids: list[list[int]]
    tokens: list[list[int]]


class PolicyEntry(msgspec.Struct, frozen=True, rename="camel"):
    """A policy in the manifest.

    Attributes:
        file: the graph, below the page's folder, packed by `policy_file`. Inputs `picture`
            (224, 224, 3) uint8 and `ids` (T,) int64; output `tokens` (7,) int64 in the model's own
            numbering.
        bytes, sha256: of the file.
        runs: of weights in the file, as `policy_file.pack` has them.
        tokenizer: its file, below the page's folder.
        vocabulary: ids of the model without padding; id i is OpenVLA's i + 32000 − vocabulary.
        end_of_sequence: an id after which answers count from the sequence's end.
        longest_prompt: in ids.
        check: what a browser should get.
        warnings: suite → Python's sentence for a policy that does not know it.
        refusals: suite → why Python does not run the policy there.
    """

    file: str
    bytes: int
    sha256: str
    runs: list[Run]
    tokenizer: str
    vocabulary: int
    end_of_sequence: int
    longest_prompt: int
    check: PolicyCheck
    warnings: dict[str, str]
    refusals: dict[str, str]


def export(
    folder: Path,
    name: str = "mini",
    checkpoint: str | None = None,
    suites: Sequence[str] = ("libero_object",),
) -> PolicyEntry:
    """Write the graph and its check into the page's folder.

    The graph is run with onnxruntime before it is kept, and must give the tokens of this package's
    own engine on the CPU.

    Args:
        folder: of the page. Files go to `data/policy` in it.
        name, checkpoint: as `policies.load_policy` takes them.
        suites: of the page. The first pictures of one that the policy knows are the check.

    Raises:
        TutorialError: the policy is no small model, or its graph gives other tokens.
        DiskFull: the disk is full.
    """
    policy = load_policy(name, checkpoint, device="cpu")
    if not isinstance(policy, ModelPolicy) or not policy.model.is_small:
        raise TutorialError(f"The policy {name!r} is not a small model. Choose mini.")
    packed, runs = policy_file.pack(build_graph(policy.model))
    known = known_suites(name, checkpoint)
    examples = _examples(policy, next((suite for suite in suites if suite in known), known[0]))
    check_tokens(policy, policy_file.unpack(packed, runs), examples)
    digest = hashlib.sha256(packed).hexdigest()
    # Browsers keep files by their addresses, so other weights get another one.
    file = f"{FOLDER}/{name}_{digest[:8]}.onnx.gz"
    write_bytes(folder / file, packed)
    config = policy.model.config
    return PolicyEntry(
        file,
        len(packed),
        digest,
        runs,
        _write_tokenizer(folder, policy),
        config.vocabulary,
        config.llama.eos_token_id,
        _longest_prompt(config),
        _write_check(folder, name, policy, examples),
        _sentences({suite: unfamiliar(policy, suite) for suite in suites}),
        _sentences({suite: _refusal(name, suite) for suite in suites}),
    )


def _refusal(name: str, suite: str) -> str:
    try:
        check_suite(name, suite)
    except TutorialError as e:
        return str(e)
    return ""


def _sentences(by_suite: Mapping[str, str]) -> dict[str, str]:
    return {suite: sentence for suite, sentence in by_suite.items() if sentence}


def _write_tokenizer(folder: Path, policy: ModelPolicy) -> str:
    assert isinstance(policy.tokenizer, CheckedTokenizer)
    empty = policy.model.config.empty_token_id
    return tokenizer_export.export(folder, policy.tokenizer.path, empty)


def _longest_prompt(config: OpenVLAConfig) -> int:
    """Ids of a prompt that the engine takes, which rounds lengths up."""
    room = config.llama.max_position_embeddings - config.vision.patches - ACTION_DIMENSIONS
    return room // TEXT_STEP * TEXT_STEP


def build_graph(model: OpenVLA) -> onnx.ModelProto:
    """The model's greedy decoding of one action, with a cache, as one graph.

    Seven steps are unrolled. Sizes and layers are the model's, so any depth and width works.
    """
    graph = Graph()
    llama = LlamaGraph(graph, model.language_model)
    image = project(graph, vision(graph, "picture", model.vision_backbone), model.projector)
    text = graph.op("Unsqueeze", llama.embed("ids"), graph.whole(0))
    x = graph.op("Concat", graph.slice(text, 0, 1, 1), image, graph.slice(text, 1, END, 1), axis=1)
    length = graph.op("Add", graph.op("Shape", "ids"), graph.whole(model.config.vision.patches))
    zero = graph.constant(np.array(0, np.int64))
    one = graph.constant(np.array(1, np.int64))
    positions = graph.op("Range", zero, graph.op("Squeeze", length), one)
    x = llama.prefill(x, graph.op("Unsqueeze", positions, graph.whole(0)))
    tokens = [llama.token(x)]
    for step in range(ACTION_DIMENSIONS - 1):
        position = graph.op("Add", length, graph.whole(step))
        position = graph.op("Unsqueeze", position, graph.whole(0))
        tokens.append(llama.token(llama.decode(llama.embed(tokens[-1]), position)))
    found = graph.op("Reshape", graph.op("Concat", *tokens, axis=1), graph.whole(-1))
    picture = helper.make_tensor_value_info("picture", TensorProto.UINT8, [SIZE, SIZE, 3])
    ids = helper.make_tensor_value_info("ids", TensorProto.INT64, ["T"])
    result = helper.make_tensor_value_info(found, TensorProto.INT64, [ACTION_DIMENSIONS])
    return graph.model([picture, ids], [result])


def run_graph(content: bytes, model: OpenVLA, inputs: Sequence[tuple[Picture, list[int]]]) -> Ints:
    """Run a graph with onnxruntime on pictures and prompts' ids: (N, 7) int64, OpenVLA's ids."""
    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    config = model.config
    rows = []
    for picture, ids in inputs:
        given = {"picture": picture, "ids": np.array(ids, np.int64)}
        row = session.run(None, given)[0].tolist()
        rows.append(tokens_after_eos(ids, row, config.llama.eos_token_id))
    return np.array(rows, np.int64) + (VOCABULARY - config.vocabulary)


def check_tokens(policy: ModelPolicy, content: bytes, examples: Sequence[PolicyInput]) -> None:
    """Raise a TutorialError where a graph answers otherwise than the policy does."""
    expected = policy.predict(examples)
    inputs = [(example.pixels, policy.ids(example.prompt)) for example in examples]
    found = run_graph(content, policy.model, inputs)
    different = int((found != expected).any(axis=1).sum())
    if different:
        raise TutorialError(
            f"The graph of {policy.name} gives other tokens than the policy for {different} of "
            f"{len(examples)} pictures. Install onnxruntime as constraints.txt has it, and build "
            "again."
        )


def _examples(policy: ModelPolicy, suite: str) -> list[PolicyInput]:
    """The first picture of some tasks under the published protocol."""
    wiring = Wiring(native_key(policy.name, suite))
    found = []
    for task in CHECKED_TASKS:
        simulator = Simulator(suite, task)
        observation = simulator.start(Scene(suite, task, 0), wiring.settle_steps)
        prompt = build(wiring, simulator.task.instruction)
        found.append(PolicyInput(prepare(observation.image, wiring), prompt))
        simulator.close()
    return found


def _write_check(
    folder: Path, name: str, policy: ModelPolicy, examples: Sequence[PolicyInput]
) -> PolicyCheck:
    file = f"{FOLDER}/{name}.check.bin"
    content = np.stack([example.pixels for example in examples]).tobytes()
    write_bytes(folder / file, content)
    ids = [policy.ids(example.prompt) for example in examples]
    tokens: list[list[int]] = policy.predict(examples).tolist()
    return PolicyCheck(file, len(content), entry(folder / file).sha256, ids, tokens)
