"""Checkpoints in the published layout: a folder or a hub id → model, tokenizer, action statistics. No code from a checkpoint ever runs."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import torch

from vla_tutorial.actions import ActionStatistics, parse_statistics
from vla_tutorial.errors import TutorialError
from vla_tutorial.openvla.config import OpenVLAConfig, read_config
from vla_tutorial.openvla.model import OpenVLA, materialise, meta_model
from vla_tutorial.openvla.shards import check_names, fill, read_headers
from vla_tutorial.prompt import Tokenizer

WANTED = ["*.safetensors", "*.json", "tokenizer.model"]
"""What is fetched from the hub: weights, settings and the tokenizer; never *.py, *.bin or *.pt."""

PICKLES = ("*.bin", "*.pt", "*.pth", "*.ckpt", "*.pkl")


@dataclass(frozen=True)
class Source:
    """Where a checkpoint is on this machine.

    Attributes:
        folder: holds config.json and the shards.
        checkpoint: the folder or hub id as it was asked for.
        revision: the commit on the hub, None for a local folder.
    """

    folder: Path
    checkpoint: str
    revision: str | None = None


def locate(checkpoint: str | Path, revision: str | None = None) -> Source:
    """Find a local folder, or download from the hub what is not in its cache yet.

    Args:
        checkpoint: a folder, or `owner/name` on huggingface.co.
        revision: branch, tag or commit on the hub; the commit that it stands for is recorded.

    Raises:
        TutorialError: neither a folder nor a reachable repository, or a pickle file.
    """
    path, name = Path(checkpoint).expanduser(), str(checkpoint)
    if path.is_dir():
        return Source(path, name)
    if path.is_file():
        raise TutorialError(
            f"{path} is a file. {_NO_PICKLE if path.match('*.bin') or path.match('*.pt') else 'Expected the folder that it lies in.'}"
        )
    if name.count("/") != 1 or name.startswith(("/", ".", "~")):
        raise TutorialError(
            f"No folder {name!r}. Expected a folder with config.json, or a hub id such as openvla/openvla-7b."
        )
    return _download(name, revision)


_NO_PICKLE = (
    "Pickle files (.bin, .pt) can run any code while they are opened, so they are refused. Expected *.safetensors; "
    "ask the author for them, or convert the file on a machine that you can afford to lose."
)


def _download(name: str, revision: str | None) -> Source:
    from huggingface_hub import errors, snapshot_download

    at = f" at revision {revision!r}" if revision else ""
    try:
        folder = Path(snapshot_download(name, revision=revision, allow_patterns=WANTED))
    except errors.GatedRepoError as e:
        raise TutorialError(
            f"No access to {name} on the hub: its owner must let you in. Ask on its page, then run `hf auth login`."
        ) from e
    except errors.RevisionNotFoundError as e:
        raise TutorialError(
            f"{name} on the hub has no revision {revision!r}. Expected a branch, tag or commit of it."
        ) from e
    except errors.RepositoryNotFoundError as e:
        raise TutorialError(
            f"No repository {name!r} on the hub, or no access to it. Check the spelling; if private, run `hf auth login`."
        ) from e
    except errors.HFValidationError as e:
        raise TutorialError(
            f"{name!r} is neither a folder here nor a valid hub id ({e}). Expected a folder or owner/name."
        ) from e
    except (errors.LocalEntryNotFoundError, errors.HfHubHTTPError, OSError, ConnectionError) as e:
        raise TutorialError(
            f"{name}{at} is not in this machine's hub cache and the hub cannot be reached ({type(e).__name__}: {str(e).splitlines()[0][:160]}). "
            f"Connect, or download it elsewhere (`hf download {name}`) and give the folder."
        ) from e
    return Source(folder, name, folder.name)


@torch.inference_mode(
    False
)  # parameters made in inference mode could not be filled, or trained, later
def load_model(
    source: Source | Path,
    device: torch.device | str,
    dtype: torch.dtype,
    *,
    config: OpenVLAConfig | None = None,
) -> OpenVLA:
    """Build the model without memory, check every tensor's name and shape against the shards, then fill it on `device`.

    Args:
        source: from `locate`, or a folder.
        config: in place of the folder's config.json, for reference checkpoints whose vision sizes stand elsewhere.

    Raises:
        TutorialError: see `read_config`, `read_headers`, `check_names`; or the device's memory does not hold the weights.
    """
    folder = source if isinstance(source, Path) else source.folder
    model = meta_model(config or read_config(need(folder, "config.json", "the model's sizes")))
    entries = read_headers(shard_paths(folder))
    check_names(entries, model.state_dict(), str(folder))
    try:
        materialise(model, device, dtype)
    except torch.OutOfMemoryError as e:
        gib = sum(p.numel() for p in model.parameters()) * dtype.itemsize / 2**30
        raise TutorialError(
            f"The weights need {gib:.1f} GiB on {device}, which has less free. Close other programs or use a larger GPU."
        ) from e
    fill(entries, model.state_dict())
    return model


def shard_paths(folder: Path) -> list[Path]:
    """The safetensors files of a folder: those that the index names, otherwise all.

    Raises:
        TutorialError: there are none, or only pickles.
    """
    index = folder / "model.safetensors.index.json"
    if index.exists():
        try:
            return [
                folder / name
                for name in sorted(set(json.loads(index.read_text())["weight_map"].values()))
            ]
        except (ValueError, KeyError, AttributeError, TypeError) as e:
            raise TutorialError(
                f"{index} is damaged ({e!r}). Expected JSON with a weight_map; download it again."
            ) from e
    if found := sorted(folder.glob("*.safetensors")):
        return found
    pickles = [p.name for pattern in PICKLES for p in folder.glob(pattern)]
    raise TutorialError(
        f"No *.safetensors in {folder}{f', only {pickles}. {_NO_PICKLE}' if pickles else '. Download the weights too.'}"
    )


def need(folder: Path, name: str, purpose: str) -> Path:
    """The path of a file that a checkpoint must have, or an error that says what it is for."""
    if not (folder / name).exists():
        raise TutorialError(
            f"{folder} has no {name} ({purpose}). Expected a whole checkpoint folder; download what is missing."
        )
    return folder / name


def load_statistics(folder: Path) -> Mapping[str, ActionStatistics]:
    """Action statistics by key; dataset_statistics.json replaces config.json's norm_stats entirely, as in the published code.

    Raises:
        TutorialError: neither has any.
    """
    path = folder / "dataset_statistics.json"
    source = path if path.exists() else need(folder, "config.json", "the model's sizes")
    try:
        raw = json.loads(source.read_text())
    except ValueError as e:
        raise TutorialError(
            f"{source} is not JSON ({e}). Expected action statistics; download it again."
        ) from e
    stats = raw if path.exists() else raw.get("norm_stats")
    if not stats:
        raise TutorialError(
            f"{folder} has no action statistics: neither a dataset_statistics.json nor norm_stats in config.json. Tokens cannot become motion."
        )
    return parse_statistics(stats)


def load_tokenizer(folder: Path) -> Tokenizer:
    """The checkpoint's tokenizer, from its tokenizer.json alone.

    Raises:
        TutorialError: there is none, or it does not parse.
    """
    from transformers import PreTrainedTokenizerFast

    path = need(folder, "tokenizer.json", "the tokenizer")
    try:
        return cast(Tokenizer, PreTrainedTokenizerFast(tokenizer_file=str(path)))  # type: ignore[no-untyped-call]
    except (
        Exception
    ) as e:  # the tokenizers library raises a bare Exception for a file that does not parse
        raise TutorialError(f"{path} is not a tokenizer ({e}). Download it again.") from e
