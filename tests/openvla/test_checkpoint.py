"""Bad checkpoints and bad inputs: each is an error that names what was wrong; and the policy on a small checkpoint of our own."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import huggingface_hub
import numpy as np
import pytest
import torch
from huggingface_hub import errors as hub
from tiny_checkpoint import (
    CONFIG,
    FIRST,
    GONE,
    edit_json,
    edit_tensors,
    statistics,
    write_json,
)

from vla_tutorial.errors import TutorialError
from vla_tutorial.loop import statistics_for
from vla_tutorial.openvla import checkpoint
from vla_tutorial.openvla.config import VISION_KEY, read_config
from vla_tutorial.openvla.llama import causal, rope_table, stacked
from vla_tutorial.openvla.model import OpenVLA, tokens_after_eos
from vla_tutorial.openvla.shards import read_headers
from vla_tutorial.pixels import pixel_values
from vla_tutorial.policies.base import PolicyInput
from vla_tutorial.policies.model import ModelPolicy, load_model_policy
from vla_tutorial.prompt import Prompt
from vla_tutorial.wiring import OPENVLA_TEMPLATE, Wiring


def load(folder: Path) -> ModelPolicy:
    return load_model_policy("test", folder, device="cpu")


def item(instruction: str, seed: int = 0, **kwargs: Any) -> PolicyInput:
    pixels = np.random.default_rng(seed).integers(0, 255, (224, 224, 3), np.uint8)
    return PolicyInput(pixels, Prompt(OPENVLA_TEMPLATE.format(instruction=instruction), **kwargs))


def test_config_round_trip(whole: Path) -> None:
    assert read_config(whole / "config.json") == CONFIG


def test_missing_extra_and_misshaped_tensors_are_named(folder: Path) -> None:
    def change(tensors: dict[str, torch.Tensor]) -> None:
        tensors["surplus"] = torch.zeros(2, 3)
        tensors[FIRST] = torch.zeros(7, 32)
        del tensors[GONE]

    edit_tensors(folder, change)
    with pytest.raises(TutorialError) as e:
        load(folder)
    for part in (
        f"missing {GONE} (128,)",
        "extra surplus (2, 3)",
        f"{FIRST} has shape (7, 32), expected (400, 32)",
    ):
        assert part in str(e.value)


def test_a_tensor_in_two_shards(folder: Path) -> None:
    name = "vision_backbone.featurizer.cls_token"
    edit_tensors(folder, lambda t: t.update({name: torch.zeros(1)}))
    with pytest.raises(TutorialError, match=rf"{name!r}.*model-00001.*model-00002"):
        load(folder)


@pytest.mark.parametrize("keep", [0, 5, 100, -10])
def test_truncated_shard(folder: Path, keep: int) -> None:
    path = folder / "model-00002-of-00002.safetensors"
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(TutorialError, match=r"model-00002-of-00002.safetensors.* bytes"):
        load(folder)


def test_corrupt_header_and_missing_shard(folder: Path) -> None:
    path = folder / "model-00002-of-00002.safetensors"
    data = path.read_bytes()
    path.write_bytes(data[:8] + b"x" * 50 + data[58:])
    with pytest.raises(TutorialError, match=r"model-00002.* header"):
        load(folder)
    path.unlink()
    with pytest.raises(TutorialError, match=r"model-00002.*No such file"):
        load(folder)


def test_unknown_dtype_is_refused(folder: Path) -> None:
    edit_tensors(folder, lambda t: t.update({FIRST: torch.zeros(400, 32, dtype=torch.int8)}))
    with pytest.raises(TutorialError, match=r"I8.*BF16"):
        load(folder)


def test_pickles_are_refused(folder: Path) -> None:
    for path in [*folder.glob("*.safetensors"), folder / "model.safetensors.index.json"]:
        path.unlink()
    with pytest.raises(TutorialError, match=r"\*.safetensors"):
        load(folder)
    (folder / "pytorch_model.bin").write_bytes(b"")
    with pytest.raises(TutorialError, match=r"pytorch_model.bin.*\*.safetensors"):
        load(folder)
    with pytest.raises(TutorialError, match=r"pytorch_model.bin.*\*.safetensors"):
        load(folder / "pytorch_model.bin")


@pytest.mark.parametrize("name", ["config.json", "tokenizer.json"])
def test_a_folder_that_lacks_a_file(folder: Path, name: str) -> None:
    (folder / name).unlink()
    with pytest.raises(TutorialError, match=rf"no {name}"):
        load(folder)


def test_statistics_replace_those_in_the_config_and_must_exist(folder: Path) -> None:
    assert list(load(folder).statistics) == ["libero_object_no_noops"]
    (folder / "dataset_statistics.json").unlink()
    assert list(load(folder).statistics) == ["unused"]
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(
        json.dumps({k: v for k, v in config.items() if k != "norm_stats"})
    )
    with pytest.raises(TutorialError, match=r"dataset_statistics.json.*norm_stats"):
        load(folder)


@pytest.mark.parametrize("key", ["libero_4_task_suites_no_noops", "franka", "libero_90_no_noops"])
def test_the_only_unnorm_key_comes_before_other_statistics(folder: Path, key: str) -> None:
    write_json(folder / "dataset_statistics.json", statistics(key))
    policy = SimpleNamespace(statistics=checkpoint.open_checkpoint(folder).statistics)
    with pytest.raises(TutorialError) as e:
        statistics_for(policy, Wiring(unnorm_key="libero_object"))
    text = str(e.value)
    assert text.index(f"--unnorm-key {key}") < text.index("--embedded-statistics")
    assert "was not trained with 'libero_object'" in text
    assert "Did you mean" not in text


@pytest.mark.parametrize("found", [{}, [], None, {"action": {"q01": [0.0], "q99": [1.0]}}])
def test_statistics_files_without_a_key(folder: Path, found: Any) -> None:
    write_json(folder / "dataset_statistics.json", found)
    with pytest.raises(TutorialError, match=r"dataset_statistics.json"):
        load(folder)


@pytest.mark.parametrize(
    "found", [[1], "x", {"key": 3}, {"key": {"action": {"q01": [2.0], "q99": [1.0]}}}]
)
def test_statistics_in_config_name_the_file_and_the_key(folder: Path, found: Any) -> None:
    (folder / "dataset_statistics.json").unlink()
    edit_json(folder / "config.json", lambda config: config | {"norm_stats": found})
    with pytest.raises(TutorialError, match=r"config.json: norm_stats"):
        load(folder)


def test_unnorm_key_that_the_checkpoint_lacks(whole: Path) -> None:
    policy = SimpleNamespace(statistics=checkpoint.open_checkpoint(whole).statistics)
    assert (
        statistics_for(policy, Wiring(unnorm_key="libero_object"))
        is policy.statistics["libero_object_no_noops"]
    )
    with pytest.raises(TutorialError, match=r"nonsense.*libero_object_no_noops"):
        statistics_for(policy, Wiring(unnorm_key="nonsense"))
    with pytest.raises(
        TutorialError, match=r"bridge_orig.*libero_object_no_noops.*embedded_statistics=True"
    ):
        statistics_for(policy, Wiring(unnorm_key="bridge_orig"))


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("config.json", "{"),
        ("tokenizer.json", "{"),
        ("dataset_statistics.json", "["),
        ("config.json", "{}"),
    ],
)
def test_damaged_settings(folder: Path, name: str, text: str) -> None:
    (folder / name).write_text(text)
    with pytest.raises(TutorialError, match=name):
        load(folder)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"text_config": {"rope_scaling": {"type": "linear"}}}, "rope_scaling"),
        ({"text_config": {"num_attention_heads": 5}}, "hidden_size by num_attention_heads"),
        ({"model_type": "llama"}, "'llama'.*'openvla'"),
        ({VISION_KEY: None}, "vision_backbone_id is None.*'dinosiglip-vit-so-224px'"),
        ({"arch_specifier": "mlp"}, "'mlp'.*'no-align\\+fused-gelu-mlp'"),
        ({VISION_KEY: {"depth": 3}}, f"{VISION_KEY}.*'depth'"),
        ({VISION_KEY: {"dino": {"depht": 3}}}, f"{VISION_KEY}.dino.*'depht'"),
    ],
)
def test_configurations_that_this_model_cannot_run(
    folder: Path, change: dict[str, Any], message: str
) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | change))
    with pytest.raises(TutorialError, match=message):
        load(folder)


def response_error(kind: type[Exception]) -> Exception:
    e = kind.__new__(kind)
    Exception.__init__(e, "refused")
    return e


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (hub.GatedRepoError, "somebody/something.*owner.*hf auth login"),
        (hub.RepositoryNotFoundError, "'somebody/something'.*spelling.*hf auth login"),
        (hub.RevisionNotFoundError, "'v9'"),
        (hub.LocalEntryNotFoundError, "'v9'.*LocalEntryNotFoundError.*hf download"),
        (hub.HfHubHTTPError, "'v9'.*HfHubHTTPError.*hf download"),
        (ConnectionError, "'v9'.*ConnectionError.*hf download"),
    ],
)
def test_the_hub_says_no(
    monkeypatch: pytest.MonkeyPatch, error: type[Exception], message: str
) -> None:
    def refuse(*_: Any, **__: Any) -> str:
        raise response_error(error)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", refuse)
    with pytest.raises(TutorialError, match=message):
        load_model_policy("test", "somebody/something", revision="v9", device="cpu")


def test_the_hub_gives_a_pinned_revision_without_code_or_pickles(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    asked: dict[str, Any] = {}
    snapshot = tmp_path / "snapshots" / ("a" * 40)

    def download(name: str, **kwargs: Any) -> str:
        asked.update(kwargs, name=name)
        return str(snapshot)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    found = checkpoint.locate_folder("somebody/something", "main")
    assert found == (snapshot, "a" * 40)
    assert not any(
        Path(bad).match(pattern)
        for bad in ("modeling.py", "pytorch_model.bin", "x.pt")
        for pattern in asked["allow_patterns"]
    )


@pytest.mark.parametrize("name", ["/no/such/folder", "./nothing", "a/b/c", "plain"])
def test_neither_folder_nor_hub_id(name: str) -> None:
    with pytest.raises(TutorialError, match=rf"{name!r}.*openvla/openvla-7b"):
        checkpoint.locate_folder(name)


@pytest.mark.skipif(torch.cuda.is_available(), reason="says what happens without a GPU")
def test_a_missing_gpu_is_said(
    whole: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(TutorialError, match=r"'cuda:0'.*CUDA"):
        load_model_policy("test", whole, device="cuda:0")
    policy = load_model_policy("test", whole)
    assert not caplog.text  # a small model belongs on a CPU
    monkeypatch.setattr("vla_tutorial.openvla.model.SMALL", 0)
    load_model_policy("test", whole)
    assert "No CUDA GPU is used" in caplog.text
    assert policy.provenance["engine"]["graphs"] == "none: cpu is no CUDA device"


@pytest.mark.parametrize("engine", [True, False])
def test_a_batch_equals_one_by_one(whole: Path, engine: bool) -> None:
    policy = load_model_policy("test", whole, device="cpu", engine=engine)
    texts = ["pick up the soup", "a", "take the soup to the robot and pick up the soup", "soup"]
    batch = [item(text, i, empty_token=i != 1) for i, text in enumerate(texts * 10)]
    together = policy.predict(batch)
    assert together.shape == (40, 5)
    assert together.dtype == np.int64
    np.testing.assert_array_equal(
        together[:8], np.concatenate([policy.predict([one]) for one in batch[:8]])
    )
    assert len({tuple(row) for row in together.tolist()}) > 1
    np.testing.assert_array_equal(
        together[:8],
        load_model_policy("test", whole, device="cpu", engine=not engine).predict(batch[:8]),
    )
    assert policy.predict([]).shape == (0, 5)
    assert policy.provenance["dtype"] == "float32"


def test_ids_of_a_smaller_vocabulary(whole: Path) -> None:
    """Its empty token stands in for 29871, and its bins come out as OpenVLA's."""
    policy = load(whole)
    ids = policy.ids(item("soup").prompt)
    assert (ids[0], ids[-1]) == (1, 3)
    own = policy.model.generate(torch.from_numpy(pixel_values(item("soup").pixels))[None], [ids], 5)
    tokens = tokens_after_eos(ids, own[0].tolist(), 2)
    np.testing.assert_array_equal(policy.predict([item("soup")])[0], np.array(tokens) + 32000 - 336)


