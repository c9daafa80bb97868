"""Where a picture stands out, without a network: what to look at when nobody has said where.

Blobs are extrema of a difference of Gaussians over a range of sizes (Lowe 2004, section 3), bright or dark, kept where
they rise above what noise would show by chance; each is outlined at half its height over its surroundings and ranked
by its contrast against a ring round that outline, and by its size. What lies outside the body (air, letterbox), touches
the picture's border, or is too small or too thin to be more than burned-in lettering is left out. Deterministic, and
blind to what anything is: it proposes, others judge.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import NamedTuple

import cv2
import numpy as np
import numpy.typing as npt
from scipy import ndimage

from medloupe.types import BoolArray, BoundingBox

__all__ = ["Salient", "body_mask", "half_height", "ring_contrast", "salient", "thing_at"]

WORKING_SIDE = 512
"""The picture is brought to this longest side; sizes below are in its pixels."""
SIGMAS = tuple(3.0 * 2 ** (i / 2) for i in range(9))
"""Of the Gaussians, 3 to 48; a disc of radius r answers most at about r / 1.3."""
STEP = 1.6
"""Ratio of the two Gaussians of a difference (Lowe's approximation of the Laplacian)."""
LEAST_CONTRAST = 10.0
"""Mean inside against mean of the ring, grey levels of 255."""
LEAST_EFFECT = 1.0
"""That contrast over the spread of the grey levels within: below, the two overlap too far to be told apart."""
LEAST_SIDE = 8
"""Pixels; the strokes of burned-in lettering are thinner."""
LARGEST_SHARE = 0.25
"""Of the picture's area."""
MOST_ELONGATED = 4.0
OVERLAP = 0.3
"""Intersection over union above which two proposals are one."""
LEAST_RESPONSE = 1.0
"""Of a difference of Gaussians of the finest size, grey levels; less for larger ones, as for noise."""
FEWEST_PLACES = 200
"""Independent places a test of their distribution needs."""
SAMPLE = 5
"""Every so many pixels go into the statistics of responses, which are smooth."""
MOST_BLOBS = 80
"""The strongest that are outlined."""

Grey = npt.NDArray[np.uint8]
Real = npt.NDArray[np.float32]


class Salient(NamedTuple):
    """One place that stands out."""

    box: BoundingBox
    """Of its outline, in pixels of the picture given."""
    contrast: float
    """Mean inside minus mean of the ring round it, grey levels; negative when darker."""

    @property
    def score(self) -> float:
        """Contrast times size: what is seen at a given noise goes by both (Rose 1948)."""
        return abs(self.contrast) * math.sqrt(self.box.area)


class _Blob(NamedTuple):
    row: int
    column: int
    sigma: float
    bright: bool
    strength: float
    """Response over the level that chance reaches."""


def salient(grey: Grey, limit: int) -> list[Salient]:
    """At most `limit` places in a (rows, columns) picture, the most conspicuous first; none in a blank or noise."""
    scale = min(WORKING_SIDE / max(grey.shape), 1.0)
    rows, columns = (max(round(n * scale), 1) for n in grey.shape)
    small = cv2.resize(grey, (columns, rows), interpolation=cv2.INTER_AREA) if scale < 1 else grey
    if min(small.shape) < 3 * LEAST_SIDE or int(small.max()) - int(small.min()) < LEAST_CONTRAST:
        return []
    smooth = small.astype(np.float32)
    body = body_mask(np.asarray(small, dtype=np.uint8))
    levels = _levels(smooth)
    found = [place for blob in _blobs(smooth, body) if (place := _outlined(smooth, levels, body, blob)) is not None]
    factors = np.array([grey.shape[1] / columns, grey.shape[0] / rows] * 2)
    return [
        Salient(BoundingBox.from_tuple((np.array(place.box.as_tuple()) * factors).tolist()), place.contrast)
        for place in _distinct(found, limit)
    ]


def thing_at(grey: Grey, seed: tuple[int, int]) -> BoundingBox | None:
    """The box of what stands out under a seed (row, column) in a (rows, columns) picture, of whatever size; or None."""
    real, body = grey.astype(np.float32), np.ones(grey.shape, dtype=bool)
    blobs = (_Blob(*seed, sigma, bright, 0.0) for sigma in SIGMAS for bright in (True, False))
    levels = _levels(real)
    found = [place for blob in blobs if (place := _outlined(real, levels, body, blob)) is not None]
    return max(found, key=lambda place: place.score).box if found else None


def body_mask(grey: Grey) -> BoolArray:
    """True where there is something: not the flat background (air, letterbox) that runs in from the border.

    A background is a grey level, within 6, that fills at least a tenth of the border and, joined to it, is flat; it
    counts only where it leaves one piece of at least a quarter of the picture. Elsewhere all is body: cells on a slide,
    a nodule in the air of a lung. Pieces of less than 2% (lettering in the margin) are not body.
    """
    smooth = cv2.medianBlur(grey, 5)
    border = np.concatenate([smooth[0], smooth[-1], smooth[:, 0], smooth[:, -1]])
    counts = np.convolve(np.bincount(border, minlength=256), np.ones(13), mode="same")
    outside = np.zeros(grey.shape, dtype=bool)
    for level in sorted({int(border.min()), int(counts.argmax())}):
        if counts[level] < 0.1 * border.size:
            continue
        near = (np.abs(smooth.astype(np.int16) - level) <= 6) & (_local_spread(grey) < 4)
        labels, _ = ndimage.label(near)
        edge = np.unique(np.concatenate([labels[0], labels[-1], labels[:, 0], labels[:, -1]]))
        part = np.isin(labels, edge[edge > 0])
        if part.any() and smooth[part].std() < 4:
            outside |= part
    labels, count = ndimage.label(~outside)
    sizes = np.bincount(labels.ravel(), minlength=count + 1)
    sizes[0] = 0
    if sizes.max() < 0.25 * grey.size:
        return np.ones(grey.shape, dtype=bool)
    return np.asarray(np.isin(labels, np.flatnonzero(sizes > 0.02 * grey.size)), dtype=bool)


def _local_spread(grey: Grey) -> Real:
    """Standard deviation of the grey levels in each pixel's 5 x 5 neighbourhood."""
    real = grey.astype(np.float32)
    mean, square = cv2.blur(real, (5, 5)), cv2.blur(real * real, (5, 5))
    return np.asarray(np.sqrt(np.maximum(square - mean * mean, 0)), dtype=np.float32)


def _levels(grey: Real) -> dict[float, Real]:
    """The picture smoothed by a third of each sigma: what a blob of that size is outlined on."""
    return {sigma: np.asarray(cv2.GaussianBlur(grey, (0, 0), sigma / 3)) for sigma in SIGMAS}


def half_height(smooth: Real, seed: tuple[int, int], reach: int, bright: bool) -> BoolArray | None:
    """What joins a seed (row, column) above half its height over the median of its neighbourhood, `reach` to each side.

    Where that much runs out of the neighbourhood, two thirds and then five sixths of the height are tried; None when
    all run out. Holes are filled.
    """
    top, left = max(seed[0] - reach, 0), max(seed[1] - reach, 0)
    part = smooth[top : seed[0] + reach + 1, left : seed[1] + reach + 1] * (1.0 if bright else -1.0)
    row, column = seed[0] - top, seed[1] - left
    peak, around = float(part[row, column]), float(np.median(part))
    if peak <= around:
        return None
    for share in (1 / 2, 2 / 3, 5 / 6):
        above = (part >= around + share * (peak - around)).astype(np.uint8)
        _, labels = cv2.connectedComponents(above, connectivity=4)
        region = labels == labels[row, column]
        if not _at_border(region):
            full = np.zeros(smooth.shape, dtype=bool)
            full[top : top + part.shape[0], left : left + part.shape[1]] = _filled(region)
            return full
    return None


def _filled(region: BoolArray) -> BoolArray:
    """With its holes: what is not joined to the outside; of a region that keeps off the border."""
    _, labels = cv2.connectedComponents((~region).astype(np.uint8), connectivity=4)
    return np.asarray(labels != labels[0, 0])


def _at_border(mask: BoolArray) -> bool:
    return bool(mask[0].any() or mask[-1].any() or mask[:, 0].any() or mask[:, -1].any())


def ring_contrast(grey: Real, mask: BoolArray, body: BoolArray) -> tuple[float, float]:
    """(contrast, effect): mean inside minus mean of a ring round it, and that over their spread.

    The ring is as wide as half the radius of the mask, and lies in the body; (0, 0) where a fifth of it or less does.
    """
    width = max(int(0.5 * math.sqrt(mask.sum() / math.pi)), 3)
    box, margin = BoundingBox.of_mask(mask), width + 2
    rows = slice(max(int(box.y0) - margin, 0), int(box.y1) + margin)
    columns = slice(max(int(box.x0) - margin, 0), int(box.x1) + margin)
    grey, mask, body = grey[rows, columns], mask[rows, columns], body[rows, columns]
    near = _dilated(mask, 1)
    whole = _dilated(near, width) & ~near
    ring = whole & body
    if ring.sum() <= 0.2 * whole.sum():
        return 0.0, 0.0
    inside, outside = grey[mask], grey[ring]
    contrast = float(inside.mean() - outside.mean())
    return contrast, abs(contrast) / max(math.sqrt((float(inside.var()) + float(outside.var())) / 2), 1.0)


def _dilated(mask: BoolArray, radius: int) -> BoolArray:
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * radius + 1, 2 * radius + 1))
    return np.asarray(cv2.dilate(mask.astype(np.uint8), disc), dtype=bool)


