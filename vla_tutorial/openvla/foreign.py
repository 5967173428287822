"""What looks like an OpenVLA checkpoint and is none: recognised before it is loaded.

Each function gets what is at hand (names of files, a file's first bytes, a configuration, names of
tensors) and returns a sentence on what it is and one on what to do, or None.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import PurePosixPath
from typing import Any

PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".pkl")

NO_PICKLE = (
    "Pickle files can run any code while they are opened, so they are refused. Expected "
    "*.safetensors; ask the author, or convert the file on a machine that you can afford to lose."
)

_OFT = (
    "This is an OpenVLA-OFT checkpoint ({found} lies beside the weights): its actions come from "
    "that part, not from tokens. Run it with openvla-oft, or use a checkpoint that predicts "
    "tokens, such as openvla/openvla-7b-finetuned-libero-object."
)
_LORA = (
    "{found} is a LoRA adapter, not a model. Merge it into {base} first, with PEFT's "
    "merge_and_unload and save_pretrained, and give the folder of the result."
)
_PRISMATIC = (
    "This is a checkpoint in prismatic's own format ({found}). Convert it with OpenVLA's "
    "vla-scripts/extern/convert_openvla_weights_to_hf.py, or use the converted one, such as "
    "openvla/openvla-7b for openvla/openvla-7b-prismatic."
)
_GGUF = "{found} holds weights for llama.cpp (GGUF). Use the checkpoint's *.safetensors."
_QUANTISED = (
    "These weights are quantised ({found}). Only BF16, F16, F32 and F64 are read. "
    "Use the checkpoint from which they were made."
)

# openvla-oft names its parts `action_head--150000_checkpoint.pt`, `--latest_checkpoint.pt`.
_OFT_PART = re.compile(
    r"(action_head|proprio_projector|noisy_action_projector|vision_backbone)[^/]*\.(pt|pth|bin)"
    r"|[^/]*--[^/]*checkpoint\.pt"
)
# prismatic-vlms names its files `step-295000-epoch-40-loss=0.2200.pt`.
_PRISMATIC_FILE = re.compile(r"(.*/)?(step-\d+-epoch-\d+-loss=[^/]*|latest-checkpoint)\.pt")


def weight_files(names: Iterable[str]) -> list[str]:
    """Those of a folder's file names that may hold the model's weights, sorted.

    An adapter beside them is not one: it changes a model, and alone it is none.
    """
    return sorted(
        name
        for name in names
        if name.endswith(".safetensors") and "/" not in name and not name.startswith("adapter_")
    )


def recognise_files(names: Iterable[str], base_model: str = "its base model") -> str | None:
    """From the names of a checkpoint's files, with "/" between folders.

    `base_model` is the name of the model that an adapter belongs to, where it is known.
    """
    listed = sorted(names)
    found = _first(listed, _OFT_PART.fullmatch)
    if found:
        return _OFT.format(found=found)
    if weight_files(listed):
        return None
    # adapter_model before adapter_config.
    found = _first(reversed(listed), _is_adapter)
    if found:
        return _LORA.format(found=found, base=base_model)
    found = _first(listed, _PRISMATIC_FILE.fullmatch)
    if found:
        return _PRISMATIC.format(found=found)
    found = _first(listed, lambda name: name.endswith(".gguf"))
    if found:
        return _GGUF.format(found=found)
    pickles = [name for name in listed if name.endswith(PICKLES)]
    return f"Found only {pickles[:4]}. {NO_PICKLE}" if pickles else None


def _first(names: Iterable[str], is_it: Any) -> str | None:
    return next((name for name in names if is_it(name)), None)


def _is_adapter(name: str) -> bool:
    return PurePosixPath(name).name.startswith("adapter_")


def recognise_bytes(head: bytes) -> str | None:
    """From the first bytes (a few hundred) of a file that should be JSON or safetensors."""
    text = head.lstrip().lower()
    if text.startswith(b"version https://git-lfs"):
        return "It is a Git-LFS pointer, not the file. Run `git lfs pull` in its folder."
    if text.startswith((b"/annex/objects/", b"../.git/annex", b".git/annex")):
        return "It is a git-annex pointer, not the file. Run `git annex get` in its folder."
    if text.startswith((b"<!doctype html", b"<html", b"<?xml")):
        return "It is a web page, saved in place of the file. Download the file itself."
    if head.startswith(b"GGUF"):
        return _GGUF.format(found="It")
    if head.startswith((b"PK\x03\x04", b"\x80\x02")):
        return f"It is a pickle file of PyTorch under another name. {NO_PICKLE}"
    return None


def recognise_config(raw: Mapping[str, Any]) -> str | None:
    """From the object in config.json."""
    text = raw.get("text_config")
    for part in (raw, text if isinstance(text, Mapping) else {}):
        # transformers; llm-compressor; mlx.
        for key in ("quantization_config", "compression_config", "quantization"):
            if part.get(key):
                return _QUANTISED.format(found=f"config.json has {key} {_method(part[key])}")
    if "peft_type" in raw:
        return _LORA.format(found="What config.json describes", base="its base model")
    if "model_type" not in raw and ("vla" in raw or "model" in raw):
        return _PRISMATIC.format(found="config.json names no model_type")
    return None


def _method(settings: Any) -> str:
    if not isinstance(settings, Mapping):
        return repr(settings)[:40]
    return repr(settings.get("quant_method", dict(list(settings.items())[:2])))[:60]


_PEFT = (".lora_", ".base_layer.", ".modules_to_save.")
_QUANTISED_ENDS = (
    ".qweight",
    ".qzeros",
    ".scales",
    ".g_idx",
    ".absmax",
    ".quant_map",
    ".SCB",
    ".weight_scale",
    ".weight_packed",
)
_OFT_HEADS = ("action_head.", "proprio_projector.", "noisy_action_projector.")
_PRISMATIC_STARTS = ("llm_backbone.", "vision_backbone.dino_featurizer.", "projector.projector.")


def recognise_tensors(names: Iterable[str]) -> str | None:
    """From the names of tensors that the model lacks."""
    for name in names:
        if any(part in name for part in _PEFT):
            return (
                f"{name} belongs to a LoRA or another PEFT adapter that is not merged. Merge it "
                "with merge_and_unload, save the model, and give the folder of the result."
            )
        if name.endswith(_QUANTISED_ENDS) or ".quant_state." in name:
            return _QUANTISED.format(found=f"there is a tensor {name}")
        if name.startswith(_OFT_HEADS):
            return _OFT.format(found=f"the tensor {name}")
        if name.startswith(_PRISMATIC_STARTS):
            return _PRISMATIC.format(found=f"there is a tensor {name}")
    return None


def describe_dtype(name: str, dtype: str, known: Iterable[str]) -> str:
    """What to say of a tensor whose dtype is not read."""
    kind = "Integers and 8-bit numbers are quantised weights: use those that they were made from."
    return f"tensor {name!r:.80} has dtype {dtype!r:.20}; known: {', '.join(known)}. {kind}"