def test_bad_pictures(whole: Path) -> None:
    policy = load(whole)
    prompt = item("soup").prompt
    for bad in (
        np.zeros((224, 224, 3), np.float32),
        np.zeros((224, 224), np.uint8),
        np.zeros((3, 224, 224), np.uint8),
    ):
        with pytest.raises(TutorialError, match=r"\(height, width, 3\) uint8"):
            policy.predict([PolicyInput(bad, prompt)])  # type: ignore[arg-type]


def test_a_tokenizer_of_another_model(whole: Path) -> None:
    policy = load(whole)
    policy.tokenizer = lambda text: {"input_ids": [1, 999, 3]}
    with pytest.raises(TutorialError, match=r"999.*399"):
        policy.predict([item("soup", empty_token=False)])


def test_a_prompt_too_long(whole: Path) -> None:
    with pytest.raises(TutorialError, match=r"21\d\d ids.*5 actions.*2027"):
        load(whole).predict([item("soup " * 2100)])


def test_weights_beyond_the_memory_are_not_allocated(
    whole: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checkpoint, "_free_memory", lambda device: 1000)
    with pytest.raises(TutorialError, match=r"GiB, more than the 0\.0 GiB that are free on cpu"):
        load(whole)


def test_out_of_memory_says_what_the_batch_needs(
    whole: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    policy = load(whole)
    assert policy.engine is not None

    def exhausted(*_: Any) -> None:
        raise torch.OutOfMemoryError

    monkeypatch.setattr(policy.engine.runner, "prefill", exhausted)
    with pytest.raises(TutorialError, match=r"batch of 2 .* GiB"):
        policy.predict([item("soup"), item("a")])


def test_preflight_sees_an_ignored_image(whole: Path) -> None:
    policy = load_model_policy(
        "test", whole, device="cpu", engine=False
    )  # the engine has its own copy of the weights
    policy.preflight()
    for parameter in policy.model.projector.fc3.parameters():
        parameter.zero_()
    with pytest.raises(TutorialError, match=r"difference 0\.0"):
        policy.preflight()


def test_preflight_sees_a_tokenizer_without_bos(whole: Path) -> None:
    policy = load(whole)
    policy.tokenizer = lambda text: {"input_ids": [5, 6]}
    with pytest.raises(TutorialError, match=r"5, expected 1 "):
        policy.preflight()


def test_training_reaches_every_parameter_that_runs(whole: Path) -> None:
    """Gradients over full sequences, with a picture twice the tower's size averaged down."""
    torch.manual_seed(0)
    model = OpenVLA(CONFIG)
    model(torch.randn(2, 6, 224, 224), torch.tensor([[1, 5, 6, 3], [1, 7, 3, 0]])).sum().backward()
    without = {n.split(".blocks.1.")[0] for n, p in model.named_parameters() if p.grad is None}
    assert without == {
        f"vision_backbone.{v}{part}"
        for v in ("featurizer", "fused_featurizer")
        for part in ("", ".norm.weight", ".norm.bias")
    }


def test_stacked_weights_share_memory(whole: Path) -> None:
    model = checkpoint.load_weights(whole, CONFIG, "cpu", torch.float32)
    stacks = model.language_model.stacks()
    assert all(
        stacked(s).data_ptr() == s[0].weight.data_ptr() for s in stacks
    )  # side by side from the start: no copy
    apart = OpenVLA(CONFIG).language_model.stacks()[0]
    expected = torch.cat([linear.weight.data for linear in apart])
    whole_weight = stacked(apart)
    torch.testing.assert_close(whole_weight, expected)
    whole_weight.zero_()
    assert all(not linear.weight.any() for linear in apart)


def test_grouped_heads_equal_repeated_ones() -> None:
    torch.manual_seed(0)
    q, k, v = torch.randn(2, 4, 6, 8), torch.randn(2, 2, 6, 8), torch.randn(2, 2, 6, 8)
    repeated = causal(0, q, k.repeat_interleave(2, 1), v.repeat_interleave(2, 1))
    torch.testing.assert_close(causal(0, q, k, v), repeated)


def test_headers_give_places_of_bytes(whole: Path) -> None:
    entries = read_headers(checkpoint.find_shards(whole))
    assert entries[FIRST].shape == (400, 32)
    assert entries[FIRST].nbytes == 400 * 32 * 4
    assert rope_table(CONFIG.llama, 10, "cpu")[0].shape == (10, 4)
