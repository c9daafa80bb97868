"""What the processes that read files leave out to start fast changes nothing of what they answer."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest
import tifffile
from pydicom.dataset import Dataset

from medloupe.errors import InputRejected
from medloupe.limits import DEFAULT
from medloupe.tools.imaging import MemoryStore, load_study, workers
from medloupe.tools.imaging.reading import Read, read_source
from medloupe.tools.imaging.sources import Source
from medloupe.tools.imaging.store import digest_of
from medloupe.types import BoundingBox, Image, Level, Mask, Spacing, Window

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")

REAL = [
    "CT_small.dcm", "MR_small_RLE.dcm", "JPEG2000.dcm", "SC_rgb_rle_2frame.dcm", "examples_palette.dcm",
    "examples_overlay.dcm", "liver_1frame.dcm", "rtstruct.dcm", "reportsi.dcm", "rtdose_1frame.dcm", "rtplan.dcm",
    "image_dfl.dcm", "MR_small_jpeg_ls_lossless.dcm", "JPEG-lossy.dcm", "MR_truncated.dcm", "no_meta.dcm",
]  # fmt: skip


def here(source: Source) -> Read | tuple[str, str] | None:
    """What reading a file in this process gives, with pydantic's models."""
    try:
        return read_source(source, None, DEFAULT)
    except InputRejected as error:
        return error.code, error.reason


def there(source: Source) -> Read | tuple[str, str] | None:
    """What a worker answers."""
    (outcome,), _ = workers.read_all([source], None, DEFAULT)
    return outcome.read if outcome.rejected is None else (outcome.rejected.code, outcome.rejected.reason)


def facts(read: Read | tuple[str, str] | None) -> object:
    if not isinstance(read, Read):
        return read
    frames = [vars(frame) | {"values": digest_of(frame.values), "digest": None} for frame in read.frames]
    return vars(read) | {"frames": frames}


@pytest.mark.parametrize("name", REAL)
def test_a_worker_answers_what_reading_here_gives(name: str, real: Callable[[str], Path]) -> None:
    source = Source(path=real(name), suffix=".dcm")
    assert facts(there(source)) == facts(here(source))


def test_a_worker_describes_slides_and_pictures_as_reading_here_does(shared_data: Path, tmp_path: Path) -> None:
    grey = np.arange(256 * 256, dtype=np.uint32).reshape(256, 256).astype(np.uint8)
    PIL.Image.fromarray(grey).save(tmp_path / "picture.png")
    with tifffile.TiffWriter(tmp_path / "slide.tif") as writer:  # 0.2505 micrometres
        how: dict[str, Any] = {"tile": (128, 128), "photometric": "minisblack", "resolutionunit": "CENTIMETER"}
        writer.write(grey, subifds=1, resolution=(39920.2, 39920.2), **how)
        writer.write(grey[::2, ::2], subfiletype=1, **how)
    slides = sorted((shared_data / "dicom" / "valid" / "highdicom").glob("sm_image*.dcm"))
    for path in (*sorted(tmp_path.iterdir()), *slides):
        source = Source(path=path, suffix=path.suffix)
        read = here(source)
        assert isinstance(read, Read)
        assert bool(read.slides) == (path.suffix != ".png")
        assert facts(there(source)) == facts(read)


def maps_of(name: str) -> set[Path]:
    """The libraries that the pool's processes hold whose path holds a name."""
    server = workers._shared_pool()._process.pid
    children = Path(f"/proc/{server}/task/{server}/children").read_text().split()
    lines = [line for pid in children for line in Path(f"/proc/{pid}/maps").read_text().splitlines()]
    return {Path(line.split(maxsplit=5)[5]) for line in lines if name in line}


def test_decoders_are_loaded_with_the_first_file_that_needs_them(real: Callable[[str], Path]) -> None:
    workers.close_pool()
    load_study(real("CT_small.dcm"), MemoryStore())
    assert maps_of("multiarray")  # numpy's
    assert not maps_of("pydantic_core")
    assert not maps_of("openjpeg")
    assert not maps_of("PIL")
    load_study(real("JPEG2000.dcm"), MemoryStore())
    assert maps_of("openjpeg")