def _blobs(grey: Real, body: BoolArray) -> list[_Blob]:
    """Extrema over place and size of the difference of Gaussians inside the body, above what chance shows."""
    weight = body.astype(np.float32)
    stack = np.stack([(_within(grey, weight, s) - _within(grey, weight, s * STEP)) * weight for s in SIGMAS])
    stack /= _chance(stack, body)[:, None, None]
    found = []
    for sign in (1.0, -1.0):
        signed = stack * sign
        near = [cv2.dilate(plane, np.ones((7, 7), np.uint8)) for plane in signed]
        highest = np.stack([np.maximum.reduce(near[max(n - 1, 0) : n + 2]) for n in range(len(near))])
        for level, row, column in np.argwhere((signed > 1.0) & (signed == highest)):
            strength = float(signed[level, row, column])
            found.append(_Blob(int(row), int(column), SIGMAS[level], sign > 0, strength))
    return sorted(found, key=lambda b: (-b.strength, b.row, b.column))[:MOST_BLOBS]


def _within(grey: Real, weight: Real, sigma: float) -> Real:
    """The picture smoothed from inside the body only: its edge against the background makes no blob.

    Wide Gaussians are taken on a picture made smaller, to at least 4 of its own pixels.
    """
    factor = 2 ** max(int(math.log2(sigma / 4)), 0)
    size = (grey.shape[1], grey.shape[0])
    small = tuple(math.ceil(n / factor) for n in size)
    parts = (cv2.resize(part, small, interpolation=cv2.INTER_AREA) for part in (grey * weight, weight))
    total, share = (cv2.GaussianBlur(part, (0, 0), sigma / factor) for part in parts)
    return np.asarray(cv2.resize(total / np.maximum(share, 1e-3), size, interpolation=cv2.INTER_LINEAR))


