"""The study that `make ask` opens by default: a real abdominal MR slice that comes with pydicom (MIT licence)."""

from __future__ import annotations

from pathlib import Path

__all__ = ["bundled_study"]


def bundled_study() -> Path:
    """Path of pydicom's examples_overlay.dcm: axial abdomen, 484 x 300 pixels, pixel spacing known."""
    from pydicom.data import get_testdata_file

    found = get_testdata_file("examples_overlay.dcm", download=False)
    if not isinstance(found, str):
        raise FileNotFoundError("pydicom came without its example files")
    return Path(found)


if __name__ == "__main__":
    print(bundled_study())  # noqa: T201 - the Makefile reads it
