"""One conformance suite for both stores, then what only the disk must keep."""

from __future__ import annotations

import hashlib
import stat
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from medloupe.tools.imaging import DiskStore, ImageStore, MemoryStore, load_study


@pytest.fixture(params=["memory", "disk"])
def any_store(request: pytest.FixtureRequest, tmp_path: Path) -> ImageStore:
    return MemoryStore() if request.param == "memory" else DiskStore(tmp_path / "pixels")


@pytest.mark.parametrize(
    "values",
    [
        np.array([[-5, 7]], np.int16),
        np.array([[1, -(2**30)]], np.int32),
        np.array([[0.25, np.nan]], np.float32),
        np.zeros((2, 3, 3), np.uint8),
    ],
    ids=["int16", "int32", "float32", "rgb"],
)
def test_values_come_back_as_they_were(any_store: ImageStore, values: np.ndarray) -> None:
    back = any_store.get(any_store.put(values))
    assert back.dtype == values.dtype
    assert np.array_equal(back, values, equal_nan=values.dtype.kind == "f")
    assert not back.flags.writeable
    assert isinstance(any_store, ImageStore)


def test_the_same_numbers_have_one_digest_whatever_their_layout(any_store: ImageStore) -> None:
    values = np.arange(6, dtype=np.int16).reshape(2, 3)
    digests = {any_store.put(v) for v in (values, values.astype(">i2"), np.asfortranarray(values))}
    assert len(digests) == 1
    assert any_store.put(values.reshape(3, 2)) not in digests
    assert any_store.put(values.astype(np.int32)) not in digests


def test_the_callers_array_stays_the_callers(any_store: ImageStore) -> None:
    values = np.zeros((2, 2), np.int16)
    digest = any_store.put(values)
    values[0, 0] = 9
    assert any_store.get(digest)[0, 0] == 0


def test_pictures_and_studies_come_back(any_store: ImageStore, real: Callable[[str], Path]) -> None:
    assert any_store.get_png(any_store.put_png(b"png")) == b"png"
    assert any_store.put_png(b"png") == hashlib.sha256(b"png").hexdigest()
    study = load_study(real("CT_small.dcm"), any_store)
    assert any_store.get_study(study.id) == study


@pytest.mark.parametrize("digest", ["0" * 64, "", "../../etc/passwd", "A" * 64])
def test_what_is_absent_is_a_key_error(any_store: ImageStore, digest: str) -> None:
    for get in (any_store.get, any_store.get_png, any_store.get_study):
        with pytest.raises(KeyError):
            get(digest)


def test_the_disk_is_private_and_survives_the_process(tmp_path: Path, real: Callable[[str], Path]) -> None:
    root = tmp_path / "pixels"
    store = DiskStore(root)
    study = load_study(real("CT_small.dcm"), store)
    store.put_png(b"png")
    everything = [root, *root.rglob("*")]
    assert sum(p.is_file() for p in everything) == 3
    for path in everything:
        assert stat.S_IMODE(path.stat().st_mode) == (0o600 if path.is_file() else 0o700)

    reopened = DiskStore(root)
    assert reopened.get_study(study.id) == study
    assert np.array_equal(reopened.get(study.images[0].digest), store.get(study.images[0].digest))


def test_a_folder_that_was_open_to_others_is_closed(tmp_path: Path) -> None:
    (tmp_path / "pixels").mkdir(mode=0o755)
    DiskStore(tmp_path / "pixels")
    assert stat.S_IMODE((tmp_path / "pixels").stat().st_mode) == 0o700


def test_a_file_that_was_changed_is_absent(tmp_path: Path) -> None:
    store = DiskStore(tmp_path)
    digest, png = store.put(np.zeros((2, 2), np.int16)), store.put_png(b"png")
    for path in tmp_path.rglob("*"):
        if path.is_file():
            path.write_bytes(path.read_bytes()[:-1] + b"\7")
    with pytest.raises(KeyError):
        DiskStore(tmp_path).get(digest)
    with pytest.raises(KeyError):
        store.get_png(png)


def test_the_cache_stays_small_and_loses_nothing(tmp_path: Path) -> None:
    store = DiskStore(tmp_path, cache_bytes=3000)
    arrays = [np.full((20, 20), n, np.int16) for n in range(10)]  # 800 bytes each
    digests = [store.put(a) for a in arrays]
    assert all(np.array_equal(store.get(d), a) for d, a in zip(digests, arrays, strict=True))
    assert sum(v.nbytes for v in store._cache.values()) <= 3000
