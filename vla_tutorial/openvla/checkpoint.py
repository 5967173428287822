"""A checkpoint in the published layout: from a folder or a hub id to all that a policy is made of.

No code from a checkpoint ever runs.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch

from vla_tutorial.actions import ActionStatistics, parse_statistics
from vla_tutorial.errors import TutorialError
from vla_tutorial.openvla.config import OpenVLAConfig, parse_config, read_json
from vla_tutorial.openvla.model import OpenVLA, materialise, meta_model
from vla_tutorial.openvla.shards import check_names, fill_parameters, read_headers
from vla_tutorial.prompt import Tokenizer

WANTED = ["*.safetensors", "*.json", "tokenizer.model"]
"""What is fetched from the hub: weights, settings and the tokenizer; never *.py, *.bin or *.pt."""

PICKLES = ("*.bin", "*.pt", "*.pth", "*.ckpt", "*.pkl")

_NO_PICKLE = (
    "Pickle files (.bin, .pt) can run any code while they are opened, so they are refused. "
    "Expected *.safetensors; ask the author for them, or convert the file on a machine that you "
    "can afford to lose."
)


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint on this machine. Its small files are read, its weights are not.

    Attributes:
        folder: holds config.json and the shards.
        name: the folder or hub id as it was asked for.
        revision: the commit on the hub; None for a local folder.
        config: the model's sizes.
        statistics: action statistics by unnorm key.
        tokenizer: text to ids.
    """

    folder: Path
    name: str
    revision: str | None
    config: OpenVLAConfig
    statistics: Mapping[str, ActionStatistics]
    tokenizer: Tokenizer


def open_checkpoint(name: str | Path, revision: str | None = None) -> Checkpoint:
    """Find a checkpoint, or download it, and read everything but its weights.

    Args:
        name: a folder, or `owner/name` on huggingface.co.
        revision: branch, tag or commit on the hub; the commit that it stands for is recorded.

    Raises:
        TutorialError: see `locate_folder` and `parse_config`; or a file is missing or damaged.
    """
    folder, commit = locate_folder(name, revision)
    path = require_file(folder, "config.json", "the model's sizes")
    raw = read_json(path, "the config.json of an OpenVLA checkpoint")
    return Checkpoint(
        folder,
        str(name),
        commit,
        config=parse_config(raw, str(path)),
        statistics=_read_statistics(folder, raw),
        tokenizer=load_tokenizer(folder),
    )


def locate_folder(name: str | Path, revision: str | None = None) -> tuple[Path, str | None]:
    """Find a local folder, or download from the hub what is not in its cache yet.

    Returns:
        The folder, and the commit on the hub or None.

    Raises:
        TutorialError: neither a folder nor a reachable repository, or a pickle file.
    """
    path = Path(name).expanduser()
    if path.is_dir():
        return path, None
    if path.is_file():
        pickle = any(path.match(pattern) for pattern in PICKLES)
        remedy = _NO_PICKLE if pickle else "Expected the folder that it lies in."
        raise TutorialError(f"{path} is a file. {remedy}")
    name = str(name)
    if name.count("/") != 1 or name.startswith(("/", ".", "~")):
        raise TutorialError(
            f"No folder {name!r}. Expected a folder with config.json, or a hub id such as "
            "openvla/openvla-7b."
        )
    folder = _download(name, revision)
    return folder, folder.name


def _download(name: str, revision: str | None) -> Path:
    from huggingface_hub import errors, snapshot_download

    try:
        return Path(snapshot_download(name, revision=revision, allow_patterns=WANTED))
    except (errors.HfHubHTTPError, errors.HFValidationError, OSError) as e:
        raise TutorialError(_explain_hub_error(e, name, revision)) from e


def _explain_hub_error(error: Exception, name: str, revision: str | None) -> str:
    from huggingface_hub import errors

    match error:
        case errors.GatedRepoError():
            return (
                f"No access to {name} on the hub: its owner must let you in. "
                "Ask on its page, then run `hf auth login`."
            )
        case errors.RevisionNotFoundError():
            return (
                f"{name} on the hub has no revision {revision!r}. "
                "Expected a branch, tag or commit of it."
            )
        case errors.RepositoryNotFoundError():
            return (
                f"No repository {name!r} on the hub, or no access to it. "
                "Check the spelling; if it is private, run `hf auth login`."
            )
        case errors.HFValidationError():
            return (
                f"{name!r} is neither a folder here nor a valid hub id ({error}). "
                "Expected a folder or owner/name."
            )
    at_revision = f" at revision {revision!r}" if revision else ""
    first_line = str(error).partition("\n")[0][:160]
    return (
        f"{name}{at_revision} is not in this machine's hub cache and the hub cannot be reached "
        f"({type(error).__name__}: {first_line}). Connect, or download it elsewhere "
        f"(`hf download {name}`) and give the folder."
    )


