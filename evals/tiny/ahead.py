"""Batches that are drawn in processes of their own while the network learns.

In a thread they hold the interpreter's lock, for which the network waits between two operations (docs/adr/0007).
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from functools import cache

from medloupe.evals.tiny.batches import Batch, Packer, batch_of
from medloupe.models.tiny.build import TinyConfig, build_tokenizer

__all__ = ["drawn_ahead", "packer"]

_AHEAD = 4
"""Batches beyond one a worker."""


@cache
def packer() -> Packer:
    """Of loupe-tiny's own tokenizer, view and patch."""
    config = TinyConfig()
    return Packer(build_tokenizer(), config.view_px, config.patch_px)


def drawn_ahead(wanted: Sequence[tuple[int, int, int]], workers: int) -> Iterator[Batch]:
    """The batches of (step, scenes, every), in order; see batches.batch_of."""
    spawn = multiprocessing.get_context("spawn")  # a fork of a process with torch's threads may hang
    with ProcessPoolExecutor(workers, mp_context=spawn, initializer=_begin) as pool:
        ahead: deque[Future[Batch]] = deque()
        left = iter(wanted)

        def order() -> None:
            asked = next(left, None)
            if asked is not None:
                ahead.append(pool.submit(_drawn, *asked))

        for _ in range(workers + _AHEAD):
            order()
        try:
            while ahead:
                batch = ahead.popleft().result()
                order()
                yield batch
        finally:
            pool.shutdown(cancel_futures=True)


def _drawn(step: int, scenes: int, every: int) -> Batch:
    return batch_of(step, scenes, packer(), every=every)


def _begin() -> None:
    """A worker's start: Ctrl-C is the parent's to handle, and without a parent there is nothing to do."""
    import cv2

    cv2.setNumThreads(1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
