"""Checkpoints of other kinds: each is recognised and named, or read if its tensors are the same."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import huggingface_hub
import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from tiny_checkpoint import INDEX, SHARDS, edit_json, edit_tensors, join_shards, write_json

from vla_tutorial.errors import TutorialError
from vla_tutorial.openvla.checkpoint import find_shards, load_weights, open_checkpoint
from vla_tutorial.openvla.config import read_config
from vla_tutorial.openvla.foreign import recognise_files
from vla_tutorial.openvla.hub import download

LFS = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 6948961960\n"
WEB_PAGE = b"<!DOCTYPE html>\n<html><title>Sign in</title></html>"

Rename = Callable[[str], str]


def load(folder: Path) -> Any:
    opened = open_checkpoint(folder)
    return load_weights(folder, opened.config, "cpu", torch.float32)


def refusal(folder: Path) -> str:
    with pytest.raises(TutorialError) as e:
        load(folder)
    return str(e.value)


def without_weights(folder: Path) -> None:
    for name in (*SHARDS, INDEX):
        (folder / name).unlink()


# --- by the names of files ----------------------------------------------------------------------


@pytest.mark.parametrize(
    "name",
    [
        "action_head--150000_checkpoint.pt",
        "proprio_projector--latest_checkpoint.pt",
        "noisy_action_projector--50000_checkpoint.pt",
        "vision_backbone--150000_checkpoint.pt",
        "pose_projector--750000_checkpoint.pt",
        "action_head.pt",
    ],
)
def test_openvla_oft(folder: Path, name: str) -> None:
    (folder / name).write_bytes(b"")
    text = refusal(folder)
    assert name in text
    assert "OpenVLA-OFT" in text
    assert "not from tokens" in text


@pytest.mark.parametrize("name", ["optimizer.pt", "training_args.bin", "rng_state_0.pth"])
def test_what_trainers_leave_is_no_reason(folder: Path, name: str) -> None:
    (folder / name).write_bytes(b"")
    load(folder)


@pytest.mark.parametrize("place", ["", "lora_adapter/"])
@pytest.mark.parametrize("file", ["adapter_model.safetensors", "adapter_model.bin"])
def test_an_adapter_alone(folder: Path, place: str, file: str) -> None:
    without_weights(folder)
    (folder / place).mkdir(exist_ok=True)
    (folder / place / file).write_bytes(b"")
    write_json(folder / place / "adapter_config.json", {"base_model_name_or_path": "openvla/x"})
    text = refusal(folder)
    assert f"{place}{file} is a LoRA adapter" in text
    assert "Merge it into openvla/x first" in text


def test_an_adapter_beside_whole_weights_is_left_out(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (folder / INDEX).unlink()
    save_file(
        {"base_model.model.x.lora_A.weight": torch.zeros(1)}, folder / "adapter_model.safetensors"
    )
    load(folder)
    assert "adapter" in caplog.text


def test_weights_in_one_file_win_over_an_index_that_is_left(folder: Path) -> None:
    index = (folder / INDEX).read_bytes()
    join_shards(folder, str)
    (folder / INDEX).write_bytes(index)
    assert find_shards(folder) == [folder / "model.safetensors"]
    load(folder)


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        ("checkpoints/step-295000-epoch-40-loss=0.2200.pt", ["prismatic", "openvla/openvla-7b"]),
        ("checkpoints/latest-checkpoint.pt", ["prismatic"]),
        ("openvla-7b-q4.gguf", ["llama.cpp", "*.safetensors"]),
        ("pytorch_model-00001-of-00002.bin", ["Pickle", "*.safetensors"]),
    ],
)
def test_weights_in_another_format(folder: Path, name: str, parts: list[str]) -> None:
    without_weights(folder)
    path = folder / name
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(b"")
    text = refusal(folder)
    for part in [name, *parts]:
        assert part in text


def test_the_folder_above_is_corrected(folder: Path) -> None:
    inside = folder / "step-1000"
    inside.mkdir()
    (folder / "config.json").rename(inside / "config.json")
    assert f"Give the folder {inside}" in refusal(folder)


def test_the_hub_is_asked_before_weights_are_fetched(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    fetched: list[list[str]] = []

    def snapshot_download(name: str, *, dry_run: bool = False, **kwargs: Any) -> Any:
        if not dry_run:
            fetched.append(kwargs["allow_patterns"])
            return str(tmp_path / ("a" * 40))
        assert kwargs["revision"] == "a" * 40
        names = ["config.json", "model.safetensors", "action_head--1_checkpoint.pt"]
        return [type("Info", (), {"filename": one}) for one in names]

    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot_download)
    with pytest.raises(TutorialError, match=r"some/one: .*OpenVLA-OFT.*action_head--1"):
        download("some/one", None)
    assert not any("safetensors" in pattern for patterns in fetched for pattern in patterns)


def test_the_files_of_openvla_7b_are_no_strangers() -> None:
    names = [
        ".gitattributes",
        "README.md",
        "added_tokens.json",
        "config.json",
        "configuration_prismatic.py",
        "dataset_statistics.json",
        "generation_config.json",
        "model-00001-of-00003.safetensors",
        "model.safetensors.index.json",
        "modeling_prismatic.py",
        "preprocessor_config.json",
        "tokenizer.json",
        "tokenizer.model",
    ]
    assert recognise_files(names) is None


# --- by what files hold -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "message"), [(LFS, "Git-LFS pointer.*git lfs pull"), (WEB_PAGE, "web page")]
)
@pytest.mark.parametrize(
    "name",
    ["config.json", "dataset_statistics.json", "tokenizer.json", INDEX, *SHARDS],
)
def test_what_stands_in_a_files_place(
    folder: Path, name: str, content: bytes, message: str
) -> None:
    (folder / name).write_bytes(content)
    with pytest.raises(TutorialError, match=rf"{name}.*{message}"):
        load(folder)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"PK\x03\x04" + bytes(90), "pickle"),
        (b"\x80\x02}q" + bytes(90), "pickle"),
        (b"GGUF" + bytes(90), "GGUF"),
    ],
)
def test_shards_that_were_only_renamed(folder: Path, content: bytes, message: str) -> None:
    (folder / SHARDS[0]).write_bytes(content)
    assert message in refusal(folder)


@pytest.mark.parametrize(
    ("change", "parts"),
    [
        (
            {"quantization_config": {"quant_method": "bitsandbytes", "load_in_4bit": True}},
            ["quantised", "bitsandbytes"],
        ),
        ({"text_config": {"quantization_config": {"quant_method": "gptq"}}}, ["quantised", "gptq"]),
        ({"quantization": {"group_size": 64, "bits": 4}}, ["quantised", "bits"]),
    ],
)
def test_quantised_by_its_config(folder: Path, change: dict[str, Any], parts: list[str]) -> None:
    edit_json(folder / "config.json", lambda config: config | change)
    text = refusal(folder)
    for part in ["config.json", *parts]:
        assert part in text


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"vla": {"base_vlm": "prism-dinosiglip-224px+7b"}}, "prismatic's own format"),
        ({"model": {"model_id": "prism"}}, "prismatic's own format"),
        ({"peft_type": "LORA"}, "LoRA adapter"),
        ({"type": "smolvla"}, "model_type is None, expected 'openvla'"),
    ],
)
def test_config_of_something_else(folder: Path, config: dict[str, Any], message: str) -> None:
    write_json(folder / "config.json", config)
    assert message in refusal(folder)


@pytest.mark.parametrize("dtype", [torch.int8, torch.uint8, torch.float8_e4m3fn])
def test_quantised_by_a_dtype(folder: Path, dtype: torch.dtype) -> None:
    name = "projector.fc1.weight"
    edit_tensors(folder, lambda t: t.update({name: t[name].to(dtype)}))
    text = refusal(folder)
    assert name in text
    assert "quantised" in text
    assert "BF16" in text


# --- by the names of tensors --------------------------------------------------------------------


def prefixed(prefix: str) -> Rename:
    return lambda name: prefix + name


def head_apart(name: str) -> str:
    return "lm_head.weight" if "lm_head" in name else f"model.{name}"


def transformers_5(name: str) -> str:
    return head_apart(name).replace("language_model.model.", "language_model.")


SAME_TENSORS: dict[str, Rename] = {
    "saved from a wrapper": prefixed("model."),
    "DDP": prefixed("module."),
    "PEFT, merged": prefixed("base_model.model."),
    "torch.compile": prefixed("_orig_mod."),
    "both": prefixed("module._orig_mod."),
    "head apart": head_apart,
    "transformers 5": transformers_5,
    "a part was compiled": lambda name: name.replace("projector.", "projector._orig_mod."),
    "FSDP": lambda name: name.replace("layers.0.", "layers.0._fsdp_wrapped_module."),
}


@pytest.mark.parametrize("kind", SAME_TENSORS)
def test_the_same_tensors_under_other_names(
    whole: Path, folder: Path, kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    join_shards(folder, SAME_TENSORS[kind])
    config = read_config(folder / "config.json")
    expected = load_weights(whole, config, "cpu", torch.float32).state_dict()
    assert not caplog.text
    found = load_weights(folder, config, "cpu", torch.float32).state_dict()
    assert all(torch.equal(found[name], expected[name]) for name in expected)
    changed = next(name for name in expected if SAME_TENSORS[kind](name) != name)
    assert SAME_TENSORS[kind](changed).partition(".")[0] in caplog.text


OTHER_TENSORS: dict[str, tuple[Rename, str]] = {
    "LoRA": (lambda n: f"base_model.model.{n}".replace("q_proj.", "q_proj.base_layer."), "PEFT"),
    "GPTQ": (lambda name: name.replace("q_proj.weight", "q_proj.qweight"), "quantised"),
    "bitsandbytes": (lambda name: name.replace("up_proj.weight", "up_proj.SCB"), "quantised"),
    "OFT": (lambda name: name.replace("projector.fc1", "action_head.fc1"), "OpenVLA-OFT"),
    "prismatic": (lambda name: name.replace("language_model.", "llm_backbone.llm."), "prismatic"),
    "unknown": (lambda name: name.replace("projector.", "merger."), "published layout"),
}


@pytest.mark.parametrize("kind", OTHER_TENSORS)
def test_other_tensors_are_named_on_both_sides(folder: Path, kind: str) -> None:
    rename, message = OTHER_TENSORS[kind]
    join_shards(folder, rename)
    text = refusal(folder)
    assert "missing " in text
    assert "extra " in text
    assert message in text


def test_lora_beside_the_weights_that_it_belongs_to(folder: Path) -> None:
    name = "base_model.model.language_model.model.layers.0.self_attn.q_proj.lora_A.default.weight"
    edit_tensors(folder, lambda tensors: tensors.update({name: torch.zeros(2, 2)}))
    text = refusal(folder)
    assert "not merged" in text
    assert "merge_and_unload" in text


def test_long_lists_are_cut(folder: Path) -> None:
    edit_tensors(folder, lambda tensors: [tensors.pop(name) for name in list(tensors)[:9]])
    text = refusal(folder)
    assert text.count("missing ") == 4
    assert "5 more missing" in text
    assert "Download the whole checkpoint" in text


# --- indices ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "weight_map",
    [
        None,
        [],
        {},
        {"a": 1},
        {"a": ["model.safetensors"]},
        {"a": "../model.safetensors"},
        {"a": "/etc/passwd"},
        {"a": "sub/model.safetensors"},
        {"a": "model.bin"},
    ],
)
def test_an_index_that_names_no_files_of_its_folder(folder: Path, weight_map: Any) -> None:
    write_json(folder / INDEX, {"weight_map": weight_map})
    with pytest.raises(TutorialError, match=rf"{INDEX} has no weight_map"):
        find_shards(folder)


def test_all_missing_shards_are_counted(folder: Path) -> None:
    for name in SHARDS:
        (folder / name).unlink()
    with pytest.raises(TutorialError, match=r"Of the 2 that .* names 2 are missing"):
        find_shards(folder)


# --- pictures --------------------------------------------------------------------


PREPROCESSOR = Path(__file__).parents[1] / "data/tiny_openvla/preprocessor_config.json"


def test_published_pictures_are_as_ours(folder: Path) -> None:
    (folder / PREPROCESSOR.name).write_bytes(PREPROCESSOR.read_bytes())
    load(folder)
    # As some tools save it.
    as_float32 = [
        [float(np.float32(mean)) for mean in one]
        for one in json.loads(PREPROCESSOR.read_text())["means"]
    ]
    edit_json(folder / PREPROCESSOR.name, lambda value: value | {"means": as_float32})
    load(folder)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("image_resize_strategy", "letterbox"),
        ("means", [[0.5, 0.5, 0.5], [0.5, 0.5, 0.5]]),
        ("stds", [1, "x"]),
        ("interpolations", ["bicubic", "bilinear"]),
        ("input_sizes", [[3, 384, 384], [3, 384, 384]]),
    ],
)
def test_pictures_prepared_in_another_way(folder: Path, key: str, value: Any) -> None:
    write_json(folder / PREPROCESSOR.name, json.loads(PREPROCESSOR.read_text()) | {key: value})
    with pytest.raises(TutorialError, match=rf"preprocessor_config.json: {key} is"):
        load(folder)
