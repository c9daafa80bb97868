"""Verifiers by entry point: a package that registers a class under "medloupe.verifiers" adds a way to check claims.

    [project.entry-points."medloupe.verifiers"]
    spine = "my_package:SpineVerifier"

The class is called without arguments and must be a Verifier; tests/verify/test_verifiers.py is the suite to pass. What
is installed is used; it is asked after medloupe's own (see policy), and its faults are "undetermined".
"""

from __future__ import annotations

from importlib.metadata import EntryPoint, entry_points
from typing import NamedTuple

from medloupe.tools.verify.scene import Verifier

__all__ = ["GROUP", "Plugins", "installed", "load_plugins"]

GROUP = "medloupe.verifiers"
_OURS = "medloupe"


class Plugins(NamedTuple):
    """Other packages' verifiers, and what could not be loaded."""

    verifiers: tuple[Verifier, ...]
    warnings: tuple[str, ...]


def installed() -> list[EntryPoint]:
    """The entry points of other packages, by name; nothing is imported. Our own are built with the settings."""
    found = [p for p in entry_points(group=GROUP) if p.dist is None or p.dist.name.casefold() != _OURS]
    return sorted(found, key=lambda point: (point.name, point.value))


def load_plugins() -> Plugins:
    """Every installed one, made; one that cannot be is a warning that names it, never an error."""
    verifiers: list[Verifier] = []
    warnings = []
    for point in installed():
        try:
            verifier = point.load()()
            if not callable(verifier) or not isinstance(getattr(verifier, "name", None), str):
                raise TypeError("it is no Verifier")
            verifiers.append(verifier)
        except Exception as error:  # noqa: BLE001 - somebody else's code: its fault must not take the reader down
            warnings.append(f'the verifier "{point.name}" ({point.value}) could not be loaded: {type(error).__name__}')
    return Plugins(tuple(verifiers), tuple(warnings))
