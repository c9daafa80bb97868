"""A copy of a study by the Basic Application Level Confidentiality Profile (PS3.15 annex E).

It takes the header's identifiers away and nothing else: pixels are copied byte for byte, so what is written in them
stays, and a head CT still has a face. The copy is de-identified by this profile; it is never called anonymous.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from collections import Counter
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any, BinaryIO

import pydicom
import yaml
from pydicom.config import disable_value_validation
from pydicom.datadict import dictionary_has_tag, dictionary_keyword, dictionary_VR
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sequence import Sequence
from pydicom.uid import PYDICOM_IMPLEMENTATION_UID, UID_dictionary
from pydicom.valuerep import format_number_as_ds

from medloupe.errors import InputRejected, UsageError
from medloupe.limits import DEFAULT, Limits
from medloupe.tools.imaging.reading import _quiet, sniff, unwrapped
from medloupe.tools.imaging.sources import Source, find_sources, open_source
from medloupe.tools.imaging.workers import read_all

__all__ = ["Deidentified", "Deidentifier", "LeftOut", "burned_in", "deidentify_study", "name_of"]

METHOD = ("PS3.15 Basic Profile by medloupe", "Text, dates and binary data by allow-list")
"""(0012,0063)."""
CODES = (("113100", "Basic Application Confidentiality Profile"),)
"""(0012,0064), coding scheme DCM (PS3.16 CID 7050)."""
_DEEPEST = 32
"""Levels of sequences; what lies deeper is removed."""
_CODE_STRING = re.compile(r"[A-Z0-9_ ]{0,16}")
_NUMBER = re.compile(r"[-+0-9.eE ]{0,16}")
_LONG_NUMBER = re.compile(r" *[-+]?[0-9]{1,8}\.[0-9]{1,40} *|[-+]?[0-9]\.[0-9]{1,40}[eE][-+]?[0-9]{1,3}")
"""More digits than a DS may have; such files are written nevertheless."""


@dataclass(frozen=True, kw_only=True)
class LeftOut:
    """A file that was not copied."""

    name: str
    """Its path below what was asked for; for the person who asked, and for nobody else."""
    code: str
    """As InputRejected's."""
    reason: str
    """As InputRejected's."""


@dataclass(frozen=True, kw_only=True)
class Deidentified:
    """What became of a study."""

    written: int
    left_out: tuple[LeftOut, ...]
    warnings: tuple[str, ...]
    """What a person must look at before the copy goes anywhere."""


@cache
def profile() -> dict[str, Any]:
    """The table of actions (confidentiality.yaml)."""
    table: dict[str, Any] = yaml.safe_load(
        (files("medloupe.tools.imaging") / "confidentiality.yaml").read_text("utf-8")
    )
    return table


@cache
def _named() -> dict[str, str]:
    """Keyword to action."""
    return {keyword: action for action, keywords in profile()["actions"].items() for keyword in keywords}


# --- one data set ---------------------------------------------------------------------------------------------------


