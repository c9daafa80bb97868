"""Slices across the volumes of a study, made when they are asked for.

They have indices like the study's own images and go on where those end: series after series, plane after plane. So an
index means the same slice in every process that has the study, and a view of one can be looked at again later.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from functools import cached_property
from typing import NamedTuple

from medloupe.errors import ActionRejected
from medloupe.tools.imaging.store import ImageStore
from medloupe.tools.imaging.volume import Plane, Volume, acquired_plane, plane_sizes
from medloupe.types import Image, Study

__all__ = ["Reformats"]

_KEPT = 256


class _Run(NamedTuple):
    """The slices of one plane of one series."""

    start: int
    """Index of the first."""
    series: int
    plane: Plane
    slices: int


class Reformats:
    """Of one study. Thread-safe."""

    def __init__(self, study: Study, store: ImageStore) -> None:
        self._study, self._store = study, store
        self._images: OrderedDict[int, Image] = OrderedDict()
        self._lock = threading.Lock()

    @cached_property
    def _runs(self) -> tuple[_Run, ...]:
        runs: list[_Run] = []
        start = len(self._study.images)
        for series in range(len(self._study.series)):
            try:
                sizes, own = plane_sizes(self._study, series), acquired_plane(self._study, series)
            except ActionRejected:  # no volume, and asked for it says why
                continue
            for plane, count in sizes.items():
                if plane != own:
                    runs.append(_Run(start, series, plane, count))
                    start += count
        return tuple(runs)

    def planes(self, series: int) -> dict[Plane, int]:
        """How many slices there are in each plane that a series was not acquired in; none when it is no volume."""
        return {run.plane: run.slices for run in self._runs if run.series == series}

    def index(self, series: int, plane: Plane, position: int) -> int:
        """The index of a slice, acquired or across. ActionRejected, worded for a planner, when there is none."""
        count = plane_sizes(self._study, series)[plane]
        if not 0 <= position < count:
            raise ActionRejected(
                f"The {plane} plane of series {series} has slices 0 to {count - 1}; there is no slice {position}."
            )
        run = next((run for run in self._runs if (run.series, run.plane) == (series, plane)), None)
        return self._study.series[series].images[position] if run is None else run.start + position

    def image(self, index: int) -> Image | None:
        """The slice of that index, its pixels in the store; None when the index is none of theirs."""
        run = next((run for run in self._runs if run.start <= index < run.start + run.slices), None)
        if run is None:
            return None
        with self._lock:
            if index not in self._images:
                values, image = Volume.of(self._study, run.series, self._store).reformat(run.plane, index - run.start)
                self._images[index] = image.model_copy(update={"index": index, "digest": self._store.put(values)})
                if len(self._images) > _KEPT:
                    self._images.popitem(last=False)
            return self._images[index]
