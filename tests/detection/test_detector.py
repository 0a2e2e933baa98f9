import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from core.io import weights
from detection.boxes import box_iou
from detection.detector import Detector
from detection.metrics import Predictions
from tests.detection.conftest import SMALL, MakeDetector

BOXES = np.array([[0, 0, 20, 20], [1, 0, 21, 20], [30, 5, 60, 40]], np.float32)


def picture() -> np.ndarray:
    rng = np.random.default_rng(3)
    pixels = rng.integers(100, 130, (48, 64, 3)).astype(np.uint8)
    pixels[8:30, 10:30] = (220, 30, 30)
    return pixels


def test_scores_of_one_class_win_and_duplicates_go(make_detector: MakeDetector) -> None:
    detector = make_detector(score=(0.5, -2))
    found = detector.detect(picture(), BOXES)
    np.testing.assert_array_equal(found.labels, [0, 0])
    np.testing.assert_array_equal(found.scores, [0.5, 0.5])
    # The second box overlaps the first with IoU 19/21; equal scores: the first stays.
    np.testing.assert_array_equal(found.boxes, BOXES[[0, 2]])


def test_classes_do_not_suppress_each_other(make_detector: MakeDetector) -> None:
    found = make_detector(score=(0.5, 1)).detect(picture(), BOXES)
    np.testing.assert_array_equal(found.labels, [1, 1, 0, 0])


def test_scores_under_the_margin_are_dropped(make_detector: MakeDetector) -> None:
    detector = make_detector(score=(-0.9, -1.1))
    assert set(detector.detect(picture(), BOXES).labels) == {0}
    assert set(detector.detect(picture(), BOXES, min_score=-5).labels) == {0, 1}
    assert len(detector.detect(picture(), BOXES, min_score=0).labels) == 0


def test_boxes_move_and_stay_in_the_picture(make_detector: MakeDetector) -> None:
    detector = make_detector(score=(0.5, -2), shift=(0.25, 0, 0, 0))
    found = detector.detect(picture(), BOXES)
    expected = np.array([[5, 0, 25, 20], [37.5, 5, 64, 40]])
    np.testing.assert_allclose(found.boxes, expected, atol=1e-4)
    unmoved = detector.detect(picture(), BOXES, regress=False)
    np.testing.assert_array_equal(unmoved.boxes, BOXES[[0, 2]])
    # A box that leaves the picture is not reported.
    gone = make_detector(score=(0.5, -2), shift=(9, 0, 0, 0)).detect(picture(), BOXES)
    assert len(gone.boxes) == 0


def test_softmax_scores_are_probabilities(make_detector: MakeDetector) -> None:
    detector = make_detector(score=(-9, -9))
    found = detector.detect(picture(), BOXES[2:], head="softmax")
    assert sorted(found.labels) == [0, 1]
    assert (found.scores > 0).all() and found.scores.sum() < 1


def test_proposals_are_searched_when_none_are_given(make_detector: MakeDetector) -> None:
    detector = make_detector(score=(1, -2))
    proposals = detector.propose(picture())
    assert 3 < len(proposals) <= SMALL.proposals.max_proposals
    found, given = detector.detect(picture()), detector.detect(picture(), proposals)
    np.testing.assert_array_equal(found.boxes, given.boxes)
    overlap = box_iou(found.boxes, found.boxes) - np.eye(len(found.boxes))
    assert overlap.max() <= SMALL.nms_iou


@pytest.mark.parametrize("shape", [(1, 1), (5, 5), (3, 400)])
def test_pictures_too_small_for_an_object(
    make_detector: MakeDetector, shape: tuple[int, int]
) -> None:
    found = make_detector(score=(1, 1)).detect(np.zeros((*shape, 3), np.uint8))
    assert found.boxes.shape == (0, 4) and len(found.labels) == len(found.scores) == 0


def test_at_most_so_many_and_the_best(make_detector: MakeDetector) -> None:
    corner = np.arange(0, 40, 1.0)[:, None].repeat(2, axis=1)
    boxes = np.concatenate([corner, corner + 1], axis=1).astype(np.float32)
    detector = make_detector()
    everything = detector.detect(picture(), boxes, min_score=-1e9)
    assert len(everything.boxes) == 80
    assert (np.diff(everything.scores) <= 0).all()
    detector.recipe = replace(detector.recipe, max_detections=7)
    best = detector.detect(picture(), boxes, min_score=-1e9)
    np.testing.assert_array_equal(best.scores, everything.scores[:7])


@pytest.mark.parametrize("part", ["svm", "regressor", "net"])
def test_no_numbers_are_not_nothing(make_detector: MakeDetector, part: str) -> None:
    detector = make_detector()
    if part == "net":
        arrays = detector.net.state_dict()
        arrays["head.bias"][0] = np.nan
        detector.net.load_state_dict(arrays)
    else:
        getattr(detector, part).bias[0] = np.nan
    with pytest.raises(ValueError, match="the detector gives values that are no numbers"):
        detector.detect(picture(), BOXES)


def test_each_class_has_its_threshold(make_detector: MakeDetector) -> None:
    detector = make_detector()
    detector.thresholds = [0.5, 2.0]
    found = Predictions(BOXES, np.array([0.5, 1.9, 0.4]), np.array([0, 1, 0]))
    np.testing.assert_array_equal(detector.confident(found).boxes, BOXES[:1])


# ---------------------------------------------------------------------- file


def same(one: Predictions, other: Predictions, tolerance: float = 0) -> None:
    np.testing.assert_array_equal(one.labels, other.labels)
    np.testing.assert_allclose(one.scores, other.scores, atol=tolerance)
    np.testing.assert_allclose(one.boxes, other.boxes, atol=tolerance)


