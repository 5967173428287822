"""Fetching a checkpoint from huggingface.co, after a look at what it is."""

from __future__ import annotations

from pathlib import Path

from vla_tutorial.errors import TutorialError
from vla_tutorial.openvla.foreign import recognise_files

# What is fetched: weights, settings and the tokenizer; never *.py, *.bin or *.pt.
SMALL = ["*.json", "tokenizer.model"]
WANTED = [*SMALL, "*.safetensors"]
# Folders beside the weights hold adapters and states of training.
_NOT_WANTED = ["*/*"]


def download(name: str, revision: str | None) -> Path:
    """The folder of a repository's files on this machine, fetched where they are not there yet.

    Args:
        name: `owner/name`.
        revision: branch, tag or commit; None takes the default branch. The folder's name is the
            commit that it stands for.

    Raises:
        TutorialError: the repository cannot be had, or what its files are called says that it is
            no OpenVLA which predicts tokens. Its weights are not fetched then.
    """
    from huggingface_hub import errors, snapshot_download

    try:
        small = snapshot_download(
            name, revision=revision, allow_patterns=SMALL, ignore_patterns=_NOT_WANTED
        )
        commit = Path(small).name
        stranger = recognise_files(_listing(name, commit))
        if stranger:
            raise TutorialError(f"{name}: {stranger}")
        whole = snapshot_download(
            name, revision=commit, allow_patterns=WANTED, ignore_patterns=_NOT_WANTED
        )
    except (errors.HfHubHTTPError, errors.HFValidationError, OSError) as e:
        raise TutorialError(_explain_error(e, name, revision)) from e
    return Path(whole)


def _listing(name: str, commit: str) -> list[str]:
    """The names of all files of a repository; none where the hub does not tell."""
    from huggingface_hub import errors, snapshot_download

    try:
        found = snapshot_download(name, revision=commit, dry_run=True)
    except (errors.HfHubHTTPError, OSError):
        return []
    return [file.filename for file in found] if isinstance(found, list) else []


def _explain_error(error: Exception, name: str, revision: str | None) -> str:
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
