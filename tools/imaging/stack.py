"""What is wrong with a series of slices: missing, doubled, out of order, tilted."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from medloupe.tools.imaging.frame import Frame
from medloupe.tools.imaging.geometry import along_normal

__all__ = ["TILT_DEGREES", "stack_faults", "tilt_degrees"]

SAME_PLACE_MM = 0.01
TILT_DEGREES = 0.5
"""Beyond it slices are taken to be shifted against each other."""


def stack_faults(frames: list[Frame]) -> list[str]:
    """What is to be said of a series that is sorted by position; nothing where positions are not known."""
    places = [along_normal(f.draft) for f in frames]
    if len(frames) < 3 or any(p is None for p in places):
        return []
    stacks: dict[str, list[tuple[float, Frame]]] = {}
    for place, frame in zip(places, frames, strict=True):
        stacks.setdefault(frame.stack, []).append((place or 0.0, frame))
    doubled = missing = 0
    reordered = False
    for stack in stacks.values():
        steps = np.diff([place for place, _ in stack])
        apart = steps[steps >= SAME_PLACE_MM]
        doubled += len(steps) - len(apart)
        if len(apart) >= 2:
            usual = float(np.median(apart))
            missing += sum(round(float(s) / usual) - 1 for s in apart if s > 1.5 * usual)
        reordered |= _reordered([frame.instance_number for _, frame in stack])
    tilt = tilt_degrees([f.draft.position for f in frames], frames[0].draft.orientation)
    return _words(doubled, missing, reordered, tilt)


def _words(doubled: int, missing: int, reordered: bool, tilt: float) -> list[str]:
    faults = []
    if doubled:
        faults.append(f"{doubled} slice position(s) are held by more than one image.")
    if missing:
        faults.append(f"{missing} slice(s) seem to be missing: the steps between slices differ.")
    if reordered:
        faults.append("The slices' numbers do not follow their positions: they are sorted by position.")
    if tilt > TILT_DEGREES:
        faults.append(f"The stack is tilted by {tilt:.1f} degrees against its slices; positions are kept as they are.")
    return faults


def _reordered(numbers: list[int]) -> bool:
    """Instance numbers, where they are told and all differ, that neither rise nor fall along the stack."""
    steps = np.diff(numbers)
    return len(set(numbers)) == len(numbers) and not (bool((steps > 0).all()) or bool((steps < 0).all()))


def tilt_degrees(positions: list[tuple[float, float, float] | None], orientation: tuple[float, ...] | None) -> float:
    """Angle between the way slices follow each other and their normal; 0 where it is not known."""
    if orientation is None or len(positions) < 2 or positions[0] is None or positions[-1] is None:
        return 0.0
    way: npt.NDArray[np.float64] = np.array(positions[-1]) - np.array(positions[0])
    length = float(np.linalg.norm(way))
    if length < SAME_PLACE_MM:
        return 0.0
    normal = np.cross(orientation[:3], orientation[3:])
    return float(np.degrees(np.arccos(min(1.0, abs(float(way @ normal)) / length / float(np.linalg.norm(normal))))))
