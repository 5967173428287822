"""A checkpoint in the published layout: from a folder or a hub id to all that a policy is made of.

No code from a checkpoint ever runs.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psutil  # type: ignore[import-untyped]
import torch

from vla_tutorial.actions import ActionStatistics, parse_statistics
from vla_tutorial.decoding import is_file
from vla_tutorial.errors import TutorialError
from vla_tutorial.openvla.bits.arithmetic import BITS, Kind
from vla_tutorial.openvla.bits.loading import fill_quantised, weights_bytes
from vla_tutorial.openvla.checks import check_preprocessor
from vla_tutorial.openvla.config import OpenVLAConfig, read_config, read_json
from vla_tutorial.openvla.foreign import (
    NO_PICKLE,
    PICKLES,
    recognise_files,
    weight_files,
)
from vla_tutorial.openvla.hub import download
from vla_tutorial.openvla.model import OpenVLA, materialise, meta_model
from vla_tutorial.openvla.names import match_names
from vla_tutorial.openvla.shards import fill_parameters, read_headers
from vla_tutorial.openvla.tokens import load_tokenizer
from vla_tutorial.prompt import Tokenizer

__all__ = [
    "Checkpoint",
    "find_shards",
    "load_tokenizer",
    "load_weights",
    "locate_folder",
    "open_checkpoint",
]

log = logging.getLogger(__name__)

NAMES = ("bf16", *BITS)
"""Ways to hold the weights, the largest first. bf16 stands for the device's full precision."""


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint on this machine. Its small files are read, its weights are not."""

    folder: Path
    # The folder or hub id as it was asked for, and the commit on the hub; None for a local folder.
    name: str
    revision: str | None
    config: OpenVLAConfig
    # By unnorm key.
    statistics: Mapping[str, ActionStatistics]
    tokenizer: Tokenizer


def open_checkpoint(name: str | Path, revision: str | None = None) -> Checkpoint:
    """Find a checkpoint, or download it, and read everything but its weights.

    Args:
        name: a folder, or `owner/name` on huggingface.co.
        revision: branch, tag or commit on the hub; the commit that it stands for is recorded.

    Raises:
        TutorialError: a file is missing or damaged, a number in it is impossible, or the model is
            no OpenVLA that predicts tokens.
    """
    folder, commit = locate_folder(name, revision)
    check_folder(folder)
    config = read_config(_require_config(folder))
    path = folder / "preprocessor_config.json"
    if os.path.lexists(path):
        check_preprocessor(read_json(path), path)
    statistics = _read_statistics(folder)
    return Checkpoint(folder, str(name), commit, config, statistics, load_tokenizer(folder, config))


def locate_folder(name: str | Path, revision: str | None = None) -> tuple[Path, str | None]:
    """The folder of a checkpoint, downloaded if need be, and its commit on the hub or None.

    Raises:
        TutorialError: it is a file, or neither a folder nor a repository that can be reached.
    """
    # `Path` raises errors for a name that is too long and for the home of nobody.
    path = Path(os.path.expanduser(name))
    if os.path.isdir(path):
        return path, None
    if is_file(path):
        remedy = NO_PICKLE if path.suffix in PICKLES else "Expected the folder that it lies in."
        raise TutorialError(f"{path} is a file. {remedy}")
    name = str(name)
    if name.count("/") != 1 or name.startswith(("/", ".", "~")):
        raise TutorialError(
            f"No folder {name!r}. Expected one with config.json, or a hub id: openvla/openvla-7b."
        )
    folder = download(name, revision)
    return folder, folder.name


def check_folder(folder: Path) -> None:
    """Raise a TutorialError that says what the folder holds if that is no OpenVLA checkpoint."""
    stranger = recognise_files(_relative_names(folder), _base_model(folder))
    if stranger:
        raise TutorialError(f"{folder}: {stranger}")


def _relative_names(folder: Path) -> Iterator[str]:
    """Files in the folder and in the folders in it; "/" between both."""
    for path in (*folder.glob("*"), *folder.glob("*/*")):
        yield path.relative_to(folder).as_posix()


def _base_model(folder: Path) -> str:
    """The model to which the adapter in a folder belongs, by its own account."""
    for path in (*folder.glob("adapter_config.json"), *folder.glob("*/adapter_config.json")):
        with suppress(TutorialError):
            found = read_json(path).get("base_model_name_or_path")
            if isinstance(found, str):
                return found[:200]
    return "its base model"


# Parameters made in inference mode could not be filled, or trained, later.
@torch.inference_mode(False)
def load_weights(
    folder: Path,
    config: OpenVLAConfig,
    device: torch.device | str,
    dtype: torch.dtype,
    kind: Kind | None = None,
    cache: Path | None = None,
) -> OpenVLA:
    """Build the model without memory, check its tensors against the shards, then fill it.

    Nothing is allocated before the shapes in config.json are those in the shards, and these those
    of the bytes on the disk.

    Args:
        folder: as `locate_folder` finds it; only its shards are read.
        config: what config.json says (`read_config`).
        device: where the weights go.
        dtype: theirs there; they are cast where the shards have another.
        kind: Llama's layers are quantised so as they come (`bits`). None: they are not.
        cache: a file for the quantised weights, written where it does not exist yet.

    Raises:
        TutorialError: shards are missing or damaged, hold other tensors than the model, or the
            device is too small; the cache is another checkpoint's.
    """
    entries = read_headers(find_shards(folder))
    model = meta_model(config)
    entries = match_names(entries, model.state_dict(), str(folder))
    sizes: dict[str, int] = {one: weights_bytes(model, dtype.itemsize, one) for one in BITS}
    nbytes = weights_bytes(model, dtype.itemsize, kind)
    free = _free_memory(torch.device(device))
    if torch.device(device).type == "cpu" and nbytes > free:
        raise _too_large(nbytes, device, sizes, free)
    try:
        if kind is None:
            materialise(model, device, dtype)
            fill_parameters(entries, model.state_dict())
        else:
            fill_quantised(model, entries, device, dtype, kind, cache)
    except torch.OutOfMemoryError as e:
        raise _too_large(nbytes, device, sizes, free) from e
    return model


def _free_memory(device: torch.device) -> int:
    """Bytes that the GPU, or the machine, swap included, can give before anything is loaded."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    return int(psutil.virtual_memory().available + psutil.swap_memory().free)


