"""The tensors of a checkpoint against the model's: renamed where that is certain, otherwise named.

Tools that wrap a model put words into the names of its tensors, and newer versions of transformers
order them in another way. The tensors are the same, so they are read under the model's names.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping, Sequence

from torch import Tensor

from vla_tutorial.errors import TutorialError
from vla_tutorial.openvla.foreign import recognise_tensors
from vla_tutorial.openvla.shards import Entry

# What PyTorch's compiler, FSDP, activation checkpointing and DDP put into names.
WRAPPERS = ("_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module", "module")
# How many tensors of a kind an error lists.
SHOWN = 4

log = logging.getLogger(__name__)


def match_names(
    entries: Mapping[str, Entry], expected: Mapping[str, Tensor], source: str
) -> dict[str, Entry]:
    """The entries under the model's names, one for each of its tensors.

    Raises:
        TutorialError: tensors are missing, extra or of another shape. It lists them, and says what
            the checkpoint is where names tell. `source` is what the text calls the checkpoint.
    """
    found = dict(entries)
    if found.keys() != expected.keys():
        found = _renamed(entries, expected)
    missing = [name for name in expected if name not in found]
    extra = [name for name in found if name not in expected]
    common = [name for name in expected if name in found]
    reshaped = [name for name in common if found[name].shape != expected[name].shape]
    if missing or extra or reshaped:
        problems = [
            *_listed("missing", [f"{name} {tuple(expected[name].shape)}" for name in missing]),
            *_listed("extra", [f"{name} {found[name].shape}" for name in extra]),
            *_listed("reshaped", [_two_shapes(name, found, expected) for name in reshaped]),
        ]
        raise TutorialError(
            f"The tensors in {source} are not those of the model that its config.json describes: "
            f"{'; '.join(problems)}. {recognise_tensors(extra) or _remedy(extra, reshaped)}"
        )
    _tell_of_names(entries, found, source)
    return found


def _listed(kind: str, texts: Sequence[str]) -> list[str]:
    """The first texts in words, each after `kind`, and how many more there are."""
    shown = [f"{kind} {text:.200}" for text in texts[:SHOWN]]
    if len(texts) > SHOWN:
        shown.append(f"{len(texts) - SHOWN} more {kind}")
    return shown


def _remedy(extra: Sequence[str], reshaped: Sequence[str]) -> str:
    if not extra and not reshaped:
        return "Download the whole checkpoint, with the config.json that came with its weights."
    if reshaped:
        return "Use the config.json that came with these weights."
    return "Use a checkpoint in OpenVLA's published layout."


def _tell_of_names(entries: Mapping[str, Entry], found: Mapping[str, Entry], source: str) -> None:
    for theirs, ours in zip(entries, found, strict=True):
        if theirs != ours:
            what = "names its tensors in another way than openvla-7b does"
            example = f"{theirs} for {ours}"
            log.warning("%s %s (%s); they are read as the same tensors.", source, what, example)
            return


def _two_shapes(name: str, found: Mapping[str, Entry], expected: Mapping[str, Tensor]) -> str:
    return f"{name} has shape {found[name].shape}, expected {tuple(expected[name].shape)}"


def _renamed(entries: Mapping[str, Entry], expected: Mapping[str, Tensor]) -> dict[str, Entry]:
    """The entries, in their order, under the names that agree best with the model's."""
    names = list(entries)
    best = names
    for change in (_without_wrappers, _without_common_prefix, _as_published):
        names = change(names)
        if len(set(names)) == len(names) and _agreeing(names, expected) > _agreeing(best, expected):
            best = names
    return dict(zip(best, entries.values(), strict=True))


def _agreeing(names: Collection[str], expected: Mapping[str, Tensor]) -> int:
    return sum(name in expected for name in names)


def _without_wrappers(names: Sequence[str]) -> list[str]:
    return [".".join(w for w in name.split(".") if w not in WRAPPERS) for name in names]


def _without_common_prefix(names: Sequence[str]) -> list[str]:
    """Names without the words that all of them begin with, such as PEFT's `base_model.model.`."""
    words = [name.split(".") for name in names]
    shared = 0
    for column in zip(*words, strict=False):
        if len(set(column)) > 1:
            break
        shared += 1
    return [".".join(one[shared:]) for one in words]


def _as_published(names: Sequence[str]) -> list[str]:
    """From the order of transformers ≥ 4.52: `model.language_model.layers…`, `lm_head.weight`."""
    return [_published_name(name) for name in names]


def _published_name(name: str) -> str:
    name = name.removeprefix("model.")
    owner, _, rest = name.partition(".")
    if owner == "lm_head":
        return f"language_model.{name}"
    if owner == "language_model" and rest.startswith(("embed_tokens.", "layers.", "norm.")):
        return f"language_model.model.{rest}"
    return name
