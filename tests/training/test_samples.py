"""What is learned from and asked: families of sentences, prompts, the ring of pictures."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from small_training import labels, pictures, published
from tokenizers import Tokenizer

from vla_tutorial.conditions.goals import goal_of
from vla_tutorial.conditions.words import held_out_sentences
from vla_tutorial.errors import TutorialError
from vla_tutorial.policies.suites import packaged_weights
from vla_tutorial.scene import pick_up_sentence, put_both_sentence
from vla_tutorial.sim.protocol import task_instructions
from vla_tutorial.training import samples as samples_module
from vla_tutorial.training.samples import PUBLISHED_SHARE, Prompts, Samples
from vla_tutorial.training.sentences import (
    SUITES,
    all_sentences,
    families,
    family_number,
    fingerprint,
)
from vla_tutorial.wiring import OPENVLA_TEMPLATE

DAMAGED = 40

# Families


def test_every_task_has_a_family_whose_first_sentence_is_its_own() -> None:
    """Numbers count the tasks suite by suite: a stored label means the same in every run."""
    numbers = []
    for suite in SUITES:
        for sentence in task_instructions(suite):
            numbers.append(family_number(sentence))
            assert families()[numbers[-1]][0] == sentence
    assert numbers == list(range(40))
    assert family_number(pick_up_sentence("milk_1")) == 17


def test_any_two_things_beside_the_basket_have_a_family() -> None:
    """In either order, as layouts draw them, and each of them once."""
    both = [
        put_both_sentence("ketchup_1", "milk_1"),
        put_both_sentence("milk_1", "ketchup_1"),
        put_both_sentence("alphabet_soup_1", "tomato_sauce_1"),
    ]
    assert [families()[family_number(sentence)][0] for sentence in both] == both
    # 42 pairs, of which three are tasks of libero_10.
    assert len(families()) == len(set(published())) == 40 + 42 - 3


def test_families_are_the_same_in_every_process() -> None:
    """Python's hashes of strings differ from run to run; these sentences must not."""
    code = (
        "from vla_tutorial.training import sentences\n"
        "few = dict(list(sentences._goals().items())[:3])\n"
        "sentences._goals = lambda: few\n"
        "print(sentences.families())"
    )
    environment = {**os.environ, "PYTHONHASHSEED": "7"}
    there = subprocess.run(
        [sys.executable, "-c", code],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    assert there.stdout.strip() == str(families()[:3])


FROZEN = "8eca1d54dc661cf0"
HELD_OUT_FROZEN = "9f51dbdbb98205ac"


def test_sentences_are_frozen() -> None:
    """Weights are trained on these. Whoever changes words.json trains again, then writes it here.

    Sentences of evaluation must not change either: another draw is another condition.
    """
    assert fingerprint() == FROZEN
    digest = hashlib.sha256()
    for suite in SUITES:
        for task in range(10):
            for held_out in held_out_sentences(goal_of(suite, task)):
                digest.update(f"{held_out.kind} {held_out.sentence}\n".encode())
    assert digest.hexdigest()[:16] == HELD_OUT_FROZEN


@pytest.mark.parametrize("policy", ["mini", "mini-narrow"])
def test_weights_that_ship_know_these_sentences(policy: str) -> None:
    config = packaged_weights(policy) / "config.json"
    if not config.is_file():
        pytest.skip("its weights do not ship")
    trained = json.loads(config.read_text())["training"]
    if "sentences" not in trained:
        pytest.skip("trained before the sentences had a fingerprint")
    assert trained["sentences"] == FROZEN


def test_a_family_says_one_thing_in_many_ways_and_some_of_it_damaged() -> None:
    for sentences in families():
        whole = sentences[:-DAMAGED]
        assert len(set(whole)) == len(whole) > 60
        known = {word for text in whole for word in text.split()}
        strange = [text for text in sentences[-DAMAGED:] if set(text.split()) - known]
        assert 5 < len(strange) < 35
    lengths = {len(text.split()) for text in families()[7]}
    assert min(lengths) < max(lengths)
    assert set(all_sentences()) == {text for texts in families() for text in texts[:-DAMAGED]}


def test_what_no_layout_asks_for_is_refused() -> None:
    with pytest.raises(TutorialError, match="pick up the mlk"):
        family_number("pick up the mlk and place it in the basket")


# Prompts


@pytest.fixture
def prompts(tokenizer: Tokenizer, monkeypatch: pytest.MonkeyPatch) -> Prompts:
    """Of three families, with 3, 1 and 5 sentences."""
    few = (families()[3][:3], families()[20][:1], families()[44][-5:])
    monkeypatch.setattr(samples_module, "families", lambda: few)
    return Prompts(tokenizer, "cpu")


def test_prompts_are_the_sentences_in_the_template(prompts: Prompts, tokenizer: Tokenizer) -> None:
    texts = [*families()[3][:3], families()[20][0], *families()[44][-5:]]
    assert len(prompts.ids) == len(prompts.lengths) == 9
    for ids, length, text in zip(prompts.ids, prompts.lengths, texts, strict=True):
        expected = tokenizer.encode(OPENVLA_TEMPLATE.format(instruction=text)).ids
        assert ids[:length].tolist() == [*expected, 3]
        assert not ids[length:].any()


def test_wordings_reach_every_sentence_of_a_family_and_no_others(prompts: Prompts) -> None:
    wording = torch.linspace(0, 1, 101)
    for family, rows in enumerate([[0, 1, 2], [3], [4, 5, 6, 7, 8]]):
        found = prompts.rows(torch.full((101,), family), wording)
        assert found[0] == rows[0]
        assert found.unique_consecutive().tolist() == rows
    mixed = prompts.rows(torch.tensor([2, 0, 1]), torch.tensor([0.0, 0.5, 0.99]))
    assert mixed.tolist() == [4, 1, 3]


def test_drawing_prefers_the_published_sentence(prompts: Prompts) -> None:
    torch.manual_seed(0)
    drawn = prompts.draw(torch.tensor([0, 1, 2]).repeat(2000)).view(-1, 3)
    assert drawn[:, 0].unique().tolist() == [0, 1, 2]
    assert (drawn[:, 1] == 3).all()
    counts = drawn[:, 2].bincount(minlength=9)[4:] / len(drawn)
    others = (1 - PUBLISHED_SHARE) / 5
    assert counts.tolist() == pytest.approx([PUBLISHED_SHARE + others] + [others] * 4, abs=0.04)


# Pictures


def test_new_pictures_take_the_place_of_the_oldest(tokenizer: Tokenizer) -> None:
    samples = Samples(6, tokenizer, "cpu")
    parts = [labels(4, seed) for seed in range(3)]
    assert samples.count == samples.added == 0
    samples.append(pictures(4), parts[0])
    assert samples.count == samples.added == 4
    samples.append(pictures(4, 100), parts[1])
    assert (samples.count, samples.added) == (6, 8)
    assert samples.images[:, 0, 0, 0].tolist() == [102, 103, 2, 3, 100, 101]
    samples.append(pictures(4, 200), parts[2])
    assert (samples.count, samples.added) == (6, 12)
    assert samples.images[:, 0, 0, 0].tolist() == [102, 103, 200, 201, 202, 203]
    # All that belongs to a picture moves with it.
    kept = [parts[1][np.array([2, 3])], parts[2]]
    for name in ("family", "bins", "positions", "keypoints", "fine"):
        expected = np.concatenate([getattr(part, name) for part in kept])
        assert np.array_equal(getattr(samples, name).numpy(), expected, equal_nan=True)
    drawn = samples.draw(64, 1.0, torch.Generator().manual_seed(0))
    assert set(drawn.tolist()) == {1, 3, 5}


def test_a_share_is_drawn_from_fine_work(tokenizer: Tokenizer) -> None:
    samples = Samples(200, tokenizer, "cpu")
    few = replace(labels(200), fine=np.arange(200) >= 196)
    generator = torch.Generator().manual_seed(0)
    samples.append(pictures(196), few[np.arange(196)])
    # There is none yet: from everything.
    assert (samples.draw(512, 0.25, generator) < 196).all()
    samples.append(pictures(4), few[np.arange(196, 200)])
    chosen = samples.draw(512, 0.25, generator)
    assert chosen.shape == (512,)
    assert set(chosen[:128].tolist()) == {196, 197, 198, 199}
    rest = chosen[128:]
    assert 0.1 < (rest < 40).float().mean() < 0.3
    assert (rest < 196).float().mean() > 0.9


def test_settling_forgets_the_order_of_arrival(tokenizer: Tokenizer) -> None:
    origins = [7 << 20, 3 << 20, 5 << 20]
    blocks = [(pictures(5, 10 * k), labels(5, k), origins[k]) for k in range(3)]
    drawn = []
    for order in ([0, 1, 2], [2, 0, 1]):
        samples = Samples(20, tokenizer, "cpu")
        for k in order:
            samples.append(*blocks[k])
        samples.settle()
        chosen = samples.draw(256, 0.3, torch.Generator().manual_seed(3))
        greys = samples.images[chosen, 0, 0, 0]
        drawn.append((greys, samples.bins[chosen], samples.family[chosen]))
    for mine, theirs in zip(*drawn, strict=True):
        assert torch.equal(mine, theirs)
    assert len(set(drawn[0][0].tolist())) == 15
