"""The only way a header value leaves a DICOM dataset: as a number, a valid UID or an allow-listed word.

Nothing here lets free text pass, so a patient's name in any tag stays in the file.
"""

from __future__ import annotations

import math
import re
import warnings
from collections.abc import Iterable
from functools import cache, lru_cache
from typing import Any, NamedTuple

from pydicom.datadict import dictionary_VR, tag_for_keyword
from pydicom.dataelem import RawDataElement, convert_raw_data_element
from pydicom.tag import BaseTag

__all__ = [
    "BadValueError", "code", "functional", "item", "items", "letters", "numbers", "recall", "says", "stated", "uid",
    "whole",
]  # fmt: skip

_UID = re.compile(r"[0-9.]{1,64}")
_PLAIN = {"CS", "DS", "FD", "FL", "IS", "SL", "SS", "UI", "UL", "US"}
"""Value representations whose meaning hangs on nothing but their own bytes."""
_SHARED, _PER_FRAME = BaseTag(0x52009229), BaseTag(0x52009230)
"""Shared and Per-Frame Functional Groups Sequence."""
_OWN = {BaseTag(0x00080018), BaseTag(0x00200013), BaseTag(0x00200032)}
"""SOPInstanceUID, InstanceNumber, ImagePositionPatient: no two slices share them."""
_KNOWN = "_medloupe_known"
"""Attribute of a dataset: what was looked up in it."""
_KEPT_BYTES = 1024
"""Longer values are converted anew each time."""


_last: tuple[list[Any], dict[str, Any]] = [], {}
"""Of the file read last: its header but for what is its own, and what was looked up in it."""


class BadValueError(ValueError):
    """A tag is there and cannot be read as what it should be; carries the keyword only."""


class _Held(NamedTuple):
    """What an element holds."""

    value: Any
    numbers: tuple[float, ...] | None = None
    """Worked out already, where it holds any."""


def _held(ds: Any, keyword: str) -> _Held | None:
    """What a tag holds, None when absent or empty; BadValueError when pydicom cannot convert it."""
    known: dict[str, _Held | None] = vars(ds).setdefault(_KNOWN, {})
    if keyword in known:
        return known[keyword]
    tag = _tag(keyword)
    raw = ds.keys().mapping.get(tag)  # what pydicom keeps, unconverted
    if raw is None:
        if tag not in _OWN:  # what is a slice's own, absence too, says nothing of the next slice
            known[keyword] = None
        return None
    try:
        if isinstance(raw, RawDataElement) and raw.value is not None and len(raw.value) <= _KEPT_BYTES:
            vr = raw.VR or dictionary_VR(tag)
            if tag in _OWN:
                value = convert_raw_data_element(raw).value
                return None if _is_empty(value) else _Held(value)
            if vr in _PLAIN:
                held, warned = _converted(tag, vr, raw.value, raw.is_implicit_VR, raw.is_little_endian)
                for message in warned:
                    warnings.warn(message, UserWarning, stacklevel=1)
                if not warned:
                    known[keyword] = held
                return held
        value = ds[tag].value
    except Exception as error:  # pydicom converts lazily and may raise anything on a bad value
        raise BadValueError(keyword) from error
    return None if _is_empty(value) else _Held(value)


def recall(ds: Any) -> None:
    """Let a dataset start with what was looked up in the last one, where they differ only in what no two slices share.

    The slices of a series repeat the rest of their header. Nothing that pydicom warned of is passed on, and nothing of
    headers with sequences that pydicom has opened. Long values must have been deferred: they would be kept.
    """
    global _last
    if not all(isinstance(element, RawDataElement) for element in ds.values()):
        return
    header = [(int(tag), *element[1:4], *element[5:]) for tag, element in ds.items() if tag not in _OWN]
    known = dict(_last[1]) if header == _last[0] else {}
    vars(ds)[_KNOWN] = known
    _last = header, known


@cache
def _tag(keyword: str) -> BaseTag:
    return BaseTag(tag_for_keyword(keyword) or 0)


