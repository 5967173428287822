"""The engine's part of drafting: where drafts come from, CUDA graphs, and whether drafts pay."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from vla_tutorial.arrays import Ints
from vla_tutorial.openvla.drafts import verify as drafted
from vla_tutorial.openvla.drafts.sources import Memory, Payoff
from vla_tutorial.openvla.drafts.verify import State, Verifier, empty_state
from vla_tutorial.openvla.llama import Cache
from vla_tutorial.openvla.model import OpenVLA, pad, round_up

# Batches in which drafts are tried. A batch passes until its last row is done, and its slots are
# rows of a product: on an H100 the kernels that read weights once take 32 rows, 4 × 6 slots.
MOST_ROWS = 4
ROWS = (1, 4)
# Prompt and draft are rounded up to a multiple of this, finer than plain prompts, because a draft
# should cost no more rows of the prefill than it has.
TEXT_STEP = 8
# Positions of a cache, over which all prompts of a batch size share it.
CACHE_STEP = 64

# pixels, prompts, tokens a row → (N, D) int64 on the CPU.
Generate = Callable[[Tensor, Sequence[Sequence[int]], int], Tensor]


@dataclass(frozen=True)
class Captured:
    """Two CUDA graphs, from pixels to the first known tokens and one pass, with their buffers."""

    begin: torch.cuda.CUDAGraph
    one_pass: torch.cuda.CUDAGraph
    pixels: Tensor
    ids: Tensor
    state: State


@dataclass
class Tally:
    """What drafts have saved: answers in batches with a draft, and the passes that they took."""

    batches: int = 0
    passes: int = 0
    # Rows over all batches, and of their drafts' tokens those that greedy decoding chose as well.
    rows: int = 0
    right: list[int] = field(default_factory=list)

    def add(self, drafts: Tensor, tokens: Tensor, passes: int) -> None:
        """Count one batch: both (N, D) int64 on the CPU."""
        self.batches += 1
        self.passes += passes
        self.rows += len(tokens)
        right = (drafts == tokens).sum(0).tolist()
        self.right = [a + b for a, b in zip(self.right or [0] * len(right), right, strict=True)]

    def summary(self) -> Mapping[str, Any]:
        """Passes a batch, and for each token of an action the share of drafts that were right."""
        batches = max(self.batches, 1)
        share = [round(n / max(self.rows, 1), 4) for n in self.right]
        return {"batches": self.batches, "passes": self.passes / batches, "right": share}


class Drafter:
    """Answers batches with drafts where that pays, else without.

    Args:
        model, runner: the engine's.
        graphs: whether CUDA graphs are captured.
        memory: where drafts come from.
        refine: as in `drafted.accept`.
        always: never measure, always draft (for tests and measurements).

    Attributes:
        tally: what drafts have saved so far.
    """

    def __init__(
        self,
        model: OpenVLA,
        runner: Verifier,
        *,
        graphs: bool,
        memory: Memory | None = None,
        refine: bool = True,
        always: bool = False,
    ) -> None:
        self.model = model
        self.runner = runner
        self.graphs = graphs
        self.memory = memory or Memory()
        self.refine = refine
        self.always = always
        self.tally = Tally()
        self.payoffs: dict[int, Payoff] = {}
        self.captured: dict[tuple[int, ...], Captured] = {}
        self.caches: dict[tuple[int, int], Cache] = {}
        self.pool: Any = None

    def answer(
        self, pixels: Tensor, prompts: Sequence[Sequence[int]], count: int, plain: Generate
    ) -> Tensor:
        """The tokens of greedy decoding, (N, count) int64 on the CPU.

        Args:
            pixels, prompts: as `Engine.generate` gets them.
            count: tokens a row.
            plain: how to do it without drafts.
        """
        found = self.memory.propose(pixels, prompts)
        known = [draft for draft in found if draft is not None and len(draft) == count]
        possible = bool(known) and count > 1 and (self.always or len(prompts) <= MOST_ROWS)
        payoff = self.payoffs.setdefault(len(prompts), Payoff())
        way = possible and (self.always or payoff.choose())
        began = time.perf_counter()
        if way:
            tokens = self.verify(pixels, prompts, _filled(found, known[0]))
        else:
            tokens = plain(pixels, prompts, count)
        if possible:
            payoff.add(way, time.perf_counter() - began)
        self.memory.remember(pixels, prompts, tokens)
        return tokens

    def verify(self, pixels: Tensor, prompts: Sequence[Sequence[int]], drafts: Tensor) -> Tensor:
        """Greedy decoding from drafts (N, D) int64 on the CPU; the same tokens as without."""
        run = self._replay if self.graphs else self._run
        tokens, passes = run(pixels, prompts, drafts)
        self.tally.add(drafts, tokens, passes)
        return tokens

    def _run(
        self, pixels: Tensor, prompts: Sequence[Sequence[int]], drafts: Tensor
    ) -> tuple[Tensor, int]:
        device = self.model.device
        longest = max(map(len, prompts)) + drafts.shape[1] - 1
        ids, lengths = _appended(prompts, drafts, longest)
        state = empty_state(len(drafts), drafts.shape[1], device)
        self._fill(state, drafts, lengths)
        ids = ids.to(device)
        cache = self._cache(len(ids), ids.shape[1])
        drafted.start(
            self.model,
            self.runner,
            pixels.to(device),
            ids,
            state,
            cache,
            self.refine,
        )
        passes = drafted.finish(state, lambda: drafted.step(self.runner, state, cache, self.refine))
        return state.tokens.cpu(), passes

    def _fill(self, state: State, drafts: Tensor, lengths: Tensor) -> None:
        """Write a batch into the buffers, which may have more rows."""
        given, count = drafts.shape
        state.draft[:given].copy_(drafts)
        state.wanted.zero_()
        state.wanted[:given] = count
        state.starts.fill_(self.model.config.vision.patches + 1)
        state.starts[:given].copy_(lengths + self.model.config.vision.patches)

    def _replay(
        self, pixels: Tensor, prompts: Sequence[Sequence[int]], drafts: Tensor
    ) -> tuple[Tensor, int]:
        given, count = drafts.shape
        rows = next((bucket for bucket in ROWS if bucket >= given), given)
        longest = max(map(len, prompts)) + count - 1
        ids, lengths = _appended(prompts, drafts, round_up(longest, TEXT_STEP))
        graph = self.capture(rows, ids.shape[1], count, pixels)
        graph.pixels[:given].copy_(pixels)
        graph.ids[:given].copy_(ids)
        self._fill(graph.state, drafts, lengths)
        graph.begin.replay()
        passes = drafted.finish(graph.state, graph.one_pass.replay)
        return graph.state.tokens[:given].cpu(), passes

    def capture(self, rows: int, text: int, count: int, like: Tensor) -> Captured:
        """The graphs for `rows` pictures of `like`'s form × `text` ids, captured once."""
        key = (rows, text, count, *like.shape[1:])
        if key not in self.captured:
            self.captured[key] = self._capture(rows, text, count, like)
        return self.captured[key]

    def _capture(self, rows: int, text: int, count: int, like: Tensor) -> Captured:
        device = self.model.device
        pixels = torch.zeros(rows, *like.shape[1:], device=device, dtype=like.dtype)
        ids = torch.zeros(rows, text, device=device, dtype=torch.int64)
        state = empty_state(rows, count, device)
        cache = self._cache(rows, text)
        self._fill(state, torch.zeros(rows, count, dtype=torch.int64), torch.ones(rows).long())
        self.runner.tune(rows * (count - 1))

        def begin() -> None:
            drafted.start(self.model, self.runner, pixels, ids, state, cache, self.refine)

        def one_pass() -> None:
            drafted.step(self.runner, state, cache, self.refine)

        graphs = [self._graph(work) for work in (begin, one_pass)]
        return Captured(graphs[0], graphs[1], pixels, ids, state)

    def _graph(self, work: Callable[[], None]) -> torch.cuda.CUDAGraph:
        # Compiles kernels and lets cuBLAS choose, which a capture must not do.
        work()
        torch.cuda.synchronize()
        torch.cuda.empty_cache()
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, pool=self.pool):
            work()
        self.pool = graph.pool()
        return graph

    def _cache(self, rows: int, text: int) -> Cache:
        """One cache a batch size and length: it outlives the first graph, for the passes."""
        length = round_up(self.model.config.vision.patches + text, CACHE_STEP)
        if not self.graphs:
            length = self.model.config.vision.patches + text
            self.caches.clear()
        if (rows, length) not in self.caches:
            like = self.model.language_model.lm_head.weight
            self.caches[rows, length] = Cache.empty(self.model.config.llama, rows, length, like)
        return self.caches[rows, length]

    def release(self) -> None:
        """Forget graphs and caches; what is remembered stays."""
        self.captured.clear()
        self.caches.clear()
        self.pool = None


def _appended(
    prompts: Sequence[Sequence[int]], drafts: Tensor, length: int
) -> tuple[Tensor, Tensor]:
    """Prompts with their drafts less the last token, (N, length), and the prompts' lengths."""
    rows = zip(prompts, drafts[:, :-1].tolist(), strict=True)
    ids, _ = pad([[*prompt, *draft] for prompt, draft in rows], length, "cpu")
    return ids, torch.tensor([len(prompt) for prompt in prompts])


def _filled(drafts: Sequence[Ints | None], default: Ints) -> Tensor:
    """(N, D) int64: a row without a draft takes another one's, since shapes are fixed."""
    fitting = [default if d is None or len(d) != len(default) else d for d in drafts]
    return torch.stack([torch.from_numpy(draft.copy()) for draft in fitting])