class Deidentifier:
    """One run: the same UID or patient ID comes out the same everywhere, and differently in the next run.

    The secret lives in this object only; without it the replacements lead nowhere.
    """

    def __init__(self) -> None:
        self._secret = secrets.token_bytes(32)

    def dataset(self, ds: Dataset) -> Dataset:
        """A de-identified copy of a data set, its file meta information anew. Pixel data is passed on as it is."""
        copy = self._copied(ds, 0)
        copy.PatientIdentityRemoved = "YES"
        copy.DeidentificationMethod = list(METHOD)
        copy.DeidentificationMethodCodeSequence = Sequence([_coded(*entry) for entry in CODES])
        copy.LongitudinalTemporalInformationModified = "REMOVED"
        meta = FileMetaDataset()
        meta.MediaStorageSOPClassUID = ds.SOPClassUID
        meta.MediaStorageSOPInstanceUID = copy.SOPInstanceUID
        meta.TransferSyntaxUID = ds.file_meta.TransferSyntaxUID
        meta.ImplementationClassUID = PYDICOM_IMPLEMENTATION_UID
        meta.ImplementationVersionName = "MEDLOUPE"
        copy.file_meta, copy.preamble = meta, b"\0" * 128
        return copy

    def uid(self, uid: str) -> str:
        """A registered UID (a class, a transfer syntax) as it is, any other's replacement under 2.25."""
        return uid if uid in UID_dictionary else f"2.25.{int.from_bytes(self._digest('uid', uid)[:16])}"

    def pseudonym(self, value: str) -> str:
        """Stands for a patient's ID within this run."""
        return f"P-{self._digest('patient', value).hex()[:12]}"

    def _digest(self, kind: str, value: str) -> bytes:
        return hmac.new(self._secret, f"{kind}:{value}".encode("utf-8", "surrogateescape"), hashlib.sha256).digest()

    def _copied(self, ds: Dataset, depth: int) -> Dataset:
        copy = Dataset()
        for tag in ds.keys():  # noqa: SIM118 - iterating a Dataset converts its elements, and a bad one raises
            if tag.is_private or not dictionary_has_tag(tag) or tag.group >> 8 in (0x50, 0x60):
                continue
            try:
                element = ds[tag]
            except Exception:  # noqa: BLE001, S112 - pydicom may raise anything on a bad value, and a bad value goes
                continue
            value = self._value(element, depth)
            if value is not _REMOVED:
                copy.add_new(tag, element.VR, value)
        return copy

    def _value(self, element: Any, depth: int) -> Any:
        """What an element holds in the copy; _REMOVED where it has no place there."""
        keyword, vr, known = dictionary_keyword(element.tag), element.VR, dictionary_VR(element.tag)
        if vr != known and vr not in known.split(" or "):
            return _REMOVED
        action = _named().get(keyword)
        if action == "K" or (action == "pixels" and depth == 0):
            return element.value
        if action in ("X", "pixels"):
            return _REMOVED
        if action is not None:
            return self._replaced(action, vr, element.value)
        if vr == "UI":
            return _each(element.value, lambda uid: self.uid(str(uid)))
        if vr == "SQ":
            return _REMOVED if depth >= _DEEPEST else Sequence([self._copied(i, depth + 1) for i in element.value])
        if _passes(element):
            return element.value
        return _shortened(element) if vr == "DS" else _REMOVED

    def _replaced(self, action: str, vr: str, value: Any) -> Any:
        if vr == "SQ":
            return Sequence()
        if action == "P":
            return self.pseudonym(str(value)) if value else ""
        return profile()["dummies"].get(vr, "") if action == "D" else ""


_REMOVED = object()


def _passes(element: Any) -> bool:
    """Whether an element that is not named is of a kind that cannot hold text."""
    by_vr = profile()["by_vr"]
    kinds = element.VR.split(" or ")
    if all(vr in by_vr["kept"] for vr in kinds):
        return True
    if element.VR not in by_vr["checked"]:
        return False
    pattern = _CODE_STRING if element.VR == "CS" else _NUMBER
    values = element.value if element.VM > 1 else [element.value]
    return all(pattern.fullmatch(str(value if value is not None else "")) for value in values)


def _shortened(element: Any) -> Any:
    """Numbers of more than 16 characters (spacing, position) to as many digits as fit; _REMOVED where one is none."""
    values = [str(value) for value in (element.value if element.VM > 1 else [element.value])]
    if not all(_NUMBER.fullmatch(value) or _LONG_NUMBER.fullmatch(value) for value in values):
        return _REMOVED
    return [value if _NUMBER.fullmatch(value) else format_number_as_ds(float(value)) for value in values]


def _each(value: Any, change: Any) -> Any:
    """A change made to one value or to each of several; nothing stays nothing."""
    if value is None or value == "":
        return value
    return [change(v) for v in value] if isinstance(value, list | pydicom.multival.MultiValue) else change(value)


def _coded(value: str, meaning: str) -> Dataset:
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = value, "DCM", meaning
    return item


def burned_in(ds: Dataset) -> str:
    """Why text may be written in the pixels: "stated", "expected", or "" where the file says there is none."""
    stated = str(ds.get("BurnedInAnnotation") or "").strip().upper()
    if stated == "YES" or str(ds.get("RecognizableVisualFeatures") or "").strip().upper() == "YES":
        return "stated"
    likely = profile()["burned_in"]
    captured = "ConversionType" in ds or ds.get("SOPClassUID") in likely["sop_classes"]
    suspect = captured or ds.get("Modality") in likely["modalities"]
    return "expected" if suspect and stated != "NO" else ""


# --- a study --------------------------------------------------------------------------------------------------------


