from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from small_training import published
from tokenizers import Tokenizer

from vla_tutorial.training import dagger, samples, trainer
from vla_tutorial.training.mini import train_tokenizer
from vla_tutorial.training.sentences import families


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    """Threads that wait for one another are many times slower on a busy machine than one thread."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module", autouse=True)
def few_sentences() -> Iterator[None]:
    """Three sentences a family: encoding all 18,000 takes a second each time."""
    few = tuple((texts[0], texts[1], texts[-1]) for texts in families())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(samples, "families", lambda: few)
        for module in (dagger, trainer):
            patch.setattr(module, "all_sentences", published)
        yield


@pytest.fixture(scope="session")
def tokenizer() -> Tokenizer:
    return train_tokenizer(published())