@lru_cache(maxsize=4096)
def _converted(
    tag: BaseTag, vr: str, data: bytes, implicit: bool, little_endian: bool
) -> tuple[_Held | None, tuple[str, ...]]:
    """What the bytes hold, None for nothing, and what pydicom warned of as it converted them."""
    raw = RawDataElement(tag, vr, len(data), data, 0, implicit, little_endian)
    with warnings.catch_warnings(record=True) as heard:
        warnings.simplefilter("always")
        value = convert_raw_data_element(raw).value
    held = None if _is_empty(value) else _Held(value, _numbers_of(value))
    return held, tuple(str(warning.message) for warning in heard)


def _is_empty(value: Any) -> bool:
    return value is None or value == "" or (hasattr(value, "__len__") and len(value) == 0)


def _numbers_of(value: Any) -> tuple[float, ...] | None:
    """Finite floats, one or more; None for anything else."""
    try:
        several = hasattr(value, "__len__") and not isinstance(value, str)
        listed = tuple(float(v) for v in value) if several else (float(value),)
    except (TypeError, ValueError, OverflowError):
        return None
    return listed if all(map(math.isfinite, listed)) else None


def _value(ds: Any, keyword: str) -> Any:
    held = _held(ds, keyword)
    return None if held is None else held.value


def numbers(ds: Any, keyword: str, count: int | None = None) -> tuple[float, ...] | None:
    """A numeric tag as finite floats; None when absent. BadValueError when malformed, infinite or another count."""
    held = _held(ds, keyword)
    if held is None:
        return None
    listed = held.numbers or _numbers_of(held.value)
    if listed is None or (count is not None and len(listed) != count):
        raise BadValueError(keyword)
    return listed


def whole(ds: Any, keyword: str) -> int | None:
    """A tag that holds one whole number; None when absent."""
    listed = numbers(ds, keyword, 1)
    if listed is None:
        return None
    if listed[0] != int(listed[0]):
        raise BadValueError(keyword)
    return int(listed[0])


def code(ds: Any, keyword: str, allowed: Iterable[str]) -> str:
    """A code string if it is one of `allowed`, else ""."""
    try:
        value = _value(ds, keyword)
    except BadValueError:
        return ""
    word = value.strip().upper() if isinstance(value, str) else ""
    return word if word in allowed else ""


def says(ds: Any, keyword: str, sentence: str) -> bool:
    """Whether a tag of free text holds a known sentence, word for word; nothing else of it is looked at."""
    try:
        value = _value(ds, keyword)
    except BadValueError:
        return False
    return isinstance(value, str) and value.strip() == sentence


def stated(ds: Any, keyword: str) -> bool:
    """Whether a tag says anything at all, readable or not."""
    try:
        return _value(ds, keyword) is not None
    except BadValueError:
        return True


def letters(ds: Any, keyword: str, alphabet: str) -> tuple[str, ...] | None:
    """A tag of short words made of an alphabet's letters; None when absent, BadValueError when anything else."""
    value = _value(ds, keyword)
    if value is None:
        return None
    words = tuple(str(word).strip().upper() for word in ([value] if isinstance(value, str) else value))
    if not all(0 < len(word) <= 3 and set(word) <= set(alphabet) for word in words):
        raise BadValueError(keyword)
    return words


def uid(ds: Any, keyword: str) -> str | None:
    """A UID of digits and dots; None when absent or anything else."""
    try:
        value = str(_value(ds, keyword) or "")
    except BadValueError:
        return None
    return value if _UID.fullmatch(value) else None


def items(ds: Any, keyword: str) -> list[Any]:
    """The items of a sequence; none when it is absent or is no sequence."""
    sequence = _value(ds, keyword)
    return [] if sequence is None or isinstance(sequence, str | bytes) else list(sequence)


def item(ds: Any, keyword: str, index: int = 0) -> Any | None:
    """One item of a sequence; None when there is none."""
    sequence = _value(ds, keyword)
    return None if sequence is None or isinstance(sequence, str | bytes) or index >= len(sequence) else sequence[index]


def functional(ds: Any, frame: int, keyword: str) -> Any | None:
    """A frame's item of a functional group (PS3.3 C.7.6.16): its own, else the shared one, else None."""
    held = ds.keys()
    if _PER_FRAME not in held and _SHARED not in held:
        return None
    for group in (item(ds, "PerFrameFunctionalGroupsSequence", frame), item(ds, "SharedFunctionalGroupsSequence")):
        found = None if group is None else item(group, keyword)
        if found is not None:
            return found
    return None
