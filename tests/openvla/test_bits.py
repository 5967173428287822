"""Weights in 8 and 4 bits: rounding, loading, what they cost, and every way to go wrong."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from golden_folder import FOLDER, golden
from safetensors.torch import load_file

from vla_tutorial.errors import TutorialError
from vla_tutorial.openvla import checkpoint
from vla_tutorial.openvla.bits.arithmetic import (
    Quantised,
    group_of,
    is_quantised,
    join_rows,
    quantise,
    quantise_model,
    stacks_of,
)
from vla_tutorial.openvla.bits.loading import weights_bytes
from vla_tutorial.openvla.checkpoint import load_weights
from vla_tutorial.openvla.config import OpenVLAConfig
from vla_tutorial.openvla.engine import Engine
from vla_tutorial.openvla.model import OpenVLA, meta_model


def load(bits: int | None, cache: Path | None = None) -> OpenVLA:
    return load_weights(FOLDER, golden().config, "cpu", torch.float32, bits, cache)


def parts(model: OpenVLA) -> list[Quantised]:
    return [getattr(*stack[0]).whole for stack in stacks_of(model)]


@pytest.mark.parametrize(("bits", "steps"), [(8, 254), (4, 15)])
def test_rounding_errs_by_half_a_step_at_most(bits: int, steps: int) -> None:
    torch.manual_seed(0)
    weight = torch.randn(24, 512)
    found = quantise(weight, bits)
    assert found.bits == bits and found.shape == (24, 512)
    assert found.nbytes <= 24 * 512 * bits / 8 + found.scale.nbytes * 2
    back = found.dequantise()
    spread = 2 * weight.abs().amax(1, keepdim=True)
    if bits == 4:
        grouped = weight.unflatten(1, (-1, group_of(512)))
        spread = (grouped.amax(-1) - grouped.amin(-1)).repeat_interleave(128, 1)
    assert ((back - weight).abs() <= spread / steps * 0.51).all()


@pytest.mark.parametrize("bits", [8, 4])
def test_a_constant_and_zero_stay(bits: int) -> None:
    for value in (0.0, 0.5, -3.0):
        weight = torch.full((2, 64), value)
        torch.testing.assert_close(quantise(weight, bits).dequantise(), weight)


def test_groups_fit_openvla_and_small_models() -> None:
    assert [group_of(k) for k in (4096, 11008, 64, 48, 10)] == [128, 128, 32, 8, 1]


@pytest.mark.parametrize(("bits", "error"), [(3, "3 bits"), (16, "16 bits")])
def test_other_bit_widths_are_named(bits: int, error: str) -> None:
    with pytest.raises(TutorialError, match=f"{error} are not known; expected 8 or 4"):
        quantise(torch.ones(2, 4), bits)


@pytest.mark.parametrize("bits", [8, 4])
def test_loading_gives_what_quantising_a_loaded_model_gives(bits: int) -> None:
    """And only Llama's layers differ from the checkpoint's own weights."""
    loaded = load(bits)
    expected = quantise_model(load(None), bits)
    assert is_quantised(loaded)
    for a, b in zip(parts(loaded), parts(expected), strict=True):
        assert torch.equal(a.packed, b.packed) and torch.equal(a.scale, b.scale)
    rest = dict(expected.named_parameters())
    for name, p in loaded.named_parameters():
        assert torch.equal(p, rest.pop(name))
    assert not rest


@pytest.mark.parametrize("bits", [8, 4])
def test_eager_and_engine_agree_on_quantised_weights(bits: int) -> None:
    model = load(bits)
    prompts = [golden().prompt(case["name"]) for case in golden().json["cases"][:3]]
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randint(0, 256, (3, 224, 224, 3), dtype=torch.uint8, generator=generator)
    expected = model.generate(pixels, prompts, 7)
    for engine in (Engine(model), Engine(model, drafts=True)):
        for _ in range(2):
            assert torch.equal(engine.generate(pixels, prompts, 7), expected)


def test_eight_bits_are_nearer_to_the_full_weights_than_four() -> None:
    exact = load(None)
    ids = torch.tensor([golden().prompt(golden().json["cases"][0]["name"])])
    pixels = torch.rand(1, 6, 224, 224)
    with torch.inference_mode():
        logits = {bits: load(bits)(pixels, ids) for bits in (8, 4)}
        reference = exact(pixels, ids)
    errors = {bits: float((one - reference).square().mean().sqrt()) for bits, one in logits.items()}
    assert 0 < 4 * errors[8] < errors[4]


@pytest.mark.parametrize("bits", [8, 4])
def test_a_cache_gives_the_same_weights(bits: int, tmp_path: Path) -> None:
    cache = tmp_path / "kept" / "weights.safetensors"
    first = load(bits, cache)
    written = cache.stat().st_mtime_ns
    second = load(bits, cache)
    assert cache.stat().st_mtime_ns == written
    for a, b in zip(parts(first), parts(second), strict=True):
        assert torch.equal(a.packed, b.packed) and torch.equal(a.scale, b.scale)
        assert a.group == b.group
        assert (a.offset is None) == (b.offset is None)


def test_a_cache_of_something_else_is_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = tmp_path / "weights.safetensors"
    load(8, cache)
    with pytest.raises(TutorialError, match=r"holds weights of another weights .'8 bits"):
        load(4, cache)
    monkeypatch.setattr("vla_tutorial.openvla.bits.loading.CACHE_VERSION", "2")
    with pytest.raises(TutorialError, match=r"another version .'1', expected '2'"):
        load(8, cache)
    cache.write_bytes(b"{}")
    with pytest.raises(TutorialError, match="is not a cache of quantised weights"):
        load(8, cache)


def test_sizes_of_openvla_7b() -> None:
    model = meta_model(OpenVLAConfig())
    gib = {bits: weights_bytes(model, 2, bits) / 2**30 for bits in (None, 8, 4)}
    assert 14.0 < gib[None] < 14.1
    assert 8.0 < gib[8] < 8.1
    assert 5.1 < gib[4] < 5.3


def test_too_little_memory_says_what_would_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    config: Any = OpenVLAConfig()
    monkeypatch.setattr(checkpoint, "read_headers", lambda paths: {})
    monkeypatch.setattr(checkpoint, "find_shards", lambda folder: [])
    monkeypatch.setattr(checkpoint, "match_names", lambda entries, *rest: entries)
    for free, fitting in ((9 << 30, "int8"), (8 << 30, "int4")):
        monkeypatch.setattr(checkpoint, "_free_memory", lambda device, free=free: free)
        with pytest.raises(TutorialError, match=f"--weights {fitting} would fit"):
            load_weights(FOLDER, config, "cpu", torch.bfloat16)
    monkeypatch.setattr(checkpoint, "_free_memory", lambda device: 2 << 30)
    with pytest.raises(TutorialError, match=r"the 2\.0 GiB that are free on cpu\. Close other"):
        load_weights(FOLDER, config, "cpu", torch.bfloat16, 4)


@pytest.mark.parametrize("bits", [8, 4])
def test_rows_quantised_in_parts_are_those_of_the_whole(bits: int) -> None:
    torch.manual_seed(0)
    weight = torch.randn(70, 64)
    whole = quantise(weight, bits)
    joined = join_rows([quantise(rows, bits) for rows in weight.split(32)])
    assert torch.equal(whole.packed, joined.packed) and torch.equal(whole.scale, joined.scale)
    assert joined.shape == whole.shape and joined.group == whole.group
    if bits == 4:
        assert torch.equal(whole.offset, joined.offset)


@pytest.mark.parametrize("bits", [8, 4])
def test_the_cache_is_an_ordinary_safetensors_file(bits: int, tmp_path: Path) -> None:
    """It is written without the library, which would need all tensors in memory."""
    path = tmp_path / "weights.safetensors"
    model = load(bits, path)
    tensors = load_file(path)
    assert len(tensors) == len(parts(model)) * (2 if bits == 8 else 3)
    packed = [tensor for name, tensor in tensors.items() if name.endswith(".packed")]
    expected = {one.packed.shape for one in parts(model)}
    assert {tensor.shape for tensor in packed} == expected
    assert sum(t.nbytes for t in tensors.values()) == sum(one.nbytes for one in parts(model))


def test_a_cache_that_is_not_written_to_its_end_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[int] = []

    def fail(weight: torch.Tensor, bits: int) -> Quantised:
        calls.append(bits)
        if len(calls) > 3:
            raise KeyboardInterrupt
        return quantise(weight, bits)

    monkeypatch.setattr("vla_tutorial.openvla.bits.loading.quantise", fail)
    with pytest.raises(KeyboardInterrupt):
        load(8, tmp_path / "weights.safetensors")
    assert not list(tmp_path.iterdir())