def load_model(checkpoint: Checkpoint, device: torch.device | str, dtype: torch.dtype) -> OpenVLA:
    """The checkpoint's model, filled, on `device`; raises what `load_weights` raises."""
    return load_weights(checkpoint.folder, checkpoint.config, device, dtype)


# Parameters made in inference mode could not be filled, or trained, later.
@torch.inference_mode(False)
def load_weights(
    folder: Path, config: OpenVLAConfig, device: torch.device | str, dtype: torch.dtype
) -> OpenVLA:
    """Build the model without memory, check its tensors against the shards, then fill it.

    Raises:
        TutorialError: see `read_headers` and `check_names`; or the device lacks the memory.
    """
    model = meta_model(config)
    entries = read_headers(find_shards(folder))
    check_names(entries, model.state_dict(), str(folder))
    try:
        materialise(model, device, dtype)
    except torch.OutOfMemoryError as e:
        gib = model.size * dtype.itemsize / 2**30
        raise TutorialError(
            f"The weights need {gib:.1f} GiB on {device}, which has less free. "
            "Close other programs or use a larger GPU."
        ) from e
    fill_parameters(entries, model.state_dict())
    return model


def find_shards(folder: Path) -> list[Path]:
    """The safetensors files of a folder: those that the index names, otherwise all.

    Raises:
        TutorialError: there are none, or only pickles.
    """
    index = folder / "model.safetensors.index.json"
    if index.exists():
        raw = read_json(index, "an index with a weight_map")
        try:
            return [folder / name for name in sorted(set(raw["weight_map"].values()))]
        except (KeyError, AttributeError, TypeError) as e:
            raise TutorialError(
                f"{index} is damaged ({e!r}). Expected JSON with a weight_map; download it again."
            ) from e
    found = sorted(folder.glob("*.safetensors"))
    if found:
        return found
    pickles = [path.name for path in sorted(folder.iterdir()) if any(map(path.match, PICKLES))]
    if pickles:
        raise TutorialError(f"No *.safetensors in {folder}, only {pickles}. {_NO_PICKLE}")
    raise TutorialError(f"No *.safetensors in {folder}. Download the weights too.")


def require_file(folder: Path, name: str, purpose: str) -> Path:
    """The path of a file that a checkpoint must have, or an error that says what it is for."""
    path = folder / name
    if not path.exists():
        raise TutorialError(
            f"{folder} has no {name} ({purpose}). "
            "Expected a whole checkpoint folder; download what is missing."
        )
    return path


def _read_statistics(folder: Path, config: Mapping[str, Any]) -> Mapping[str, ActionStatistics]:
    """dataset_statistics.json replaces config.json's norm_stats entirely, as published."""
    path = folder / "dataset_statistics.json"
    found = read_json(path, "action statistics") if path.exists() else config.get("norm_stats")
    if not found:
        raise TutorialError(
            f"{folder} has no action statistics: neither a dataset_statistics.json nor norm_stats "
            "in config.json. Tokens cannot become motion. Download one of the two."
        )
    return parse_statistics(found)


def load_tokenizer(folder: Path) -> Tokenizer:
    """The checkpoint's tokenizer, from its tokenizer.json alone.

    Raises:
        TutorialError: there is none, or it does not parse.
    """
    from transformers import PreTrainedTokenizerFast

    path = require_file(folder, "tokenizer.json", "the tokenizer")
    try:
        tokenizer = PreTrainedTokenizerFast(tokenizer_file=str(path))  # type: ignore[no-untyped-call]
    # The tokenizers library raises a bare Exception for a file that does not parse.
    except Exception as e:
        raise TutorialError(f"{path} is not a tokenizer ({e}). Download it again.") from e
    return cast(Tokenizer, tokenizer)