def test_a_detector_comes_back_from_its_file(tmp_path: Path, make_detector: MakeDetector) -> None:
    detector = make_detector(("Ärmel", "dog"), shift=(0.1, 0, 0.2, 0))
    detector.thresholds = [0.25, -0.5]
    detector.save(tmp_path / "d.safetensors", {"seed": "3"})
    found = Detector.load(tmp_path / "d.safetensors")
    assert found.classes == ("Ärmel", "dog") and found.data == "toys"
    assert found.recipe == SMALL and found.thresholds == [0.25, -0.5]
    assert weights.load(tmp_path / "d.safetensors")[1]["seed"] == "3"
    for head in ("svm", "softmax"):
        same(
            found.detect(picture(), BOXES, head=head),
            detector.detect(picture(), BOXES, head=head),
        )


def test_half_precision(tmp_path: Path, make_detector: MakeDetector) -> None:
    detector = make_detector()
    detector.save(tmp_path / "full.safetensors")
    detector.save(tmp_path / "half.safetensors", half=True)
    sizes = [(tmp_path / f"{n}.safetensors").stat().st_size for n in ("full", "half")]
    assert sizes[1] < 0.55 * sizes[0]
    found = Detector.load(tmp_path / "half.safetensors")
    assert found.svm.weight.dtype == np.float32
    same(found.detect(picture(), BOXES), detector.detect(picture(), BOXES), tolerance=0.02)
    detector.svm.bias[0] = 1e6
    with pytest.raises(ValueError, match=r"svm.bias does not fit float16: it holds 1e\+06"):
        detector.save(tmp_path / "half.safetensors", half=True)
    assert Detector.load(tmp_path / "half.safetensors").svm.bias[0] == 0


RECIPE: dict[str, Any] = {
    "crop": 16,
    "context": 0.07,
    "width": 8,
    "flips": "none",
    "nms_iou": 0.3,
    "max_detections": 100,
    "proposals": {
        "mode": "fast",
        "max_proposals": 40,
        "seed": 0,
        "longest_side": 96,
        "min_size": 8.0,
    },
}


def broken(**changes: Any) -> dict[str, str]:
    return {"recipe": json.dumps({**RECIPE, **changes})}


@pytest.mark.parametrize(
    ("header", "reason"),
    [
        ({"architecture": "simple_convnet"}, "'simple_convnet', expected 'rcnn'"),
        ({"classes": "[]"}, "no list of names"),
        ({"classes": "3"}, "no list of names"),
        ({"classes": '["a", 1]'}, "no list of names"),
        ({"classes": '["a", "b", "c"]'}, "2 thresholds for 3 classes"),
        ({"classes": "{" * 10}, "no complete R-CNN"),
        ({"classes": "[" * 100_000}, "no complete R-CNN"),
        ({"thresholds": "[0]"}, "1 thresholds for 2 classes"),
        ({"thresholds": '["x", 0]'}, "no complete R-CNN"),
        ({"recipe": "[]"}, "no complete R-CNN"),
        (broken(crop=10**7), r"box.weight has shape \(2, 384, 4\), expected"),
        (broken(crop=0), "recipe is not possible"),
        (broken(crop="16"), "recipe is not possible"),
        (broken(width=10**9), r"svm.weight has shape \(8, 2\), expected \(1000000000, 2\)"),
        (broken(context=0.5), "recipe is not possible"),
        (broken(context=float("nan")), "recipe is not possible"),
        (broken(flips="sideways"), "recipe is not possible"),
        (broken(nms_iou=-1.0), "recipe is not possible"),
        (broken(unknown=3), "unexpected keyword"),
        (broken(proposals={"mode": "eager"}), "recipe is not possible"),
        (broken(proposals={"max_proposals": -1}), "recipe is not possible"),
    ],
)
def test_a_hostile_header_is_refused(
    tmp_path: Path, make_detector: MakeDetector, header: dict[str, str], reason: str
) -> None:
    path = tmp_path / "d.safetensors"
    make_detector().save(path, header)
    with pytest.raises(ValueError, match=reason) as caught:
        Detector.load(path)
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"svm.weight": None}, "svm.weight"),
        ({"net.head.bias": None}, "missing: head.bias"),
        ({"net.extra": np.zeros(1, np.float32)}, "unexpected: extra"),
        ({"svm.bias": np.zeros(3, np.float32)}, r"svm.bias has shape \(3,\), expected \(2,\)"),
        ({"net.head.weight": np.zeros((9, 8), np.float32)}, "head.weight has shape"),
        ({"net.head.bias": np.zeros(3, np.complex64)}, "head.bias|dtype"),
    ],
)
def test_other_arrays_are_refused(
    tmp_path: Path, make_detector: MakeDetector, change: dict[str, Any], reason: str
) -> None:
    path = tmp_path / "d.safetensors"
    make_detector().save(path)
    arrays, header = weights.load(path)
    changed = {name: a for name, a in (arrays | change).items() if a is not None}
    weights.save(path, changed, header)
    with pytest.raises(ValueError, match=reason) as caught:
        Detector.load(path)
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)


def test_no_file_and_no_safetensors(tmp_path: Path, make_detector: MakeDetector) -> None:
    path = tmp_path / "d.safetensors"
    with pytest.raises(FileNotFoundError, match=r"d\.safetensors"):
        Detector.load(path)
    make_detector().save(path)
    whole = path.read_bytes()
    for content in (b"", b"text", whole[:1000], whole[:-10], b"\xff" * 8 + whole[8:]):
        path.write_bytes(content)
        with pytest.raises(ValueError, match=r"d\.safetensors") as caught:
            Detector.load(path)
        assert "\n" not in str(caught.value)
