"""Loading a CT series through the worker pool against plain pydicom in this process, and the memory that it takes.

    python -m medloupe.evals.bench_load

A series of 512 x 512 slices is made, uncompressed and RLE, and read in rounds: plain pydicom (dcmread and pixel_array
of each file), a cold pool (its processes are started), a warm pool. The ratios are taken within a round, since other
work on the machine changes the times; their medians are held to the bars for the uncompressed series. What the pool
does more than plain pydicom: every check, Hounsfield units, geometry, a digest of each slice, the study. A warm pool
has read the same files before and keeps header values that slices share. Exit 1 when a bar is missed.
"""

from __future__ import annotations

import os
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import click
import numpy as np
import pydicom
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, RLELossless

from medloupe.tools.imaging import MemoryStore, load_study
from medloupe.tools.imaging.workers import close_pool

COLD, WARM = 1.6, 0.8
"""Most time against plain pydicom."""
SHARE, FIXED = 1.2, 350 * 2**20
"""Most memory: a share of the stored values' volume, and bytes."""


def write_series(folder: Path, slices: int, *, rle: bool) -> None:
    """An axial CT of smooth tissue with noise in the lower bits, 512 x 512, 12 bits stored in 16."""
    rng = np.random.default_rng(0)
    rows, columns = np.mgrid[:512, :512]
    for n in range(slices):
        body = 1024 * (np.hypot(rows - 256, columns - 256 + n / 4) < 200)
        pixels = (body + rng.normal(40, 12, (512, 512))).clip(0, 4095).astype(np.uint16)
        ds = Dataset()
        ds.file_meta = FileMetaDataset()
        ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        ds.file_meta.MediaStorageSOPClassUID = ds.SOPClassUID = CTImageStorage
        ds.file_meta.MediaStorageSOPInstanceUID = ds.SOPInstanceUID = f"1.2.3.4.{n + 1}"
        ds.StudyInstanceUID, ds.SeriesInstanceUID, ds.InstanceNumber = "1.2.3", "1.2.3.4", n + 1
        ds.Modality, ds.PhotometricInterpretation, ds.SamplesPerPixel = "CT", "MONOCHROME2", 1
        ds.Rows, ds.Columns, ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = (
            512,
            512,
            16,
            12,
            11,
            0,
        )
        ds.RescaleSlope, ds.RescaleIntercept, ds.WindowCenter, ds.WindowWidth = 1, -1024, 40, 400
        ds.PixelSpacing, ds.SliceThickness = [0.7, 0.7], 1
        ds.ImagePositionPatient, ds.ImageOrientationPatient = [-179, -179, n], [1, 0, 0, 0, 1, 0]
        ds.PixelData = pixels.tobytes()
        if rle:
            ds.compress(RLELossless, pixels, generate_instance_uid=False)
        pydicom.dcmwrite(folder / f"{n:04d}.dcm", ds, enforce_file_format=True)


def read_plainly(folder: Path) -> None:
    """What pydicom alone does; the arrays are all kept, as a store would."""
    arrays = [pydicom.dcmread(path).pixel_array for path in sorted(folder.iterdir())]
    assert arrays


def seconds(work: Callable[[], object]) -> float:
    """How long it takes."""
    begun = time.perf_counter()
    work()
    return time.perf_counter() - begun


def processor_seconds() -> tuple[float, float]:
    """Of this process, and of its busiest worker, so far; a new pool's start counts as its worker's."""
    own, ticks = time.process_time(), os.sysconf("SC_CLK_TCK")
    spent = [0.0]
    for pid in list(family(os.getpid()))[1:]:
        fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
        spent.append((int(fields[11]) + int(fields[12])) / ticks)
    return own, max(spent)


def rounds(folder: Path, times: int) -> list[tuple[float, ...]]:
    """Of each round, after one that fills the file cache: (plain, cold, warm) seconds, and processor seconds of plain
    and warm: for warm this process's plus its busiest worker's, which is what a machine with nothing else to do takes.
    """
    read_plainly(folder)
    measured: list[tuple[float, ...]] = []
    for _ in range(times):
        close_pool()
        cold = seconds(lambda: load_study(folder, MemoryStore()))
        begun, worker_begun = processor_seconds()
        plain = seconds(lambda: read_plainly(folder))
        between, _ = processor_seconds()
        warm = seconds(lambda: load_study(folder, MemoryStore()))
        ended, worker_ended = processor_seconds()
        measured.append((plain, cold, warm, between - begun, ended - between + worker_ended - worker_begun))
    return measured


