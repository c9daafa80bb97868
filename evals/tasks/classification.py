"""Labels as options: MedMNIST, and MedMNIST-C for robustness. Arrays are read with allow_pickle=False."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from medloupe.errors import InputRejected
from medloupe.evals.tasks.case import Benchmark, Case
from medloupe.evals.tasks.release import Release
from medloupe.prompts import knowledge

__all__ = ["MEDMNIST", "MEDMNIST_C"]

_SEVERITIES = 5


class _Flag(NamedTuple):
    name: str
    modality: str
    labels: tuple[str, ...]
    several: bool


def _flag(file: str) -> _Flag:
    """What a file is of: `{flag}.npz` or `{flag}_{64,128,224}.npz`; InputRejected for another."""
    name = file.rpartition("/")[2].removesuffix(".npz").partition("_")[0]
    flags = knowledge("benchmarks")["medmnist"]["flags"]
    if name not in flags:
        raise InputRejected("changed-file", f"{file} is none of MedMNIST's 2D sets ({', '.join(flags)})")
    return _Flag(name, flags[name]["modality"], tuple(flags[name]["labels"]), flags[name].get("several", False))


def _labels(release: Release, file: str, split: str) -> npt.NDArray[np.int64]:
    """(images, labels); checked against the number of images, of which only the header is read."""
    release.record(file)
    try:
        with np.load(release.folder / file, allow_pickle=False) as archive:
            for key in (f"{split}_images", f"{split}_labels"):
                if key not in archive.files:
                    there = ", ".join(archive.files[:12])
                    raise InputRejected("changed-file", f"{file} has no {key}; it has {there}")
            labels = np.asarray(archive[f"{split}_labels"], dtype=np.int64)
        images = _length(release.folder / file, f"{split}_images")
    except (ValueError, zipfile.BadZipFile):
        raise InputRejected("changed-file", f"{file} is no plain numpy archive; it is not unpickled") from None
    if len(labels) != images:
        raise InputRejected("changed-file", f"{file}: {images} images and {len(labels)} labels")
    return labels.reshape(len(labels), -1)


def _length(path: Path, key: str) -> int:
    """First dimension of an array of an archive."""
    with zipfile.ZipFile(path) as archive, archive.open(f"{key}.npy") as file:
        version = np.lib.format.read_magic(file)
        header = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        return int(header(file)[0][0])


def _medmnist(release: Release, split: str) -> Iterator[Case]:
    """Yang et al., Sci Data 2023. The multi-label chestmnist is asked one label at a time.

    An image at several sizes is one cluster. The sets of volumes (nodulemnist3d, ...) are left out, which is said.
    """
    files = release.all("*mnist*.npz")
    volumes = [file for file in files if "mnist3d" in file]
    if volumes:
        release.notes.append(f"left out, for they hold volumes: {', '.join(volumes)}")
    for file in (file for file in files if file not in volumes):
        flag = _flag(file)
        for number, label in enumerate(_labels(release, file, split)):
            image = f"{file}#{split}_images/{number}"
            name = f"{file.removesuffix('.npz')}/{split}/{number}"
            yield from _cases(flag, name, image, label, {}, f"{flag.name}/{split}/{number}")


def _medmnist_c(release: Release, split: str) -> Iterator[Case]:  # noqa: ARG001 - it is made of the test split
    """Di Salvo et al. 2024: `{dataset}/{corruption}.npz`, the test images at five severities, one after the other."""
    for file in release.all("*mnist/*.npz"):
        dataset, _, corruption = file.removesuffix(".npz").partition("/")
        flag = _flag(dataset)
        labels = _labels(release, file, "test")
        each, rest = divmod(len(labels), _SEVERITIES)
        if rest:
            raise InputRejected("changed-file", f"{file}: {len(labels)} images are not five severities of one test set")
        for number, label in enumerate(labels):
            about = {"corruption": corruption, "severity": str(number // each + 1)}
            image = f"{file}#test_images/{number}"
            yield from _cases(
                flag, f"{dataset}/{corruption}/{number}", image, label, about, f"{dataset}/{number % each}"
            )


def _cases(
    flag: _Flag, name: str, image: str, label: npt.NDArray[Any], about: dict[str, str], cluster: str = ""
) -> Iterator[Case]:
    words = knowledge("benchmarks")["medmnist"]
    shared = {"images": (image,), "cluster": cluster or name, "modality": flag.modality}
    if flag.several:
        for place, text in enumerate(flag.labels):
            yield Case(
                id=f"{name}/{place}", kind="yesno", question=words["states"].format(label=text),
                answer="yes" if label[place] else "no", groups={"set": flag.name, "label": text, **about}, **shared,
            )  # fmt: skip
        return
    text = flag.labels[int(label[0])]
    yield Case(
        id=name, kind="option", question=words["question"], options=flag.labels, answer=text,
        groups={"set": flag.name, "label": text, **about}, **shared,
    )  # fmt: skip


MEDMNIST = Benchmark(
    name="medmnist", title="MedMNIST v2 (2D)", licence="CC BY 4.0", splits=("test", "val", "train"),
    needs=("*mnist*.npz",), read=_medmnist, released={},
)  # fmt: skip
MEDMNIST_C = Benchmark(
    name="medmnist_c", title="MedMNIST-C", licence="CC BY 4.0", splits=("test",), needs=("*mnist/*.npz",),
    read=_medmnist_c, released={},
)  # fmt: skip