def deidentify_study(study: Path, out: Path, *, limits: Limits = DEFAULT) -> Deidentified:
    """Copy the DICOM images of a file, folder or ZIP into `out`, which is made and must be empty.

    Each file is first read whole by a worker process, exactly as load_study does; what is refused there is not copied,
    and neither is what holds no image. Files are named by number. InputRejected when nothing could be copied,
    UsageError for a folder that cannot be written to, or lies in the study.
    """
    if not study.exists():
        raise InputRejected("not-found", "There is no such file or folder.")
    _check_out(study, out)
    run, left_out, written = Deidentifier(), [], 0
    found: Counter[str] = Counter()
    for source in find_sources(study, limits):
        (outcome,), _ = read_all([source], None, limits)
        try:
            if outcome.rejected is not None:
                raise outcome.rejected
            if outcome.read is None or not (outcome.read.frames or outcome.read.slides):
                raise InputRejected("not-an-image", "The file holds no image.")
            copy = _copy(run, source, limits)
            _write(copy, out, written + 1)
        except InputRejected as rejected:
            left_out.append(LeftOut(name=name_of(source, study), code=rejected.code, reason=rejected.reason))
            continue
        found[burned_in(copy)] += 1
        written += 1
    if not written:
        why = f" {left_out[0].reason}" if len(left_out) == 1 else ""
        raise InputRejected("no-image", f"No DICOM image could be copied; nothing was written.{why}")
    return Deidentified(written=written, left_out=tuple(left_out), warnings=tuple(_warnings(found)))


def name_of(source: Source, root: Path) -> str:
    """What to call a file to the person who named its folder; an entry of a ZIP has only its number."""
    if source.entry is not None:
        return f"entry {source.entry + 1}"
    return source.path.name if source.path == root else str(source.path.relative_to(root))


def _check_out(study: Path, out: Path) -> None:
    inside, home = out.resolve(), study.resolve()
    if inside == (home if home.is_dir() else home.parent) or (home.is_dir() and inside.is_relative_to(home)):
        raise UsageError("the copy cannot be written into the study's own folder")
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UsageError(f"{out} is there already and is no empty folder")


def _copy(run: Deidentifier, source: Source, limits: Limits) -> Dataset:
    with open_source(source, limits) as (file, size):
        inner, _, _ = unwrapped(file, size, source.suffix, limits)
        if sniff(inner) != "DICOM":
            raise InputRejected("not-dicom", "The file is no DICOM file.")
        return _parsed(run, inner)


def _parsed(run: Deidentifier, file: BinaryIO) -> Dataset:
    with _quiet(), disable_value_validation():  # what pydicom says quotes values
        try:
            ds = pydicom.dcmread(file, force=True)
            for name in ("SOPClassUID", "SOPInstanceUID"):  # some writers leave the data set's own empty
                if not ds.get(name) and ds.file_meta.get(f"MediaStorage{name}"):
                    setattr(ds, name, ds.file_meta[f"MediaStorage{name}"].value)
            if not all((ds.file_meta.get("TransferSyntaxUID"), ds.get("SOPClassUID"), ds.get("SOPInstanceUID"))):
                raise InputRejected("bad-header", "The file lacks its transfer syntax or UIDs.")
            return run.dataset(ds)
        except InputRejected:
            raise
        except Exception as error:  # pydicom may raise anything on a damaged header
            raise InputRejected("undecodable", "The DICOM file is damaged and cannot be read.") from error


def _write(ds: Dataset, out: Path, number: int) -> None:
    """Whole or not at all."""
    part = out / f".{number:05d}.part"
    try:
        out.mkdir(mode=0o700, parents=True, exist_ok=True)
        with _quiet(), disable_value_validation():
            ds.save_as(part, enforce_file_format=True)
        part.replace(out / f"{number:05d}.dcm")
    except OSError as error:
        raise UsageError(f"{out} cannot be written: {error.strerror}") from None
    except (AttributeError, ValueError, TypeError, KeyError, NotImplementedError) as error:  # of pydicom's writer
        raise InputRejected("bad-header", "The file's header cannot be written again as DICOM.") from error
    finally:
        part.unlink(missing_ok=True)


def _warnings(found: Counter[str]) -> list[str]:
    said = []
    if stated := found["stated"]:
        said.append(f"TEXT IN THE PIXELS: {stated} of {found.total()} images say that it is there. Look at each.")
    if expected := found["expected"]:
        said.append(
            f"POSSIBLE TEXT IN THE PIXELS: {expected} of {found.total()} images are of a kind that often has a name "
            "burned in (ultrasound, secondary capture, photographs) and do not say that it is absent. Look at each."
        )
    said.append("Pixels were copied as they are. The copy is de-identified by a profile, not anonymous.")
    return said