def _chance(stack: Real, body: BoolArray) -> Real:
    """For each size, the response in the body that chance alone stays under; `stack` is (sizes, rows, columns).

    Pixel noise of the finest size's spread falls as 1 / sigma, and its largest of n independent places as
    sqrt(2 ln n). Where no size's responses differ from a Gaussian field's, the picture may be all texture, and each
    size's own spread counts.
    """
    sigmas, responses = np.array(SIGMAS), stack[:, body][:, ::SAMPLE]
    spread = 1.4826 * np.median(np.abs(responses - np.median(responses, axis=1, keepdims=True)), axis=1)
    noise = spread[0] * sigmas[0] / sigmas
    if not any(_structured(r, _places(plane, body)) for r, plane in zip(responses, stack, strict=True)):
        noise = np.maximum(noise, spread)
    places = np.maximum(body.sum() / (2 * math.pi * sigmas**2), 1.0)
    level = noise * (np.sqrt(2 * np.log(places)) + 1.5)
    return np.asarray(np.maximum(level, LEAST_RESPONSE * sigmas[0] / sigmas), dtype=np.float32)


def _places(plane: Real, body: BoolArray) -> float:
    """How many independent places a Gaussian field has: area x (mean squared gradient / variance) / 2 pi."""
    inner = body[1:, 1:]
    down, across = plane[1:, 1:] - plane[:-1, 1:], plane[1:, 1:] - plane[1:, :-1]
    variance = float(plane[body].var())
    return float((down[inner] ** 2 + across[inner] ** 2).sum()) / (2 * math.pi * variance) if variance else 0.0


def _structured(responses: Real, places: float) -> bool:
    """Whether the responses' skewness or kurtosis is beyond five standard errors of a Gaussian's."""
    if places < FEWEST_PLACES:
        return False
    deviations = responses - responses.mean()
    variance = float(np.mean(deviations**2))
    if variance == 0:
        return False
    skewness = float(np.mean(deviations**3)) / variance**1.5
    kurtosis = float(np.mean(deviations**4)) / variance**2 - 3
    return abs(skewness) > 5 * math.sqrt(6 / places) or abs(kurtosis) > 5 * math.sqrt(24 / places)


def _outlined(grey: Real, levels: dict[float, Real], body: BoolArray, blob: _Blob) -> Salient | None:
    """The blob's outline as a box, or None when it is no thing to propose."""
    reach = max(int(5 * blob.sigma), LEAST_SIDE)
    mask = half_height(levels[blob.sigma], (blob.row, blob.column), reach, blob.bright)
    if mask is None or _at_border(mask):
        return None
    box = BoundingBox.of_mask(mask)
    short, long = sorted((box.width, box.height))
    if short < LEAST_SIDE or long > MOST_ELONGATED * short or box.area > LARGEST_SHARE * grey.size:
        return None
    contrast, effect = ring_contrast(grey, mask, body)
    if abs(contrast) < LEAST_CONTRAST or effect < LEAST_EFFECT:
        return None
    return Salient(box, contrast)


def _distinct(found: Iterable[Salient], limit: int) -> list[Salient]:
    """Non-maximum suppression by score. A thing and its much smaller part are two."""
    kept: list[Salient] = []
    for place in sorted(found, key=lambda p: (-p.score, p.box.as_tuple())):
        if all(place.box.iou(other.box) <= OVERLAP for other in kept):
            kept.append(place)
        if len(kept) == limit:
            break
    return kept
