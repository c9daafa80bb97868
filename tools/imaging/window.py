"""Display windows: the file's own, named presets, and percentiles of the values (PS3.3 C.11.2)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from medloupe.errors import ActionRejected
from medloupe.prompts import knowledge
from medloupe.tools.imaging.frame import Values
from medloupe.tools.imaging.tags import BadValueError, code, items, numbers
from medloupe.types import Image, Window

__all__ = ["ends", "full_range", "preset_names", "series_window", "voi_windows", "window_for"]

_SAMPLES = 2**18
"""Percentiles are taken over about this many evenly spaced values."""
_MAX_WINDOWS = 8
_MAX_LEVELS = 4096
"""Changes of grey in a VOI LUT: a smooth one has 255."""
_FAR = 1e30
"""Beyond every pixel value, and within float32."""
_FLAT = 0.02
"""Share of a VOI LUT's output range that counts as its flat end."""


def ends(window: Window) -> tuple[float, float]:
    """The values shown black and white: "VOI" by DICOM's LINEAR (C.11.2.1.2.1), all others by LINEAR_EXACT."""
    centre, width = (window.centre - 0.5, window.width - 1) if window.source == "VOI" else (window.centre, window.width)
    low, high = (min(max(edge, -_FAR), _FAR) for edge in (centre - width / 2, centre + width / 2))
    return low, high


def full_range(bits: int) -> Window:
    """All the values that so many unsigned bits can hold."""
    return _between(0.0, float(2**bits - 1), "full range")


