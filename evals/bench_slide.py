"""Opening whole slides: how long it takes, and the memory of this process and its workers.

    python -m medloupe.evals.bench_slide

Slides of one colour are made, so that their files are small and their sizes are not: a tiled BigTIFF with SubIFDs and a
series of whole-slide DICOM, JPEG tiles, three levels. Each is opened with a cold pool and a warm one, then shown whole,
at a region that lies between two levels and at full size in the lower right corner, and outlined in a box. Seconds are
of the clock, so the load on the machine is printed; beside them those of this process and its busiest worker. Memory is
sampled in a run of its own. Exit 1 when a bar is missed.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import click
import imagecodecs
import numpy as np
import PIL.Image
import tifffile
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate, encapsulate_extended
from pydicom.sequence import Sequence as Items
from pydicom.uid import UID, ExplicitVRLittleEndian, JPEGBaseline8Bit, VLWholeSlideMicroscopyImageStorage

from medloupe.evals.bench_load import peak_of, processor_seconds, seconds
from medloupe.tools.imaging import MemoryStore, load_study
from medloupe.tools.imaging.workers import close_pool
from medloupe.tools.look import Loupe
from medloupe.types import BoundingBox

__all__ = ["main", "write_flat_dicom", "write_flat_tiff", "write_level"]

OPEN_S, PEAK = 2.0, 500 * 2**20
"""Most seconds to open with a cold pool, and most bytes held by this process and its workers."""
TILE = 256
_STEPS = (1, 4, 16)


def write_flat_tiff(path: Path, width: int, height: int) -> None:
    """A BigTIFF pyramid of one colour, 0.25 micrometres a pixel."""
    tile = _flat_tile()
    with tifffile.TiffWriter(path, bigtiff=True) as writer:
        for place, step in enumerate(_STEPS):
            across, down = width // step, height // step
            writer.write(
                (tile for _ in range(-(-across // TILE) * -(-down // TILE))), shape=(down, across, 3), dtype=np.uint8,
                tile=(TILE, TILE), photometric="rgb", compression="jpeg", subfiletype=int(place > 0),
                subifds=0 if place else len(_STEPS) - 1, resolution=(40000, 40000), resolutionunit="CENTIMETER",
            )  # fmt: skip


def write_flat_dicom(folder: Path, width: int, height: int) -> None:
    """A series of one colour, TILED_FULL, a file a level."""
    for place, step in enumerate(_STEPS):
        across, down = width // step, height // step
        frames = [_flat_tile()] * (-(-across // TILE) * -(-down // TILE))
        write_level(folder / f"{place}.dcm", frames, (across, down), step=step, syntax=JPEGBaseline8Bit)


def _flat_tile() -> bytes:
    return bytes(imagecodecs.jpeg_encode(np.full((TILE, TILE, 3), 200, np.uint8)))


def write_level(
    path: Path, frames: Sequence[bytes], size: tuple[int, int], *, step: float = 1,
    tile: tuple[int, int] = (TILE, TILE), syntax: UID = ExplicitVRLittleEndian, table: str = "basic", **tags: object,
) -> None:  # fmt: skip
    """One level of a whole-slide DICOM: encoded tiles in TILED_FULL order, `size` (columns, rows) of the whole matrix.

    `table`: where compressed frames lie is said by the "basic" or the "extended" offset table, or by "none". Other
    tags are set last; None removes one.
    """
    ds = Dataset()
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = syntax
    ds.file_meta.MediaStorageSOPClassUID = ds.SOPClassUID = VLWholeSlideMicroscopyImageStorage
    ds.file_meta.MediaStorageSOPInstanceUID = ds.SOPInstanceUID = f"1.2.3.4.{size[0]}.{size[1]}"
    ds.StudyInstanceUID, ds.SeriesInstanceUID, ds.FrameOfReferenceUID = "1.2.3", "1.2.3.4", "1.2.3.5"
    ds.Modality, ds.ImageType = "SM", ["ORIGINAL", "PRIMARY", "VOLUME", "NONE" if step == 1 else "RESAMPLED"]
    ds.DimensionOrganizationType, ds.BurnedInAnnotation, ds.SpecimenLabelInImage = "TILED_FULL", "NO", "NO"
    ds.TotalPixelMatrixColumns, ds.TotalPixelMatrixRows = size
    ds.Columns, ds.Rows, ds.NumberOfFrames = *tile, len(frames)
    ds.SamplesPerPixel, ds.PlanarConfiguration = 3, 0
    ds.PhotometricInterpretation = "YBR_FULL_422" if syntax == JPEGBaseline8Bit else "RGB"
    ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 8, 8, 7, 0
    origin, light = Dataset(), Dataset()
    origin.XOffsetInSlideCoordinateSystem, origin.YOffsetInSlideCoordinateSystem = 20.0, 40.0
    light.OpticalPathIdentifier = "1"
    ds.TotalPixelMatrixOriginSequence, ds.OpticalPathSequence = Items([origin]), Items([light])
    ds.ImageOrientationSlide, ds.TotalPixelMatrixFocalPlanes = [0, -1, 0, -1, 0, 0], 1
    measures, shared = Dataset(), Dataset()
    measures.PixelSpacing, measures.SliceThickness = [0.00025 * step, 0.00025 * step], 0.001
    shared.PixelMeasuresSequence = Items([measures])
    ds.SharedFunctionalGroupsSequence = Items([shared])
    if not syntax.is_encapsulated:
        ds.PixelData = b"".join(frames)
    elif table == "extended":
        ds.PixelData, ds.ExtendedOffsetTable, ds.ExtendedOffsetTableLengths = encapsulate_extended(list(frames))
    else:
        ds.PixelData = encapsulate(list(frames), has_bot=table == "basic")
    for keyword, value in tags.items():
        if value is None:
            delattr(ds, keyword)
        else:
            setattr(ds, keyword, value)
    ds.save_as(path, enforce_file_format=True)


# --- the command ----------------------------------------------------------------------------------------------------


def _looks(path: Path) -> dict[str, Callable[[], object]]:
    """What is timed, in order, on one slide."""
    store = MemoryStore()
    loupes: list[Loupe] = []

    def open_it() -> None:
        loupes.append(Loupe(load_study(path, store), store))

    def zoom(x0: float, y0: float, x1: float, y1: float) -> Callable[[], object]:
        def look() -> object:
            image = loupes[-1].image(0)
            x, y = image.width, image.height
            box = BoundingBox(x0=x0 * x, y0=y0 * y, x1=x1 * x, y1=y1 * y)
            return loupes[-1].zoom(loupes[-1].overview(0), box, index=1)

        return look

    return {
        "open, cold pool": open_it,
        "open, warm pool": open_it,
        "overview": lambda: loupes[-1].overview(0),
        "zoom, a tenth": zoom(0.45, 0.45, 0.55, 0.55),
        "zoom, corner": zoom(0.995, 0.995, 1.0, 1.0),
        "outline, a fifth": lambda: loupes[-1].outline(0, BoundingBox(x0=9e3, y0=9e3, x1=2e4, y1=2e4)),
    }


def _row(name: str, path: Path, picture: Path) -> bool:
    close_pool()
    start = seconds(lambda: load_study(picture, MemoryStore()))
    click.echo(f"{name:<8}{'tiny PNG, cold pool':<20}{start:>8.3f} s")
    close_pool()
    wall = dict[str, float]()
    for what, look in _looks(path).items():
        own, workers = processor_seconds()
        wall[what] = seconds(look)
        after, workers_after = processor_seconds()
        busy = after - own + max(workers_after - workers, 0.0)
        click.echo(f"{name:<8}{what:<20}{wall[what]:>8.3f} s  {busy:>7.2f} s of processors")
    close_pool()
    peak = peak_of(lambda: [look() for look in _looks(path).values()])
    held = wall["open, cold pool"] <= OPEN_S and peak <= PEAK
    bars = f"bars {OPEN_S:g} s cold and {PEAK / 2**20:.0f} MB"
    click.echo(f"{name:<8}{'peak memory':<20}{peak / 2**20:>8.0f} MB   {bars}  {'met' if held else 'MISSED'}")
    return held


@click.command(help=__doc__.splitlines()[0] if __doc__ else None)
@click.option("--width", default=60_000, show_default=True, help="Columns of the slides.")
@click.option("--height", default=60_000, show_default=True, help="Rows of the slides.")
def main(width: int, height: int) -> None:
    """Print the table; see the module."""
    click.echo(f"{width:,} x {height:,} pixels, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f} at the start")
    with tempfile.TemporaryDirectory() as name:
        begun = time.perf_counter()
        tiff, dicom = Path(name, "slide.tif"), Path(name, "dicom")
        dicom.mkdir()
        write_flat_tiff(tiff, width, height)
        write_flat_dicom(dicom, width, height)
        stored = [tiff.stat().st_size, sum(file.stat().st_size for file in dicom.iterdir())]
        sizes = " and ".join(f"{size / 2**20:.0f} MB" for size in stored)
        click.echo(f"files of {sizes}, made in {time.perf_counter() - begun:.1f} s")
        picture = Path(name, "tiny.png")
        PIL.Image.new("L", (8, 8)).save(picture)
        held = _row("TIFF", tiff, picture)
        held &= _row("DICOM", dicom, picture)
    sys.exit(0 if held else 1)


if __name__ == "__main__":
    main()
