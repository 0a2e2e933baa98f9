import json
import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from detection.boxes import as_boxes
from detection.coco import to_coco, write_coco
from detection.metrics import (
    GroundTruth,
    Method,
    Predictions,
    average_precision,
    coco_map,
    evaluate,
    proposal_recall,
)

A, B, C = [0, 0, 10, 10], [20, 0, 30, 10], [40, 0, 50, 10]


def predictions(*rows: tuple[Sequence[float], float, int]) -> Predictions:
    boxes, scores, labels = zip(*rows, strict=True) if rows else ((), (), ())
    return Predictions(as_boxes(boxes), np.array(scores), np.array(labels, dtype=np.int64))


def truth(*rows: tuple[Sequence[float], int], difficult: list[bool] | None = None) -> GroundTruth:
    boxes, labels = zip(*rows, strict=True) if rows else ((), ())
    return GroundTruth(as_boxes(boxes), np.array(labels, np.int64), np.array(difficult or [], bool))


def test_average_precision_by_hand() -> None:
    recall, precision = [0.5, 0.5, 1.0], [1.0, 0.5, 2 / 3]
    assert average_precision(recall, precision, "voc") == pytest.approx(0.5 + 0.5 * 2 / 3)
    assert average_precision(recall, precision, "voc07") == pytest.approx((6 + 5 * 2 / 3) / 11)
    assert average_precision(recall, precision, "coco") == pytest.approx((51 + 50 * 2 / 3) / 101)


def test_average_precision_of_nothing() -> None:
    methods: list[Method] = ["voc07", "voc", "coco"]
    for method in methods:
        assert average_precision([], [], method) == 0


def test_recall_on_a_level_counts() -> None:
    recall = np.cumsum([0.1, 0.1, 0.1])
    assert average_precision(recall, [1, 1, 1], "voc07") == pytest.approx(4 / 11)


def test_unknown_method() -> None:
    with pytest.raises(ValueError, match="voc07"):
        average_precision([], [], "area")  # type: ignore[arg-type]


def test_perfect_predictions_score_one() -> None:
    found = [predictions((A, 0.9, 0), (B, 0.8, 1)), predictions((C, 0.7, 1))]
    wanted = [truth((A, 0), (B, 1)), truth((C, 1))]
    methods: list[Method] = ["voc07", "voc", "coco"]
    for method in methods:
        assert evaluate(found, wanted, 2, method=method).mean_ap == 1
    assert coco_map(found, wanted, 2) == 1


def test_each_truth_is_used_once() -> None:
    found = [predictions((A, 0.9, 0), (A, 0.8, 0), (B, 0.7, 0))]
    result = evaluate(found, [truth((A, 0), (B, 0))], 1).classes[0]
    np.testing.assert_allclose(result.recall, [0.5, 0.5, 1])
    np.testing.assert_allclose(result.precision, [1, 0.5, 2 / 3])
    np.testing.assert_allclose(result.scores, [0.9, 0.8, 0.7])
    assert result.ap == pytest.approx(0.5 + 1 / 3)
    assert result.truths == 2


def test_predictions_of_all_pictures_are_sorted_together() -> None:
    found = [predictions((A, 0.2, 0)), predictions((B, 0.9, 0))]
    result = evaluate(found, [truth((A, 0)), truth((A, 0))], 1).classes[0]
    np.testing.assert_allclose(result.precision, [0, 0.5])
    assert result.ap == pytest.approx(0.25)


def test_threshold_is_inclusive() -> None:
    half = [0, 0, 10, 5]
    assert evaluate([predictions((half, 1, 0))], [truth((A, 0))], 1, 0.5).mean_ap == 1
    assert evaluate([predictions((half, 1, 0))], [truth((A, 0))], 1, 0.51).mean_ap == 0


@pytest.mark.parametrize("method", ["voc", "coco"])
def test_difficult_counts_neither_way(method: Method) -> None:
    found = [predictions((A, 0.9, 0), (A, 0.8, 0), (B, 0.7, 0))]
    wanted = [truth((A, 0), (B, 0), difficult=[True, False])]
    result = evaluate(found, wanted, 1, method=method).classes[0]
    assert result.truths == 1
    np.testing.assert_allclose(result.precision, [1])
    assert result.ap == 1


def test_voc_looks_at_the_best_truth_only_and_coco_at_the_best_free_one() -> None:
    near = [0, 0, 10, 9]
    found = [predictions((A, 0.9, 0), (A, 0.8, 0))]
    wanted = [truth((A, 0), (near, 0))]
    np.testing.assert_allclose(evaluate(found, wanted, 1).classes[0].recall, [0.5, 0.5])
    coco = evaluate(found, wanted, 1, method="coco").classes[0]
    np.testing.assert_allclose(coco.recall, [0.5, 1.0])


def test_coco_map_counts_the_thresholds_that_hold() -> None:
    box = [0, 0, 10, 7.2]
    assert coco_map([predictions((box, 1, 0))], [truth((A, 0))], 1) == pytest.approx(0.5)


def test_classes_without_truth_are_left_out_of_the_mean() -> None:
    result = evaluate([predictions((A, 0.9, 1))], [truth((A, 0))], 2)
    assert result.mean_ap == 0
    assert math.isnan(result.classes[1].ap)
    assert math.isnan(evaluate([], [], 2).mean_ap)


def test_pictures_without_predictions_or_truth() -> None:
    result = evaluate([predictions(), predictions((A, 1, 0))], [truth((A, 0)), truth()], 1)
    np.testing.assert_allclose(result.classes[0].recall, [0])
    assert result.mean_ap == 0


def test_max_detections_per_class_and_picture() -> None:
    found = [predictions((B, 0.9, 0), (A, 0.8, 0), (A, 0.5, 1))]
    result = evaluate(found, [truth((A, 0), (A, 1))], 2, max_detections=1)
    assert [c.ap for c in result.classes] == [0, 1]


def test_wrong_input_is_refused() -> None:
    with pytest.raises(ValueError, match="1 pictures, truth for 0"):
        evaluate([predictions()], [], 1)
    with pytest.raises(ValueError, match=r"labels must be in 0\.\.0"):
        evaluate([predictions((A, 1, 1))], [truth()], 1)
    with pytest.raises(ValueError, match="1 boxes but a column of shape"):
        Predictions(as_boxes([A]), np.zeros(0), np.zeros(1, np.int64))
    with pytest.raises(ValueError, match="finite"):
        predictions((A, math.nan, 0))


def test_proposal_recall_by_number() -> None:
    proposals = [[C, A, B], []]
    wanted = [truth((A, 0), (B, 1)), truth((A, 0), (C, 0), difficult=[False, True])]
    recall = proposal_recall(proposals, wanted, [0, 1, 2, 3, 10])
    np.testing.assert_allclose(recall, [0, 0, 1 / 3, 2 / 3, 2 / 3])
    assert np.isnan(proposal_recall([[A]], [truth()], [1])).all()


def test_coco_results(tmp_path: Path) -> None:
    results = to_coco([predictions(), predictions(([1, 2, 4, 8], 0.5, 1))], ["a", 7])
    assert results == [
        {"image_id": 7, "category_id": 2, "bbox": [1.0, 2.0, 3.0, 6.0], "score": 0.5}
    ]
    write_coco(tmp_path / "predictions.json", results)
    assert json.loads((tmp_path / "predictions.json").read_text()) == results
    assert [p.name for p in tmp_path.iterdir()] == ["predictions.json"]
    with pytest.raises(ValueError, match="1 pictures but 0 ids"):
        to_coco([predictions()], [])
