"""The order in which clients are answered: everyone once before anyone twice."""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")


class FairQueue(Generic[T]):
    """Items of many clients. The client whose turn is longest ago comes first."""

    def __init__(self) -> None:
        # The next client first. No deque is empty.
        self._waiting: OrderedDict[str, deque[T]] = OrderedDict()
        self._length = 0

    def __len__(self) -> int:
        return self._length

    def of(self, client: str) -> int:
        """How many items of a client wait."""
        return len(self._waiting.get(client, ()))

    def put(self, client: str, item: T) -> int:
        """Add an item behind the client's others.

        Returns:
            Its position: how many of those that wait now are taken before it.
        """
        own = self._waiting.setdefault(client, deque())
        rounds = len(own)
        own.append(item)
        self._length += 1
        before = rounds
        is_before = True
        for other, items in self._waiting.items():
            if other == client:
                # Those behind it have one turn less before this item's.
                is_before = False
                continue
            before += min(len(items), rounds + is_before)
        return before

    def take(self, count: int) -> list[T]:
        """Up to `count` items: one of each client, then a second of each, and so on."""
        taken: list[T] = []
        while self._waiting and len(taken) < count:
            client, items = self._waiting.popitem(last=False)
            taken.append(items.popleft())
            if items:
                # To the end of the line.
                self._waiting[client] = items
        self._length -= len(taken)
        return taken

    def discard(self, unwanted: Callable[[T], bool]) -> None:
        """Drop the items that nobody waits for any more."""
        for client, items in list(self._waiting.items()):
            kept = deque(item for item in items if not unwanted(item))
            self._length -= len(items) - len(kept)
            if kept:
                self._waiting[client] = kept
            else:
                del self._waiting[client]
