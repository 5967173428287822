"""The page's prompts and ids (`prompt.js`, `tokenizer.js`) against Python's, whatever is typed."""

import json
import random
from dataclasses import replace
from importlib import resources

import pytest
from page_modules import in_node, needs_node

from vla_tutorial import prompt
from vla_tutorial.conditions import CATALOGUE, goal_of, held_out_sentences, trained_sentences
from vla_tutorial.errors import TutorialError
from vla_tutorial.live import tokenizer_export
from vla_tutorial.openvla.config import read_config
from vla_tutorial.openvla.tokens import load_tokenizer
from vla_tutorial.scene import Scene
from vla_tutorial.sim.protocol import task_instructions
from vla_tutorial.spec import PUBLISHED_WIRING
from vla_tutorial.wiring import LetterCase

MINI = resources.files("vla_tutorial") / "weights" / "mini"
CHINESE = "把汤罐放进篮子里，然后关上抽屉。"
ODD = [
    "", " ", "  two  spaces ", "tab\tand\nline\r\nfeed", "\u00a0no-break\u2003em\u3000wide", "\ufeffmark",
    "\u0085next line", "\u200bzero width\u200d", "don't can't we'll I'M 'S 'x", "½ ² ⅷ ٣ 三 12345678", "<s>", "</s> x",
    "a<s>b", "<empty>", "<empty><unk>", "{braces} {{x}}", "emoji 🤖🦾 👩‍🚀", "İstanbul ŞIŞ ß ﬁ Σίσυφος ΣΑΣ", "e\u0301 é",
    "🏴󠁧󠁢󠁥󠁮󠁧󠁿", "\x00\x01\x7f", "日本語とカタカナ ﾊﾝｶｸ", "العربية", "ไทย", "नमस्ते", "_under_score_", "A" * 500,
]  # fmt: skip
SPELLINGS = LetterCase.__args__

pytestmark = needs_node


@pytest.fixture(scope="module")
def config():
    return read_config(MINI / "config.json")


@pytest.fixture(scope="module")
def tokenizer(config):
    return load_tokenizer(MINI, config)


def free_sentences():
    """More than 500: real ones, odd ones, a long one, Chinese ones and random letters."""
    rng = random.Random(0)
    found = [*ODD, CHINESE, (CHINESE * 200)[:2000], ("put the soup into the basket " * 80)[:2000]]
    for task in range(10):
        found += trained_sentences(goal_of("libero_object", task))[:20]
        found += [one.sentence for one in held_out_sentences(goal_of("libero_object", task))]
    found += [sentence.title() for sentence in found[-100:]]
    letters = "abc XYZ.,'!?  \n\t0123éß漢字🤖{}<>/_-"
    found += ["".join(rng.choices(letters, k=rng.randrange(1, 80))) for _ in range(150)]
    # Any assigned letter of the basic plane that is no half of a pair.
    codes = [c for c in range(0x20, 0xD800) if chr(c).isprintable()]
    found += ["".join(map(chr, rng.choices(codes, k=12))) for _ in range(60)]
    return found


def python_ids(tokenizer, config, made):
    ids = prompt.token_ids(made, tokenizer)
    if ids[-1] == prompt.EMPTY_TOKEN:
        ids[-1] = config.empty_token_id
    return ids


def ids_of_page(tmp_path, config, pairs):
    """Texts and ids for pairs of wiring and sentence."""
    data = tokenizer_export.export(tmp_path, MINI / "tokenizer.json", config.empty_token_id)
    given = {
        "tokenizer": json.loads((tmp_path / data).read_text()),
        "pairs": [(vars(wiring), sentence) for wiring, sentence in pairs],
    }
    script = """
    const { build, tokenIds } = await page("prompt.js");
    const { Tokenizer } = await page("tokenizer.js");
    const tokenizer = new Tokenizer(given.tokenizer);
    const found = given.pairs.map(([wiring, sentence]) => {
      const prompt = build(wiring, sentence);
      return [prompt.text, tokenIds(prompt, tokenizer)];
    });
    """
    return in_node(tmp_path, script, given)


def compare(tmp_path, tokenizer, config, pairs):
    found = ids_of_page(tmp_path, config, pairs)
    for (text, ids), (wiring, sentence) in zip(found, pairs, strict=True):
        made = prompt.build(wiring, sentence)
        assert text == made.text, sentence
        assert ids == python_ids(tokenizer, config, made), sentence


def test_every_condition_of_every_task(tmp_path, tokenizer, config):
    pairs = []
    for task, own in enumerate(task_instructions("libero_object")):
        for condition in CATALOGUE.values():
            wiring, scene = condition.change(PUBLISHED_WIRING, Scene("libero_object", task, 3))
            pairs.append((wiring, scene.instruction_for(own)))
    assert len(pairs) > 400
    compare(tmp_path, tokenizer, config, pairs)


def test_free_sentences(tmp_path, tokenizer, config):
    sentences = free_sentences()
    assert len(sentences) > 500
    rng = random.Random(1)
    pairs = []
    for sentence in sentences:
        case = rng.choice(SPELLINGS)
        empty = rng.random() < 0.7
        pairs.append((replace(PUBLISHED_WIRING, letter_case=case, empty_token=empty), sentence))
    compare(tmp_path, tokenizer, config, pairs)


def test_templates(tmp_path, tokenizer, config):
    templates = [
        "{instruction}",
        "{{{instruction}}}",
        "$& {instruction} $1 {{}}",
        "{instruction}{instruction}",
    ]
    wirings = [replace(PUBLISHED_WIRING, prompt_template=template) for template in templates]
    compare(tmp_path, tokenizer, config, [(wiring, "go $& {x}") for wiring in wirings])


@pytest.mark.parametrize(
    "template", ["none", "{instruction} {", "{instruction:q}", "{{instruction}}"]
)
def test_templates_that_cannot_be_filled(tmp_path, template):
    script = """
    const { build } = await page("prompt.js");
    let found = null;
    try { build({ letter_case: "lower", empty_token: true, prompt_template: given }, "x"); }
    catch (error) { found = error.message; }
    """
    assert "cannot be filled. Expected {instruction}" in in_node(tmp_path, script, template)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("normalizer", {"type": "NFC"}),
        ("pre_tokenizer", {"type": "Metaspace"}),
        ("model", {"type": "Unigram", "vocab": []}),
    ],
)
def test_another_kind_of_tokenizer_is_refused(tmp_path, key, value):
    held = json.loads((MINI / "tokenizer.json").read_text())
    path = tmp_path / "tokenizer.json"
    path.write_text(json.dumps(held | {key: value}))
    with pytest.raises(TutorialError, match=rf"{key}.*byte-level BPE"):
        tokenizer_export.convert(path, 3)
