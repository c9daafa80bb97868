"""Reading a release's tables so that a missing or changed file is named before anything is spent."""

from __future__ import annotations

import csv
import hashlib
import json
import struct
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from medloupe.errors import BackendMissing, InputRejected
from medloupe.evals.tasks.case import Benchmark, Case
from medloupe.evals.tasks.images import exists, tsv_rows
from medloupe.types import Frozen

__all__ = ["Cases", "Release", "read_cases", "read_release"]

_ROWS = 64
"""Of a parquet file that are held at once: they may hold pictures."""
_CHANGED = (
    ArithmeticError, AttributeError, EOFError, LookupError, OSError, RuntimeError, TypeError, ValueError, csv.Error,
    struct.error, zipfile.BadZipFile, zlib.error,
)  # fmt: skip
"""What reading a damaged or changed file raises; RuntimeError is that of JSON too deep and of a locked ZIP."""
_NAMED = 3
"""Missing images that an error names."""


class Release:
    """A folder of a release. Remembers every table that was read, with its sha-256."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.hashes: dict[str, str] = {}
        """Path relative to the folder, to sha-256."""
        self.reading = "a file"
        """The table that was asked for last: what an error is about."""
        self.notes: list[str] = []
        """What a reader left out, and why: warnings of the run."""

    def has(self, name: str) -> bool:
        """Whether a file is there."""
        return (self.folder / name).exists()

    def find(self, *patterns: str) -> str:
        """The first file, by name, of the first pattern that any matches. InputRejected names the patterns."""
        for pattern in patterns:
            if found := sorted(self.folder.glob(pattern)):
                return found[0].relative_to(self.folder).as_posix()
        raise InputRejected("missing-file", f"{' or '.join(patterns)} is missing from the release's folder")

    def all(self, *patterns: str) -> list[str]:
        """All files that match any pattern, by name. InputRejected when none does."""
        found = sorted({f.relative_to(self.folder).as_posix() for p in patterns for f in self.folder.glob(p)})
        if not found:
            raise InputRejected("missing-file", f"{' or '.join(patterns)} is missing from the release's folder")
        return found

    def table(self, name: str, columns: Sequence[str], *, delimiter: str = ",") -> list[dict[str, str]]:
        """Rows of a CSV or TSV that has at least these columns."""
        with self.record(name).open(encoding="utf-8-sig", newline="") as file:
            csv.field_size_limit(2**30)
            reader = csv.DictReader(file, delimiter=delimiter)
            self._check(name, columns, reader.fieldnames or ())
            try:
                return [{key: value or "" for key, value in row.items() if key is not None} for row in reader]
            except (csv.Error, UnicodeDecodeError):
                raise InputRejected("changed-file", f"{name} is no table that can be read") from None

    def lines_with_offsets(self, name: str, columns: Sequence[str]) -> Iterator[tuple[int, dict[str, str]]]:
        """(byte at which it starts, row) of a TSV, one at a time: its pictures may be large."""
        with self.record(name).open("rb") as file:
            rows = tsv_rows(file)
            _, header = next(rows, (0, []))
            self._check(name, columns, header)
            for offset, cells in rows:
                if cells:
                    row = dict(zip(header, cells, strict=False))
                    self._check(f"{name}, the row at byte {offset},", columns, row)
                    yield offset, row

    def json(self, name: str) -> Any:
        """A JSON file's content."""
        try:
            return json.loads(self.record(name).read_text("utf-8-sig"))
        except ValueError:
            raise InputRejected("changed-file", f"{name} is not valid JSON") from None

    def json_rows(self, name: str, fields: Sequence[str]) -> list[dict[str, Any]]:
        """A JSON file that holds a list of objects which all have these fields; JSON lines too."""
        if name.endswith(".jsonl"):
            lines = self.record(name).read_text("utf-8").splitlines()
            try:
                rows = [json.loads(line) for line in lines if line.strip()]
            except ValueError:
                raise InputRejected("changed-file", f"{name} holds a line that is not JSON") from None
        else:
            rows = self.json(name)
        if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
            raise InputRejected("changed-file", f"{name} should hold a list of objects")
        for number, row in enumerate(rows):
            self._check(f"{name}, entry {number},", fields, row)
        return rows

    def parquet_rows(self, name: str, columns: Sequence[str], optional: Sequence[str] = ()) -> Iterator[dict[str, Any]]:
        """Rows of a parquet file, these columns only, and those of the optional that are there."""
        try:
            import pyarrow.parquet
        except ImportError:
            raise BackendMissing("pyarrow", "pip install 'medloupe[evals]'") from None

        with pyarrow.parquet.ParquetFile(self.record(name)) as file:
            self._check(name, columns, file.schema_arrow.names)
            chosen = [*columns, *(name for name in optional if name in file.schema_arrow.names)]
            for batch in file.iter_batches(batch_size=_ROWS, columns=chosen):
                yield from batch.to_pylist()

    def record(self, name: str) -> Path:
        """The path of a file that is there, its sha-256 remembered. InputRejected when it is missing."""
        path, self.reading = self.folder / name, name
        if not path.is_file():
            raise InputRejected("missing-file", f"{name} is missing from the release's folder")
        if name not in self.hashes:
            with path.open("rb") as file:
                self.hashes[name] = hashlib.file_digest(file, "sha256").hexdigest()
        return path

    @staticmethod
    def _check(name: str, wanted: Sequence[str], there: Any) -> None:
        if missing := [column for column in wanted if column not in there]:
            found = ", ".join(str(column) for column in list(there)[:12])
            raise InputRejected("changed-file", f"{name} has no {', '.join(missing)}; it has {found}")


