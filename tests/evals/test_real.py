"""A phantom among real images stops a benchmark."""

from __future__ import annotations

import json

import pytest

from medloupe.errors import UsageError
from medloupe.evals.bench_lidc import nodules
from medloupe.evals.bundled import bundled_study
from medloupe.evals.phantoms import Order, write_phantom
from medloupe.evals.planted import subjects
from medloupe.evals.real import real


@pytest.mark.parametrize("kind", ["ct", "us"])
def test_a_phantom_is_refused_as_evidence_and_a_real_image_is_not(kind, tmp_path) -> None:
    write_phantom(tmp_path, Order(kind=kind), 1_100_000)
    file = next(p for p in tmp_path.iterdir() if p.name.startswith("phantom"))
    with pytest.raises(UsageError, match="no evidence"):
        real(file)
    assert real(bundled_study()) == bundled_study()


@pytest.mark.parametrize(
    ("name", "read"), [("us_breast_lesions_usg", subjects), ("lidc", lambda data: nodules(data / "lidc", None))]
)
def test_benchmarks_of_real_images_stop_at_a_phantom(name, read, tmp_path) -> None:
    import numpy as np
    from skimage.io import imsave

    folder = tmp_path / name
    write_phantom(folder, Order(kind="us"), 1_100_000)
    mask = np.zeros((768, 768), np.uint8)
    mask[100:200, 100:200] = 255
    imsave(folder / "m_union.png", mask, check_contrast=False)
    item = {"file": "phantom-000.png", "masks": [{"file": "m_union.png"}], "label": {"mean_scores": {}}}
    (folder / "MANIFEST.json").write_text(json.dumps({"items": [item]}))
    with pytest.raises(UsageError, match="no evidence"):
        list(read(tmp_path))
