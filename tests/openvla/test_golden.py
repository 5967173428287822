"""The model against vectors of the official code: features, logits, tokens and actions.

`VLA_GOLDEN=<folder> pytest tests/openvla/test_golden.py` checks another folder of the same form.
"""

from __future__ import annotations

import json
import zlib
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import Any

import numpy as np
import pytest
import torch
from golden_folder import DATA, FOLDER, golden, model
from numpy.typing import NDArray

from vla_tutorial.actions import (
    ActionStatistics,
    decode,
    find_statistics,
    parse_statistics,
    to_libero,
)
from vla_tutorial.openvla.config import OpenVLAConfig
from vla_tutorial.openvla.engine import Engine
from vla_tutorial.openvla.model import meta_model, tokens_after_eos
from vla_tutorial.openvla.vision import VisionBackbone
from vla_tutorial.pixels import pixel_values

CASES = {case["name"]: case for case in golden().json["cases"]}
IMAGES = [key.removeprefix("image.") for key in golden().arrays if key.startswith("image.")]
DRAWN_ELSEWHERE = ("scale_factor", "token", "pos_embed", "latent")


@cache
def pixels(image: str) -> torch.Tensor:
    return torch.from_numpy(pixel_values(golden().arrays[f"image.{image}"]))[None]


@cache
def projected(image: str) -> torch.Tensor:
    with torch.inference_mode():
        return model().embed_image(pixels(image))


@cache
def statistics(key: str) -> ActionStatistics:
    """`dataset_statistics:None` names the only key of dataset_statistics.json, any other a key of config.json's norm_stats."""
    if not key.startswith("dataset_statistics:"):
        return find_statistics(
            key, parse_statistics(json.loads((FOLDER / "config.json").read_text())["norm_stats"])
        )
    known = parse_statistics(json.loads((FOLDER / "dataset_statistics.json").read_text()))
    name = key.removeprefix("dataset_statistics:")
    return next(iter(known.values())) if name == "None" else find_statistics(name, known)


def dimensions(case: str) -> int:
    return len(statistics(next(iter(CASES[case]["actions"]))).q01)


def expected(case: str) -> NDArray[Any]:
    return golden().arrays[f"case.{case}.decoded_slice"]


@pytest.mark.parametrize("image", IMAGES)
def test_image_features(image: str) -> None:
    arrays = golden().arrays
    if f"pixel_values.{image}" in arrays:
        np.testing.assert_allclose(
            pixels(image)[0], arrays[f"pixel_values.{image}"], rtol=0, atol=1e-6
        )
    np.testing.assert_allclose(projected(image)[0], arrays[f"projected.{image}"], rtol=0, atol=2e-5)
    if f"patch_features.{image}" in arrays:
        with torch.inference_mode():
            np.testing.assert_allclose(
                model().vision_backbone(pixels(image))[0],
                arrays[f"patch_features.{image}"],
                rtol=0,
                atol=1e-4,
            )


@pytest.mark.parametrize("case", CASES)
def test_logits(case: str) -> None:
    """One forward over the prompt and what the official code generated gives the logits of every step."""
    arrays, generated = golden().arrays, golden().arrays[f"case.{case}.generated"]
    ids = golden().prompt(case)
    with torch.inference_mode():
        logits = model().sequence_logits(
            projected(CASES[case]["image"]), torch.tensor([[*ids, *generated]])
        )[0]
    steps = logits[golden().config.vision.patches + len(ids) - 1 :][: len(generated)]
    np.testing.assert_allclose(
        torch.logsumexp(steps, -1), arrays[f"case.{case}.step_logsumexp"], rtol=0, atol=1e-4
    )
    top = torch.from_numpy(arrays[f"case.{case}.step_top5_ids"]).long()
    np.testing.assert_allclose(
        steps.gather(1, top), arrays[f"case.{case}.step_top5_logits"], rtol=0, atol=1e-4
    )
    np.testing.assert_array_equal(steps.argmax(-1), generated)
    for key in (k for k in arrays if k.startswith(f"case.{case}.step_logits_")):
        first, last = map(int, key.rsplit("_", 2)[1:])
        np.testing.assert_allclose(steps[:, first:last], arrays[key], rtol=0, atol=1e-4)
    if f"case.{case}.prefill_logits" in arrays:
        np.testing.assert_allclose(
            steps[0], arrays[f"case.{case}.prefill_logits"], rtol=0, atol=1e-4
        )


