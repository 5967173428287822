"""config.json: every number is checked, and an error names the file, the key and the value."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from golden_folder import DATA
from tiny_checkpoint import edit_json

from vla_tutorial.errors import TutorialError
from vla_tutorial.openvla.config import VISION_KEY, OpenVLAConfig, read_config

PUBLISHED = json.loads((DATA / "tiny_openvla/config.json").read_text())

Change = Callable[[dict[str, Any]], Any]


@pytest.fixture
def read(folder: Path) -> Callable[[Change], OpenVLAConfig]:
    """Change config.json of the small checkpoint and read it."""

    def changed(change: Change) -> OpenVLAConfig:
        path = folder / "config.json"
        edit_json(path, change)
        return read_config(path)

    return changed


def setting(*keys: str, to: Any) -> Change:
    """A change of the value at `keys`."""

    def change(config: dict[str, Any]) -> None:
        for key in keys[:-1]:
            config = config[key]
        config[keys[-1]] = to

    return change


def text(key: str, value: Any) -> Change:
    return setting("text_config", key, to=value)


@pytest.mark.parametrize("value", ["256", 256.0, 256.5, True, [1], {}, 0, -1, 10**7, 10**400])
@pytest.mark.parametrize("key", ["hidden_size", "num_hidden_layers", "vocab_size"])
def test_whole_numbers_of_llama(read: Any, key: str, value: Any) -> None:
    with pytest.raises(TutorialError, match=rf"config.json: text_config holds {key} "):
        read(text(key, value))


@pytest.mark.parametrize(
    ("keys", "value", "message"),
    [
        (["text_config", "num_key_value_heads"], 0, "text_config holds num_key_value_heads 0"),
        (["text_config", "rms_norm_eps"], 0, "text_config holds rms_norm_eps 0"),
        (["text_config", "rope_theta"], float("nan"), "text_config.rope_theta nan"),
        (["text_config", "rope_theta"], 0.5, "text_config holds rope_theta 0.5"),
        (["text_config", "eos_token_id"], [2, 3], r"text_config holds eos_token_id \[2, 3\]"),
        (["text_config", "bos_token_id"], 399, "text_config.bos_token_id is 399.*336"),
        (["text_config", "head_dim"], 16, "text_config.head_dim is 16"),
        (["text_config", "max_position_embeddings"], 16, "max_position_embeddings is 16.*16 pat"),
        (["text_config", "num_attention_heads"], 32, "head_dim is 1, expected .* even"),
        (["text_config"], [1], "text_config is not as expected"),
        (["text_config"], "x", "text_config is not as expected"),
        (["pad_to_multiple_of"], None, "holds pad_to_multiple_of None"),
        (["pad_to_multiple_of"], -64, "holds pad_to_multiple_of -64"),
        (["pad_to_multiple_of"], 0, "pad_to_multiple_of is 0, expected 1 … 143"),
        (["pad_to_multiple_of"], 144, "pad_to_multiple_of is 144, expected 1 … 143"),
        (["pad_to_multiple_of"], 10**6, "pad_to_multiple_of is 1000000, expected 1"),
        (["pad_to_multiple_of"], "64", "holds pad_to_multiple_of '64'"),
        (["empty_token_id"], 336, "empty_token_id is 336, expected less than .* 336"),
        ([VISION_KEY], [], f"{VISION_KEY} is not as expected"),
        ([VISION_KEY, "dino"], None, f"{VISION_KEY}.dino is not as expected"),
        ([VISION_KEY, "dino", "depth"], 129, f"{VISION_KEY} holds dino.depth 129"),
        ([VISION_KEY, "dino", "output_block"], 2, "dino.output_block is 2, expected -2 … 1"),
        ([VISION_KEY, "dino", "class_token"], 1, f"{VISION_KEY} holds dino.class_token 1"),
        ([VISION_KEY, "siglip", "heads"], 3, "siglip.dim by heads.* 16 / 3"),
        ([VISION_KEY, "image_size"], 112.0, f"{VISION_KEY} holds image_size 112.0"),
        ([VISION_KEY, "image_size"], 140, f"width by {VISION_KEY}.image_size .*224 / 140"),
        (["n_action_bins"], 128, "n_action_bins is 128, expected 256"),
        (["image_resize_strategy"], "letterbox", "image_resize_strategy is 'letterbox'"),
        (["tie_word_embeddings"], True, "tie_word_embeddings is True"),
    ],
)
def test_every_other_number(read: Any, keys: list[str], value: Any, message: str) -> None:
    with pytest.raises(TutorialError, match=rf"config.json.*{message}"):
        read(setting(*keys, to=value))


@pytest.mark.parametrize("content", ["null", "[]", '"x"', "3", "", "{", "[" * 9999, "\0", "nul"])
def test_no_object(folder: Path, content: str) -> None:
    path = folder / "config.json"
    path.write_text(content)
    with pytest.raises(TutorialError, match=r"config.json is not"):
        read_config(path)


def test_a_file_that_is_too_large_or_none(folder: Path) -> None:
    path = folder / "config.json"
    with path.open("wb") as file:
        file.truncate(10**10)
    with pytest.raises(TutorialError, match=r"config.json has 9537 MiB"):
        read_config(path)
    path.unlink()
    path.mkdir()
    with pytest.raises(TutorialError, match=r"config.json is not a file"):
        read_config(path)


def test_an_editors_mark_is_no_reason(folder: Path) -> None:
    path = folder / "config.json"
    before = read_config(path)
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    assert read_config(path) == before


# --- rotary angles ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "given",
    [
        {"rope_parameters": {"rope_type": "default", "rope_theta": 500000.0}},
        {"rope_parameters": {"rope_theta": 500000, "partial_rotary_factor": 1.0}},
        {"rope_scaling": {"type": "default", "rope_theta": 500000.0}},
        {"rope_parameters": {"rope_theta": 5e5, "factor": None}, "rope_scaling": None},
        {"rope_theta": 5e5, "rope_parameters": {"rope_theta": 5e5}},
        {"rope_theta": 5e5, "rope_parameters": {"rope_type": "default"}},
    ],
)
def test_rope_theta_where_transformers_saves_it(read: Any, given: dict[str, Any]) -> None:
    def change(config: dict[str, Any]) -> None:
        del config["text_config"]["rope_theta"]
        config["text_config"].update(given)

    assert read(change).llama.rope_theta == 500000.0


@pytest.mark.parametrize("key", ["rope_parameters", "rope_scaling"])
@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"rope_type": "linear", "factor": 4.0}, "rope_type is 'linear'"),
        ({"type": "dynamic", "factor": 2.0}, "type is 'dynamic'"),
        ({"rope_type": "llama3", "factor": 8.0}, "rope_type is 'llama3'"),
        ({"factor": 4.0}, "factor is 4.0"),
        ({"rope_theta": 1e4, "partial_rotary_factor": 0.5}, "partial_rotary_factor is 0.5"),
        ({"full_attention": {"rope_type": "default"}}, "full_attention is"),
        ({"rope_theta": 77.0}, "rope_theta is 10000.0 and .*rope_theta 77.0"),
    ],
)
def test_other_angles(read: Any, key: str, given: dict[str, Any], message: str) -> None:
    with pytest.raises(TutorialError, match=rf"text_config.*{key}.*{message}|{message}"):
        read(text(key, given))


@pytest.mark.parametrize("given", [[], "default", 3, {"rope_theta": "1e4"}, {"rope_theta": [1]}])
def test_angles_of_another_type(read: Any, given: Any) -> None:
    with pytest.raises(TutorialError, match=r"config.json: text_config"):
        read(text("rope_parameters", given))


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("model_type", "mistral"),
        ("mlp_bias", True),
        ("attention_bias", True),
        ("partial_rotary_factor", 0.5),
        ("hidden_act", "gelu"),
    ],
)
def test_other_arithmetic(read: Any, key: str, value: Any) -> None:
    with pytest.raises(TutorialError, match=rf"text_config.{key} is {value!r}"):
        read(text(key, value))


def test_what_transformers_5_adds_changes_nothing(read: Any) -> None:
    before = read(lambda config: config)
    added = {"model_type": "llama", "pretraining_tp": 1, "mlp_bias": False, "head_dim": 8}
    after = read(lambda config: config["text_config"].update(added, pad_token_id=None))
    assert after == before


# --- the published layout -----------------------------------------------------------------------


def published(tmp_path: Path, change: Change) -> OpenVLAConfig:
    path = tmp_path / "config.json"
    path.write_text(json.dumps(PUBLISHED))
    edit_json(path, change)
    return read_config(path)


def test_the_published_vocabulary(tmp_path: Path) -> None:
    assert published(tmp_path, lambda config: config).vocabulary == 32000


@pytest.mark.parametrize(
    ("size", "padding", "right"),
    [
        (32064, 0, "64"),
        (32064, 32, "64"),
        (32064, 128, "64"),
        (32128, 64, "128"),
        (32000, 64, "0"),
        (31936, 64, "a larger vocabulary"),
    ],
)
def test_padding_of_llamas_vocabulary(tmp_path: Path, size: int, padding: int, right: str) -> None:
    """Its bins end at id 31999, so another difference moves them all (vllm-omni 6286)."""

    def change(config: dict[str, Any]) -> None:
        config["text_config"]["vocab_size"] = size
        config["pad_to_multiple_of"] = padding

    with pytest.raises(TutorialError, match=rf"pad_to_multiple_of is {padding}, expected {right}:"):
        published(tmp_path, change)


@pytest.mark.parametrize(("size", "padding"), [(32000, 0), (32128, 128)])
def test_vocabularies_that_are_padded_in_another_way(
    tmp_path: Path, size: int, padding: int
) -> None:
    def change(config: dict[str, Any]) -> None:
        config["text_config"]["vocab_size"] = size
        config["pad_to_multiple_of"] = padding

    assert published(tmp_path, change).vocabulary == 32000


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("timm_model_ids", ["vit_large_patch14_reg4_dinov2", "vit_so400m_patch14_siglip2_224"]),
        ("timm_override_act_layers", ["quick_gelu", None]),
        ("image_sizes", [384, 384]),
    ],
)
def test_other_towers(tmp_path: Path, key: str, value: Any) -> None:
    with pytest.raises(TutorialError, match=rf"config.json: {key} is"):
        published(tmp_path, setting(key, to=value))
