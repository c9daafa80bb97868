"""SAM checkpoints: a ViT-B with random weights, saved here, goes through the same loading as a trained one."""

from __future__ import annotations

import os
import pickle
from pathlib import Path

import numpy as np
import pytest

from medloupe.errors import UsageError
from medloupe.models.segment import load_segmenter
from medloupe.models.torchvision_shim import prepare_torch
from medloupe.types import BoundingBox

torch = pytest.importorskip("torch", reason="torch is not installed")


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    prepare_torch()
    build = pytest.importorskip("segment_anything", reason="segment_anything is not installed").sam_model_registry
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("sam") / "random_vit_b.pth"
    torch.save(build["vit_b"]().state_dict(), path)
    return path


@pytest.mark.timeout(300)
def test_a_vit_b_checkpoint_answers_as_segment_anything_itself_does(checkpoint):
    from segment_anything import SamPredictor

    sam = load_segmenter(f"sam:{checkpoint}", device="cpu")
    assert sam.name.startswith("sam-vit_b-") and sam.prompts == {"box", "points"}
    picture = np.random.default_rng(0).integers(0, 255, (90, 120, 3), dtype=np.uint8)
    embedding = sam.set_image(picture)

    saved = torch.load(checkpoint, weights_only=True)
    assert all(torch.equal(tensor, saved[name]) for name, tensor in sam._net.state_dict().items())
    theirs = SamPredictor(sam._net)
    theirs.features, theirs.is_image_set = embedding.data, True
    theirs.original_size, theirs.input_size = (90, 120), (768, 1024)
    masks, ious, _ = theirs.predict(box=np.array([20, 30, 70, 80]), multimask_output=False)
    ours = sam.predict(embedding, box=BoundingBox(x0=20, y0=30, x1=70, y1=80))
    assert np.array_equal(ours.mask, masks[0])
    assert ours.predicted_iou == pytest.approx(float(np.clip(ious[0], 0, 1)), abs=1e-6)

    masks, ious, _ = theirs.predict(point_coords=np.array([[40, 50]]), point_labels=np.array([1]))
    ours = sam.predict(embedding, points=((40.0, 50.0),))
    assert np.array_equal(ours.mask, masks[ious.argmax()])
    with pytest.raises(ValueError, match="box or points"):
        sam.predict(embedding)


def test_the_same_file_as_medsam_takes_boxes_only_on_a_stretched_picture(checkpoint):
    medsam = load_segmenter(f"medsam:{checkpoint}", device="cpu")
    assert medsam.name.startswith("medsam-vit_b-") and medsam.prompts == {"box"}
    assert medsam._fit(90, 120) == (1024, 1024)


def test_a_checkpoint_with_a_tensor_missing_is_refused(checkpoint, tmp_path):
    state = torch.load(checkpoint, weights_only=True)
    del state["mask_decoder.iou_token.weight"]
    torch.save(state, tmp_path / "short.pth")
    with pytest.raises(UsageError, match=r"does not fit SAM vit_b.*iou_token"):
        load_segmenter(f"sam:{tmp_path / 'short.pth'}")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        pytest.param(b"", "cannot be read", id="empty"),
        pytest.param(b"not weights\n" * 9, "cannot be read", id="text"),
    ],
)
def test_a_file_that_is_no_checkpoint_is_a_usage_error(tmp_path, content, message):
    (tmp_path / "bad.pth").write_bytes(content)
    with pytest.raises(UsageError, match=message):
        load_segmenter(f"sam:{tmp_path / 'bad.pth'}")


def test_an_absent_file_is_a_usage_error():
    with pytest.raises(UsageError, match="no checkpoint at"):
        load_segmenter("sam:/nowhere/sam.pth")


def test_weights_of_another_network_are_refused(tmp_path):
    torch.save({"layer.weight": torch.zeros(2, 2)}, tmp_path / "other.pth")
    with pytest.raises(UsageError, match="not a SAM"):
        load_segmenter(f"medsam:{tmp_path / 'other.pth'}")


class _Payload:
    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self):
        return os.mkdir, (str(self.marker),)


def test_a_pickle_in_a_checkpoint_is_never_run(tmp_path):
    marker = tmp_path / "was-run"
    (tmp_path / "raw.pth").write_bytes(pickle.dumps(_Payload(marker)))
    torch.save({"model": _Payload(marker)}, tmp_path / "zipped.pth")
    for name in ("raw.pth", "zipped.pth"):
        with pytest.raises(UsageError):
            load_segmenter(f"sam:{tmp_path / name}")
    assert not marker.exists()