@pytest.mark.parametrize("path", ["eager", "engine"])
@pytest.mark.parametrize("case", CASES)
def test_tokens_and_actions(case: str, path: str) -> None:
    prompt, count = golden().prompt(case), dimensions(case)
    run = model().generate if path == "eager" else engine().generate
    generated = run(pixels(CASES[case]["image"]), [prompt], count)[0].tolist()
    tokens = tokens_after_eos(prompt, generated, golden().config.llama.eos_token_id)
    np.testing.assert_array_equal(tokens, expected(case))
    for key, action in CASES[case]["actions"].items():
        np.testing.assert_array_equal(decode(tokens, statistics(key)), action)
    if count == 7 and "libero_env_action" in CASES[case]:
        first = statistics(next(iter(CASES[case]["actions"])))
        np.testing.assert_array_equal(
            to_libero(decode(tokens, first)), CASES[case]["libero_env_action"]
        )


@cache
def engine() -> Engine:
    return Engine(model())


@pytest.mark.parametrize("path", ["eager", "engine"])
def test_a_batch_of_mixed_lengths_gives_the_tokens_of_one_by_one(path: str) -> None:
    names = [c for c in CASES if dimensions(c) == dimensions(next(iter(CASES)))]
    prompts = [golden().prompt(c) for c in names]
    images = torch.cat([pixels(CASES[c]["image"]) for c in names])
    run = model().generate if path == "eager" else engine().generate
    for prompt, row, case in zip(
        prompts, run(images, prompts, dimensions(names[0])).tolist(), names, strict=True
    ):
        np.testing.assert_array_equal(
            tokens_after_eos(prompt, row, golden().config.llama.eos_token_id),
            expected(case),
            err_msg=case,
        )


@pytest.mark.parametrize("i", range(len(golden().json["decode_table"])))
def test_decode_table(i: int) -> None:
    arrays = golden().arrays
    for key in (k for k in arrays if k.startswith(f"decode.{i}.action.")):
        stats = statistics(key.removeprefix(f"decode.{i}.action."))
        np.testing.assert_array_equal(decode(arrays[f"decode.{i}.ids"], stats), arrays[key])


def test_names_and_shapes_are_those_of_openvla_7b() -> None:
    published = json.loads((DATA / "openvla7b_state_dict_shapes.json").read_text())
    ours = {name: list(p.shape) for name, p in meta_model(OpenVLAConfig()).state_dict().items()}
    assert ours == published


def test_the_unshrunk_vision_tower() -> None:
    """Weights by the rule of the golden README, from numpy's Philox, so that 1.5 GB need no file."""
    with torch.device("meta"):
        tower = VisionBackbone(OpenVLAConfig().vision).eval()
    tower.to_empty(device="cpu")
    with np.load(DATA / "full_vision_golden.npz") as f, torch.inference_mode():
        parameters = dict(tower.named_parameters())
        with ThreadPoolExecutor() as pool:
            drawn = pool.map(
                lambda name: reference_weight(name, tuple(parameters[name].shape)), parameters
            )
            for parameter, weight in zip(parameters.values(), drawn, strict=True):
                parameter.copy_(torch.from_numpy(weight))
        with np.load(DATA / "tiny_openvla" / "golden.npz") as tiny:
            out = tower(torch.from_numpy(tiny["pixel_values.noise224"])[None])[0].numpy()
        np.testing.assert_array_equal(out.shape, f["shape"])
        np.testing.assert_allclose(
            out[::16, ::8], f["patches_0_16_all_channels_step8"], rtol=0, atol=2e-4
        )
        np.testing.assert_allclose(out.mean(0)[::8], f["mean"], rtol=0, atol=2e-4)


def reference_weight(name: str, shape: tuple[int, ...]) -> NDArray[np.float32]:
    seed = zlib.crc32(f"vision_backbone.{name}".encode())
    draw = np.random.Generator(np.random.Philox(seed)).standard_normal(shape, dtype=np.float32)
    owner, last = name.split(".")[-2:] if "." in name else ("", name)
    if last.endswith(DRAWN_ELSEWHERE):
        return 0.5 + 0.1 * draw if last == "scale_factor" else 0.5 * draw
    if last == "bias":
        return 0.05 * draw
    return (
        1 + 0.1 * draw
        if owner.startswith("norm")
        else draw / np.float32(np.sqrt(np.prod(shape[1:])))
    )