# Beside the weights, for the cache of keys and values, CUDA's own and activations at batch 1.
WORKING_BYTES = 700 << 20


def _too_large(
    nbytes: int, device: torch.device | str, sizes: Mapping[str, int], free: int
) -> TutorialError:
    fitting = [name for name, size in sizes.items() if size < nbytes]
    fitting = [name for name in fitting if sizes[name] + WORKING_BYTES <= free]
    remedy = "Close other programs or use a larger GPU."
    if fitting:
        gib = sizes[fitting[0]] / 2**30
        remedy = f"--weights {fitting[0]} would fit, with {gib:.1f} GiB; or use a larger GPU."
    return TutorialError(
        f"The weights need {nbytes / 2**30:.1f} GiB, more than the {free / 2**30:.1f} GiB that are "
        f"free on {device}. {remedy}"
    )


def find_shards(folder: Path) -> list[Path]:
    """The files that hold the weights: model.safetensors, else those of the index, else all.

    That is the order of transformers. An adapter beside them is left out, with a warning.

    Raises:
        TutorialError: there are none, or the index names files that are not there.
    """
    names = [path.name for path in folder.glob("*")]
    found = weight_files(names)
    if "adapter_model.safetensors" in names and found:
        log.warning("%s holds an adapter too; it is not applied to the weights beside it.", folder)
    if "model.safetensors" in found:
        return [folder / "model.safetensors"]
    if INDEX in names:
        return _indexed_shards(folder)
    if found:
        return [folder / name for name in found]
    what = recognise_files(_relative_names(folder), _base_model(folder))
    raise TutorialError(f"No *.safetensors in {folder}. {what or 'Download the weights too.'}")


INDEX = "model.safetensors.index.json"


def _indexed_shards(folder: Path) -> list[Path]:
    index = folder / INDEX
    weight_map = read_json(index).get("weight_map")
    named = weight_map.values() if isinstance(weight_map, dict) else ()
    # Names of files in this folder, and no ways out of it.
    shards = {name for name in named if isinstance(name, str) and weight_files([name])}
    if not shards or not all(name in shards for name in map(str, named)):
        expected = "an object of names of *.safetensors files in this folder"
        raise TutorialError(f"{index} has no weight_map; expected {expected}. Download it again.")
    missing = sorted(name for name in shards if not is_file(folder / name))
    if missing:
        raise TutorialError(
            f"Shard {folder / missing[0]} cannot be read (No such file). Of the {len(shards)} that "
            f"{INDEX} names {len(missing)} are missing. Download the whole checkpoint."
        )
    return [folder / name for name in sorted(shards)]


def _require_config(folder: Path) -> Path:
    path = folder / "config.json"
    if os.path.lexists(path):
        return path
    inside = [*folder.glob("*/config.json"), *folder.glob("snapshots/*/config.json")]
    remedy = "Download the whole checkpoint."
    if inside:
        remedy = f"Give the folder {sorted(inside)[0].parent}, which has one."
    raise TutorialError(f"{folder} has no config.json (the model's sizes). {remedy}")


def _read_statistics(folder: Path) -> Mapping[str, ActionStatistics]:
    """dataset_statistics.json replaces config.json's norm_stats entirely, as published."""
    path = folder / "dataset_statistics.json"
    if os.path.lexists(path):
        return parse_statistics(read_json(path), str(path))
    path = folder / "config.json"
    found = read_json(path).get("norm_stats")
    if not found:
        raise TutorialError(
            f"{folder} has no action statistics: neither a dataset_statistics.json nor norm_stats "
            "in config.json. Tokens cannot become motion. Download one of the two."
        )
    if not isinstance(found, dict):
        expected = "expected an object with a key for each data set"
        raise TutorialError(f"{path}: norm_stats is {found!r:.80}, {expected}.")
    return parse_statistics(found, f"{path}: norm_stats")
