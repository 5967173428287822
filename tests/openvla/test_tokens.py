"""Tokenizers: the ids that a model was trained on, or an error or a warning that names the file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tiny_checkpoint import CONFIG, WORDS, edit_json, write_tokenizer
from tokenizers import Regex, Tokenizer, models, pre_tokenizers, processors

from vla_tutorial.errors import TutorialError
from vla_tutorial.openvla.sizes import OpenVLAConfig
from vla_tutorial.openvla.tokens import load_tokenizer
from vla_tutorial.prompt import Prompt, token_ids
from vla_tutorial.wiring import OPENVLA_TEMPLATE

LLAMA = OpenVLAConfig()
WORD_IDS = {
    "<unk>": 0,
    "<s>": 1,
    "</s>": 2,
    "\n": 13,
    "the": 278,
    "to": 304,
    "In": 512,
    "should": 881,
    "What": 1724,
    "take": 2125,
    "action": 3158,
    "Out": 3744,
    "robot": 19964,
    ":": 29901,
    "?": 29973,
}
"""Llama-2's ids of the template's words."""


def write_llama_like(folder: Path, words: dict[str, int] = WORD_IDS, size: int = 32000) -> None:
    """A tokenizer of `size` tokens that splits the template as Llama-2's does."""
    taken = set(words.values())
    vocabulary = words | {f"word{i}": i for i in range(size) if i not in taken}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(" ", "removed"),
            pre_tokenizers.Split(Regex("[:?\n]"), "isolated"),
        ]
    )
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A", special_tokens=[("<s>", 1)]
    )
    tokenizer.save(str(folder / "tokenizer.json"))


def add_token(folder: Path, content: str, **settings: bool) -> None:
    flags = dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized", "special"), False)
    token = {"id": 32000, "content": content, **flags, **settings}
    edit_json(folder / "tokenizer.json", lambda value: value["added_tokens"].append(token))


def ids_of(folder: Path, config: OpenVLAConfig, instruction: str) -> Any:
    prompt = Prompt(OPENVLA_TEMPLATE.format(instruction=instruction))
    return token_ids(prompt, load_tokenizer(folder, config))


def test_llamas_ids(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    write_llama_like(tmp_path)
    ids = ids_of(tmp_path, LLAMA, "take")
    assert ids == [
        1,
        512,
        29901,
        1724,
        3158,
        881,
        278,
        19964,
        2125,
        304,
        2125,
        29973,
        13,
        3744,
        29901,
        29871,
    ]
    assert not caplog.text


def test_the_padding_token_of_openvla_is_no_reason(tmp_path: Path) -> None:
    write_llama_like(tmp_path)
    add_token(tmp_path, "<PAD>", special=True)
    assert ids_of(tmp_path, LLAMA, "take")[-1] == 29871


@pytest.mark.parametrize("words", [WORD_IDS | {"robot": 5}, WORD_IDS | {"?": 7}])
def test_other_ids_than_llamas(tmp_path: Path, words: dict[str, int]) -> None:
    write_llama_like(tmp_path, words)
    with pytest.raises(TutorialError, match=r"tokenizer.json gives the prompt's template the ids"):
        load_tokenizer(tmp_path, LLAMA)


@pytest.mark.parametrize("size", [32001, 128000])
def test_a_larger_vocabulary_whose_ids_agree(tmp_path: Path, size: int) -> None:
    write_llama_like(tmp_path, size=size)
    assert ids_of(tmp_path, LLAMA, "take")[0] == 1


def test_an_added_token_in_the_template(tmp_path: Path) -> None:
    write_llama_like(tmp_path)
    add_token(tmp_path, "robot take")
    with pytest.raises(TutorialError, match=r"added to its vocabulary.*'robot take'"):
        load_tokenizer(tmp_path, LLAMA)


def test_an_added_token_in_an_instruction(tmp_path: Path) -> None:
    write_tokenizer(tmp_path)
    add_token(tmp_path, "soup")
    tokenizer = load_tokenizer(tmp_path, CONFIG)
    assert token_ids(Prompt("the robot"), tokenizer)[:3] == [1, 9, 10]
    add_token(tmp_path, "pick up")
    with pytest.raises(TutorialError, match=r"'pick up the soup' by them: 'pick up'"):
        token_ids(Prompt("pick up the soup"), load_tokenizer(tmp_path, CONFIG))


def test_too_few_tokens_are_a_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Benchmarks run random weights of 7B with a tokenizer that is made up."""
    write_tokenizer(tmp_path)
    load_tokenizer(tmp_path, LLAMA)
    assert "has 19 tokens, Llama-2's 32000" in caplog.text


def test_ids_of_the_bins(tmp_path: Path) -> None:
    write_tokenizer(tmp_path, [*WORDS, *(f"word{i}" for i in range(100))])
    with pytest.raises(TutorialError, match=r"'word99' with id 118.* from 80 on .*bins"):
        load_tokenizer(tmp_path, CONFIG)


@pytest.mark.parametrize("text", ["", "[]", "{", '{"model": {}}', "[" * 100_000, "\x00"])
def test_no_tokenizer(tmp_path: Path, text: str) -> None:
    (tmp_path / "tokenizer.json").write_text(text)
    with pytest.raises(TutorialError, match=r"tokenizer.json is not a tokenizer"):
        load_tokenizer(tmp_path, CONFIG)


def test_a_word_that_it_cannot_read(tmp_path: Path) -> None:
    write_tokenizer(tmp_path)
    edit_json(tmp_path / "tokenizer.json", lambda value: value["model"].update(unk_token="none"))
    tokenizer = load_tokenizer(tmp_path, CONFIG)
    with pytest.raises(TutorialError, match=r"cannot read 'xyz'"):
        token_ids(Prompt("xyz"), tokenizer)


def test_only_the_model_of_a_tokenizer_is_there(tmp_path: Path) -> None:
    with pytest.raises(TutorialError, match=r"no tokenizer.json .*Download"):
        load_tokenizer(tmp_path, CONFIG)
    (tmp_path / "tokenizer.model").write_bytes(b"")
    with pytest.raises(TutorialError, match=r"no tokenizer.json .*Copy the tokenizer.json"):
        load_tokenizer(tmp_path, CONFIG)
