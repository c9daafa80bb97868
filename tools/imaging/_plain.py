"""What stands for pydantic in the process that reads files: importing it, and building its models, takes a tenth of a
second there, and what a reader made is validated by the caller's real ones anyway.

A model keeps its fields, its defaults, the bounds that `Field` gives a number and its own checks; types are not looked
at. A broken bound or check is a ValueError, as pydantic's is.
"""

from __future__ import annotations

import inspect
import json
import math
from collections.abc import Callable
from typing import Any, ClassVar, Literal, Self

__all__ = ["BaseModel", "ConfigDict", "Field", "as_json", "model_validator"]

ConfigDict = dict


class _Bounds:
    """What `Field` says of a field."""

    def __init__(
        self,
        default: Any = ...,
        *,
        gt: float | None = None,
        ge: float | None = None,
        le: float | None = None,
        min_length: int = 0,
        allow_inf_nan: bool = True,
    ) -> None:
        self.default = default
        self._gt, self._ge, self._le = gt, ge, le
        self._min_length, self._allow_inf_nan = min_length, allow_inf_nan

    def check(self, value: Any) -> None:
        """ValueError for one that lies outside."""
        if (
            (self._gt is not None and not value > self._gt)
            or (self._ge is not None and not value >= self._ge)
            or (self._le is not None and not value <= self._le)
            or (self._min_length and len(value) < self._min_length)
            or not (self._allow_inf_nan or math.isfinite(value))
        ):
            raise ValueError("a value is out of bounds")


Field = _Bounds


def model_validator(*, mode: Literal["after"]) -> Callable[[Any], Any]:
    """A check of the whole model."""

    def mark(check: Any) -> Any:
        check.runs = mode
        return check

    return mark


class BaseModel:
    """Fields by name, immutable by agreement."""

    _defaults: ClassVar[dict[str, Any]] = {}
    """Of each field in order; `...` where there is none."""
    _bounds: ClassVar[dict[str, _Bounds]] = {}
    _checks: ClassVar[tuple[Any, ...]] = ()

    def __init_subclass__(cls) -> None:
        cls._defaults, cls._bounds = dict(cls._defaults), dict(cls._bounds)
        for name in inspect.get_annotations(cls):
            default = cls.__dict__.get(name, ...)
            cls._bounds.pop(name, None)
            if isinstance(default, _Bounds):
                cls._bounds[name], default = default, default.default
            cls._defaults[name] = default
        cls._checks += tuple(check for check in cls.__dict__.values() if hasattr(check, "runs"))

    def __init__(self, **given: Any) -> None:
        held = self._defaults | given
        if len(held) != len(self._defaults) or ... in held.values():
            raise ValueError("a field is missing or unknown")
        self.__dict__ = held
        for name, bounds in self._bounds.items():
            bounds.check(held[name])
        for check in self._checks:
            check(self)

    def __eq__(self, other: object) -> bool:
        return type(self) is type(other) and vars(self) == vars(other)

    def __hash__(self) -> int:
        return hash(tuple(vars(self).values()))

    def model_copy(self, *, update: dict[str, Any]) -> Self:
        """With other values in some fields, which are not checked."""
        copy = object.__new__(type(self))
        copy.__dict__ = vars(self) | update
        return copy

    def model_dump_json(self) -> str:
        """As pydantic writes it."""
        return as_json(self)


def as_json(value: object) -> str:
    """JSON of plain data and of models and dataclasses; ValueError for a number that is none."""
    return json.dumps(value, default=_plain, ensure_ascii=False, allow_nan=False, separators=(",", ":"))


def _plain(thing: Any) -> Any:
    """Of what JSON does not know."""
    return thing.item() if hasattr(thing, "item") else vars(thing)
