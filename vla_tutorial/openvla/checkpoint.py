"""A checkpoint in the published layout: from a folder or a hub id to all that a policy is made of.

No code from a checkpoint ever runs.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import torch

from vla_tutorial.actions import ActionStatistics, parse_statistics
from vla_tutorial.errors import TutorialError
from vla_tutorial.openvla.config import OpenVLAConfig, read_config, read_json
from vla_tutorial.openvla.model import OpenVLA, materialise, meta_model
from vla_tutorial.openvla.shards import check_names, fill_parameters, read_headers
from vla_tutorial.prompt import Tokenizer

# What is fetched from the hub: weights, settings and the tokenizer; never *.py, *.bin or *.pt.
WANTED = ["*.safetensors", "*.json", "tokenizer.model"]
_NO_PICKLE = (
    "Pickle files can run any code while they are opened, so they are refused. Expected "
    "*.safetensors; ask the author, or convert the file on a machine that you can afford to lose."
)


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

    A file that is missing or damaged, and a model that is no OpenVLA, are errors.

    Args:
        name: a folder, or `owner/name` on huggingface.co.
        revision: branch, tag or commit on the hub; the commit that it stands for is recorded.
    """
    folder, commit = locate_folder(name, revision)
    config = read_config(_require_file(folder, "config.json", "the model's sizes"))
    statistics = _read_statistics(folder)
    return Checkpoint(folder, str(name), commit, config, statistics, load_tokenizer(folder))


def locate_folder(name: str | Path, revision: str | None = None) -> tuple[Path, str | None]:
    """The folder of a checkpoint, downloaded if need be, and its commit on the hub or None.

    A pickle file, and what is neither a folder nor a reachable repository, are errors.
    """
    path = Path(name).expanduser()
    if path.is_dir():
        return path, None
    if path.is_file():
        remedy = _NO_PICKLE if _is_pickle(path) else "Expected the folder that it lies in."
        raise TutorialError(f"{path} is a file. {remedy}")
    name = str(name)
    if name.count("/") != 1 or name.startswith(("/", ".", "~")):
        raise TutorialError(
            f"No folder {name!r}. Expected one with config.json, or a hub id: openvla/openvla-7b."
        )
    folder = _download(name, revision)
    return folder, folder.name


def _is_pickle(path: Path) -> bool:
    return path.suffix in (".bin", ".pt", ".pth", ".ckpt", ".pkl")


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
            return f"{name} is gated: ask its owner on its page, then run `hf auth login`."
        case errors.RevisionNotFoundError():
            return f"{name} has no revision {revision!r}. Expected a branch, tag or commit of it."
        case errors.RepositoryNotFoundError():
            return f"No access to {name!r}. Check its spelling; if private, run `hf auth login`."
        case errors.HFValidationError():
            return f"{name!r} is neither a folder nor a hub id ({error}). Expected owner/name."
    at_revision = f" at revision {revision!r}" if revision else ""
    first_line = str(error).partition("\n")[0][:160]
    return (
        f"{name}{at_revision} is not in this machine's hub cache and the hub cannot be reached "
        f"({type(error).__name__}: {first_line}). Connect, or download it elsewhere "
        f"(`hf download {name}`) and give the folder."
    )


# Parameters made in inference mode could not be filled, or trained, later.
@torch.inference_mode(False)
def load_weights(
    folder: Path, config: OpenVLAConfig, device: torch.device | str, dtype: torch.dtype
) -> OpenVLA:
    """Build the model without memory, check its tensors against the shards, then fill it.

    Damaged shards, other tensors than the model's, and a device that is too small are errors.
    """
    model = meta_model(config)
    entries = read_headers(find_shards(folder))
    check_names(entries, model.state_dict(), str(folder))
    try:
        materialise(model, device, dtype)
    except torch.OutOfMemoryError as e:
        gib = model.size * dtype.itemsize / 2**30
        raise TutorialError(
            f"The weights need {gib:.1f} GiB, more than is free on {device}. "
            "Close other programs or use a larger GPU."
        ) from e
    fill_parameters(entries, model.state_dict())
    return model


def find_shards(folder: Path) -> list[Path]:
    """The safetensors files that the folder's index names, otherwise all; none is an error."""
    index = folder / "model.safetensors.index.json"
    if index.exists():
        raw = read_json(index, "an index with a weight_map")
        try:
            return [folder / name for name in sorted(set(raw["weight_map"].values()))]
        except (KeyError, AttributeError, TypeError) as e:
            raise TutorialError(f"{index} has no weight_map ({e!r}); download it again.") from e
    found = sorted(folder.glob("*.safetensors"))
    if found:
        return found
    pickles = [path.name for path in sorted(folder.iterdir()) if _is_pickle(path)]
    remedy = f"Found only {pickles}. {_NO_PICKLE}" if pickles else "Download the weights too."
    raise TutorialError(f"No *.safetensors in {folder}. {remedy}")


def _require_file(folder: Path, name: str, purpose: str) -> Path:
    path = folder / name
    if not path.exists():
        raise TutorialError(f"{folder} has no {name} ({purpose}). Download the whole checkpoint.")
    return path


def _read_statistics(folder: Path) -> Mapping[str, ActionStatistics]:
    """dataset_statistics.json replaces config.json's norm_stats entirely, as published."""
    path = folder / "dataset_statistics.json"
    found = read_json(folder / "config.json", "a configuration").get("norm_stats")
    if path.exists():
        found = read_json(path, "action statistics")
    if not found:
        raise TutorialError(
            f"{folder} has no action statistics: neither a dataset_statistics.json nor norm_stats "
            "in config.json. Tokens cannot become motion. Download one of the two."
        )
    return parse_statistics(found)


def load_tokenizer(folder: Path) -> Tokenizer:
    """The checkpoint's tokenizer, from its tokenizer.json alone, which must be there and parse."""
    from transformers import PreTrainedTokenizerFast

    path = _require_file(folder, "tokenizer.json", "the tokenizer")
    try:
        tokenizer = PreTrainedTokenizerFast(tokenizer_file=str(path))  # type: ignore[no-untyped-call]
    # The tokenizers library raises a bare Exception for a file that does not parse.
    except Exception as e:
        raise TutorialError(f"{path} is not a tokenizer ({e}). Download it again.") from e
    return cast(Tokenizer, tokenizer)