class Cases(Frozen):
    """A split, read and checked."""

    cases: tuple[Case, ...]
    hashes: dict[str, str]
    """Every table that was read, to its sha-256."""
    warnings: tuple[str, ...] = ()

    @property
    def digest(self) -> str:
        """sha-256 over all cases as read: the same split is the same digest."""
        content = "\n".join(case.model_dump_json() for case in self.cases)
        return hashlib.sha256(content.encode()).hexdigest()


def read_release(benchmark: Benchmark, release: Release, split: str) -> Iterator[Case]:
    """A split's cases as they are read. InputRejected names the file that is not as it was released."""
    try:
        yield from benchmark.read(release, split)
    except _CHANGED as error:  # the cause is kept: it may be a fault of the reader
        said = f"{release.reading} is not as {benchmark.title} was released ({type(error).__name__})"
        raise InputRejected("changed-file", said) from error


def read_cases(benchmark: Benchmark, folder: Path, split: str, *, allow_missing: bool = False) -> Cases:
    """A split's cases in the release's order, its files checked. InputRejected names what is missing or changed.

    allow_missing: leave cases out whose image is not there, with a warning, for copies known to miss some.
    """
    if split in benchmark.withheld:
        raise InputRejected("no-such-split", f"the answers of {benchmark.title}'s {split} split are withheld")
    if split not in benchmark.splits:
        raise InputRejected("no-such-split", f"{benchmark.name} has the splits {', '.join(benchmark.splits)}")
    if not folder.is_dir():
        raise InputRejected("not-found", f"there is no folder {folder}")
    release = Release(folder)
    cases = list(read_release(benchmark, release, split))
    warnings = list(release.notes)
    there = {name for name in {i for c in cases for i in (*c.images, *c.masks)} if exists(folder, name)}
    missing = [c for c in cases if not {*c.images, *c.masks} <= there]
    if missing:
        names = sorted({i for c in missing for i in (*c.images, *c.masks) if i not in there})
        said = f"{len(names)} images are missing, such as {', '.join(names[:_NAMED])}"
        if not allow_missing:
            raise InputRejected("missing-file", f"{said}; --allow-missing leaves their {len(missing)} cases out")
        warnings.append(f"{said}: {len(missing)} cases are left out")
        gone = {c.id for c in missing}
        cases = [c for c in cases if c.id not in gone]
    if len({c.id for c in cases}) != len(cases):
        raise InputRejected("changed-file", "two cases have the same id")
    if not cases:
        raise InputRejected("empty", f"the split {split} of {benchmark.name} holds no case")
    expected = benchmark.released.get(split)
    if expected is not None and expected != len(cases) + len(missing):
        warnings.append(f"the split {split} was released with {expected} cases, and here are {len(cases)}")
    return Cases(cases=tuple(cases), hashes=release.hashes, warnings=tuple(warnings))