def test_nothing_is_imported_from_the_current_folder(real: Callable[[str], Path], tmp_path: Path) -> None:
    for name in ("enum", "numpy", "pydicom"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit('the wrong module')")
    code = (
        "import sys; sys.path.remove(''); from medloupe.tools.imaging import MemoryStore, load_study; "
        "sys.path.insert(0, ''); print(len(load_study(sys.argv[1], MemoryStore()).images))"
    )
    command = [sys.executable, "-c", code, str(real("CT_small.dcm"))]
    said = subprocess.run(command, check=True, capture_output=True, text=True, timeout=60, cwd=tmp_path)
    assert said.stdout == "1\n"


def test_a_segment_that_is_full_is_not_appended_to(
    ct: Callable[..., Dataset], save: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    for n in range(20):
        path = save(ct(np.full((6, 8), n, np.uint16), InstanceNumber=n), f"{n:02d}.dcm")
    monkeypatch.setattr(workers, "_SEGMENT_BYTES", 250)  # two slices are 192 bytes, three are too many
    store = MemoryStore()
    study = load_study(path.parent, store)
    assert [int(store.get(image.digest)[0, 0]) for image in study.images] == [n - 1000 for n in range(20)]
    behind = {id(store.get(image.digest).base) for image in study.images}
    assert len(behind) >= 20 // 3


# --- plain models ---------------------------------------------------------------------------------------------------

MODELS = {kind.__name__: kind for kind in (BoundingBox, Image, Level, Mask, Spacing, Window)}
IMAGE = {"index": 0, "series": 0, "width": 4, "height": 2, "values": "HU", "digest": ""}
GIVEN: list[tuple[str, dict[str, object]]] = [
    ("BoundingBox", {"x0": 1.0, "y0": 2.0, "x1": 3.5, "y1": 1e-7}),
    ("BoundingBox", {"x0": 1.0, "y0": 2.0, "x1": 3.5, "y1": 4.0}),
    ("BoundingBox", {"x0": float("nan"), "y0": 2.0, "x1": 3.5, "y1": 4.0}),
    ("BoundingBox", {"x0": 1.0, "y0": 2.0, "x1": float("inf"), "y1": 4.0}),
    ("Image", IMAGE),
    ("Image", IMAGE | {"width": 0}),
    ("Image", IMAGE | {"index": -1}),
    ("Image", IMAGE | {"more": 1}),
    ("Image", {name: value for name, value in IMAGE.items() if name != "values"}),
    ("Image", IMAGE | {"position": (0.1, -1000.25, 3.0), "body_part": "Ä", "levels": ()}),
    ("Level", {"width": 5, "height": 5, "tile_width": 0, "tile_height": 5}),
    ("Mask", {"height": 2, "width": 2, "counts": (1, 3)}),
    ("Mask", {"height": 2, "width": 2, "counts": (1, 4)}),
    ("Spacing", {"row_mm": 0.5, "column_mm": 0.0, "source": ""}),
    ("Window", {"centre": 40.0, "width": 400.0, "source": "VOI", "levels": ((0.5, 3), (1.5, 255))}),
    ("Window", {"centre": 40.0, "width": -1.0, "source": "VOI"}),
]
_PLAIN = """
import json, sys
from medloupe.tools.imaging._startup import hasten
hasten()
import medloupe.types as types
for kind, given in eval(sys.argv[1], {"nan": float("nan"), "inf": float("inf")}):
    try:
        print(json.dumps(getattr(types, kind)(**given).model_dump_json()))
    except ValueError:
        print("null")
"""


def test_plain_models_refuse_and_write_what_pydantic_does() -> None:
    command = [sys.executable, "-c", _PLAIN, repr(GIVEN)]
    said = subprocess.run(command, check=True, capture_output=True, text=True, timeout=60).stdout.splitlines()
    for (kind, given), line in zip(GIVEN, said, strict=True):
        try:
            expected = MODELS[kind](**given).model_dump_json()
        except ValueError:
            expected = None
        assert json.loads(line) == expected, (kind, given)