def window_for(image: Image, values: Values, preset: str) -> Window:
    """A named preset of prompts/knowledge/windows.yaml, or "default"; `values` are the whole image's.

    ActionRejected, naming what there is, when the preset is unknown or means nothing for this image.
    """
    name = preset.strip().lower()
    if image.window is not None and name in ("default", image.window.source):
        return image.window
    if image.values != "RGB":
        own = _own_presets(image)
        name = _default_name(image) if name == "default" else name
        if name in own:
            return Window(centre=own[name]["centre"], width=own[name]["width"], source=name)
        if name in (further := _further(image)):
            return further[name]
        shares = knowledge("windows")["any"]["percentiles"].get(name)
        if shares is not None:
            flat = values.reshape(-1)[:: max(1, values.size // _SAMPLES)]
            return _percentiles(_inside(flat, image), shares["low"], shares["high"], name)
    there = ", ".join(preset_names(image)) or "none, a colour image is shown as it is"
    raise ActionRejected(f"There is no window preset {preset[:40]!r} for this image. Presets: {there}.")


def series_window(images: Sequence[Image], values: Sequence[Values]) -> Window | None:
    """The percentile window over all slices of a series whose slices have one each; None where they do not."""
    sources = {i.window.source for i in images if i.window is not None}
    shares = knowledge("windows")["any"]["percentiles"].get(next(iter(sources), ""))
    if len(images) < 2 or len(sources) > 1 or shares is None or any(i.window is None for i in images):
        return None
    share = max(1, _SAMPLES // len(images))
    sampled = [_inside(v.reshape(-1)[:: max(1, v.size // share)], i) for v, i in zip(values, images, strict=True)]
    return _percentiles(np.concatenate(sampled), shares["low"], shares["high"], sources.pop())


def preset_names(image: Image) -> tuple[str, ...]:
    """What `window_for` accepts for this image; empty for colour."""
    if image.values == "RGB":
        return ()
    return ("default", *_further(image), *_own_presets(image), *knowledge("windows")["any"]["percentiles"])


def _further(image: Image) -> dict[str, Window]:
    """The file's second window and those after it; what they are called in the file is free text and stays there."""
    return {f"file-{n}": window for n, window in enumerate(image.further_windows, 2)}


def _own_presets(image: Image) -> dict[str, dict[str, float]]:
    """Presets in Hounsfield units mean nothing where the values are not."""
    presets: dict[str, dict[str, float]] = knowledge("windows").get(image.modality, {}).get("hu", {})
    return presets if image.values == "HU" else {}


def _default_name(image: Image) -> str:
    table = knowledge("windows")
    name = str(table.get(image.modality, table["any"])["default"])
    return name if name in preset_names(image) else str(table["any"]["default"])


def _inside(flat: Values, image: Image) -> Values:
    """The values that are no padding."""
    if image.padding is None:
        return flat
    low, high = image.padding
    return flat[(flat < low) | (flat > high)]


def _percentiles(values: Values, low: float, high: float, source: str) -> Window:
    flat = values[np.isfinite(values)] if values.dtype.kind == "f" else values
    if not flat.size:
        return _between(0.0, 1.0, source)
    first, last = (float(v) for v in np.percentile(flat, (low, high)))
    if not last > first:  # one grey over nearly all of the image
        first, last = float(flat.min()), float(flat.max())
    return _between(first, last, source)


def _between(low: float, high: float, source: str) -> Window:
    return Window(centre=(low + high) / 2, width=(high - low) or 1.0, source=source)


def voi_windows(voi: Any, ds: Any, values: Values, warn: Callable[[str], None], modality: str) -> tuple[Window, ...]:
    """The file's windows and its VOI LUTs, each in order; which are first, where both are there, the modality says.

    `voi` holds them (a functional group's item, or the dataset itself), `ds` is the whole dataset.
    """
    linear, tables = _stated_windows(voi, values, warn), _tables(voi, ds, warn)
    own = knowledge("windows").get(modality, {})
    return ((*tables, *linear) if own.get("voi") == "lut" else (*linear, *tables))[:_MAX_WINDOWS]


def _stated_windows(voi: Any, values: Values, warn: Callable[[str], None]) -> tuple[Window, ...]:
    """By centre and width. LINEAR is made for whole numbers (it takes one off the width), so values that are not are
    shown with LINEAR_EXACT."""
    try:
        centres, widths = numbers(voi, "WindowCenter"), numbers(voi, "WindowWidth")
    except BadValueError as bad:
        warn(f"{bad} cannot be read: the file's window is not used.")
        centres = widths = None
    if centres and widths:
        function = code(voi, "VOILUTFunction", ("LINEAR", "LINEAR_EXACT", "SIGMOID")) or "LINEAR"
        function = "LINEAR_EXACT" if function == "LINEAR" and values.dtype.kind == "f" else function
        source = "VOI" if function == "LINEAR" else f"VOI {function}"
        least = 1.0 if function == "LINEAR" else 1e-12
        sound = [(c, w) for c, w in zip(centres, widths, strict=False) if w >= least]
        if len(sound) < max(len(centres), len(widths)):
            warn("WindowWidth is not positive: the file's window is not used.")
        return tuple(Window(centre=c, width=w, source=source) for c, w in sound)
    return ()


def _tables(voi: Any, ds: Any, warn: Callable[[str], None]) -> tuple[Window, ...]:
    try:
        found = (items(voi, "VOILUTSequence") or items(ds, "VOILUTSequence"))[:_MAX_WINDOWS]
        return tuple(_table(one, "<" if ds.original_encoding[1] else ">") for one in found)
    except (BadValueError, AttributeError, TypeError, ValueError):
        warn("The VOI LUT cannot be read and is not used.")
        return ()


def _table(table: Any, order: str) -> Window:
    """As the greys it comes to, and where they change; ValueError for one that is not to be used."""
    descriptor = numbers(table, "LUTDescriptor", 3)
    if descriptor is None:
        raise ValueError("a table needs a descriptor")
    count, first, bits = int(descriptor[0]) or 2**16, descriptor[1], int(descriptor[2])
    entries = _lut_entries(table, count, order)
    if not 1 <= bits <= 16 or entries.max() == entries.min():
        raise ValueError("a table must tell values apart")
    greys = np.rint(np.minimum(entries / (2**bits - 1), 1) * 255).astype(int)
    starts = np.concatenate(([0], np.flatnonzero(np.diff(greys)) + 1))
    if len(starts) > _MAX_LEVELS:
        raise ValueError("a table should be smooth")
    levels = tuple((first + float(n), int(greys[n])) for n in starts)
    nearest = _between(*_linear_part(entries, first), "VOI LUT")
    return nearest.model_copy(update={"levels": levels})


def _linear_part(entries: npt.NDArray[np.float64], first: float) -> tuple[float, float]:
    """Where a rising table leaves black and reaches white; from end to end for any other."""
    low, high = entries.min(), entries.max()
    black = np.flatnonzero(entries <= low + _FLAT * (high - low))
    white = np.flatnonzero(entries >= high - _FLAT * (high - low))
    if black[-1] >= white[0]:
        return first, first + len(entries) - 1
    return first + float(black[-1]), first + float(white[0])


def _lut_entries(table: Any, count: int, order: str) -> npt.NDArray[np.float64]:
    """The table as it stands; pydicom's apply_voi overflows where 8-bit entries are more than 256."""
    data = table.LUTData
    if isinstance(data, bytes):
        data = np.frombuffer(data, f"{order}u{max(1, len(data) // count)}")
    entries = np.asarray(data, np.float64)[:count]
    if entries.size < count:
        raise ValueError("the table is shorter than its descriptor says")
    return entries