# --- memory ---------------------------------------------------------------------------------------------------------


def family(pid: int) -> Iterator[int]:
    """A process and all below it."""
    yield pid
    for task in Path(f"/proc/{pid}/task").iterdir():
        for child in (task / "children").read_text().split():
            yield from family(int(child))


def held_bytes() -> int:
    """Proportional set size of this process and its workers, plus shared memory whether or not it is mapped.

    PSS leaves out pages of shared memory that nobody has touched through a mapping: these are counted whole.
    """
    total, shared = 0, {}
    for pid in family(os.getpid()):
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            name, _, rest = line.partition(":")
            if name in ("Pss_Anon", "Pss_File"):
                total += int(rest.split()[0]) * 1024
        for link in Path(f"/proc/{pid}/fd").iterdir():
            if link.is_symlink() and "memfd:" in str(link.readlink()):
                there = link.stat()
                shared[there.st_ino] = there.st_blocks * 512
    return total + sum(shared.values())


def peak_of(work: Callable[[], object]) -> int:
    """Most bytes held while it runs, sampled."""
    peak, done = 0, threading.Event()

    def watch() -> None:
        nonlocal peak
        while not done.wait(0.02):
            try:
                peak = max(peak, held_bytes())
            except OSError:  # a process ended between listing and reading
                continue

    watcher = threading.Thread(target=watch)
    watcher.start()
    work()
    done.set()
    watcher.join()
    return max(peak, held_bytes())


# --- the command ----------------------------------------------------------------------------------------------------


@click.command(help=__doc__.splitlines()[0] if __doc__ else None)
@click.option("--slices", default=300, show_default=True, help="Files in the series.")
@click.option("--rounds", "times", default=5, show_default=True, help="Rounds; the median ratio counts.")
def main(slices: int, times: int) -> None:
    """Print the table; see the module."""
    click.echo(f"{slices} slices of 512 x 512, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f} at the start")
    click.echo(
        f"{'series':<14}{'plain s':>9}{'cold s':>8}{'warm s':>8}{'cold x':>8}{'warm x':>8}{'cpu x':>10}{'bars':>12}"
    )
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_series(folder, slices, rle=False)
        held = _row("uncompressed", rounds(folder, times), bars=True)
        held &= _memory(folder)
        write_series(folder, slices, rle=True)
        _row("RLE", rounds(folder, times), bars=False)
    sys.exit(0 if held else 1)


def _row(name: str, measured: list[tuple[float, ...]], *, bars: bool) -> bool:
    plain, cold, warm, _, _ = (statistics.median(column) for column in zip(*measured, strict=True))
    cold_x = statistics.median(c / p for p, c, *_ in measured)
    warm_x = statistics.median(w / p for p, _, w, *_ in measured)
    busy_x = statistics.median(w / p for *_, p, w in measured)
    held = cold_x <= COLD and warm_x <= WARM
    verdict = f"{COLD} and {WARM}  {'met' if held else 'MISSED'}" if bars else "none"
    click.echo(
        f"{name:<14}{plain:>9.2f}{cold:>8.2f}{warm:>8.2f}{cold_x:>8.2f}{warm_x:>8.2f}{busy_x:>10.2f}  {verdict:>19}"
    )
    return held


def _memory(folder: Path) -> bool:
    """Peak of a load with a cold pool, every pixel touched at the end."""
    store = MemoryStore()
    volume = 0

    def load() -> None:
        nonlocal volume
        for image in load_study(folder, store).images:
            values = store.get(image.digest)
            volume += values.nbytes
            values.sum()

    close_pool()
    peak = peak_of(load)
    most = SHARE * volume + FIXED
    verdict = "met" if peak <= most else "MISSED"
    click.echo(
        f"peak memory {peak / 2**20:.0f} MB; stored values {volume / 2**20:.0f} MB; bar {most / 2**20:.0f} MB"
        f"  {verdict}"
    )
    return peak <= most


if __name__ == "__main__":
    main()
