import numpy as np
import pytest

from detection import boxes as bx


def random_boxes(rng: np.random.Generator, n: int) -> np.ndarray:
    corner = rng.uniform(0, 80, (n, 2))
    return np.concatenate([corner, corner + rng.uniform(1, 40, (n, 2))], axis=1).astype(np.float32)


def test_box_area_and_iou_by_hand() -> None:
    a = [[0, 0, 4, 2], [1, 1, 1, 5]]
    b = [[2, 0, 6, 2], [0, 0, 4, 2], [10, 10, 12, 12]]
    np.testing.assert_allclose(bx.box_area(a), [8, 0])
    np.testing.assert_allclose(bx.box_iou(a, b), np.array([[4 / 12, 1, 0], [0, 0, 0]]))


def test_inside_out_box_has_no_area() -> None:
    assert bx.box_area([[5, 5, 1, 1]])[0] == 0


def test_empty_sets_work_everywhere() -> None:
    one = [[0, 0, 1, 1]]
    assert bx.box_iou([], one).shape == (0, 1)
    assert bx.box_iou(one, []).shape == (1, 0)
    assert bx.nms([], [], 0.5).shape == (0,)
    assert bx.batched_nms([], [], [], 0.5).dtype == np.int64
    assert bx.encode([], []).shape == bx.decode([], []).shape == (0, 4)
    assert bx.clip_boxes_to_image([], (3, 4)).shape == (0, 4)
    assert bx.is_valid([]).shape == (0,)


def test_wrong_shape_is_named() -> None:
    with pytest.raises(ValueError, match=r"expected shape \(n, 4\)"):
        bx.box_area([[1, 2, 3]])


def test_clip_takes_height_then_width() -> None:
    clipped = bx.clip_boxes_to_image([[-3, -4, 50, 60]], (20, 30))
    np.testing.assert_array_equal(clipped, [[0, 0, 30, 20]])


def test_is_valid_and_remove_small() -> None:
    boxes = np.array([[0, 0, 5, 5], [3, 3, 3, 9], [0, 0, np.nan, 5], [0, 0, 2, 9]])
    np.testing.assert_array_equal(bx.is_valid(boxes), [True, False, False, True])
    np.testing.assert_array_equal(bx.remove_small_boxes(boxes, 3), [0])


def test_encode_by_hand() -> None:
    t = bx.encode([[0, 0, 10, 20]], [[5, 0, 25, 20]])
    np.testing.assert_allclose(t, [[1.0, 0.0, np.log(2), 0.0]], rtol=1e-6)


def test_decode_inverts_encode() -> None:
    rng = np.random.default_rng(0)
    p, g = random_boxes(rng, 50), random_boxes(rng, 50)
    np.testing.assert_allclose(bx.decode(p, bx.encode(p, g)), g, rtol=1e-4, atol=1e-3)


def test_encode_refuses_boxes_without_area() -> None:
    with pytest.raises(ValueError, match="area"):
        bx.encode([[0, 0, 0, 5]], [[0, 0, 5, 5]])
    with pytest.raises(ValueError, match="1 proposals but 2 targets"):
        bx.encode([[0, 0, 5, 5]], [[0, 0, 5, 5]] * 2)


def test_decode_does_not_overflow() -> None:
    out = bx.decode([[0, 0, 10, 10]], [[0, 0, 1e6, 1e6]])
    np.testing.assert_allclose(out[0, 2] - out[0, 0], 625, rtol=1e-5)


def test_nms_drops_only_above_the_threshold() -> None:
    boxes = np.array([[0, 0, 4, 2], [2, 0, 6, 2], [0, 0, 4, 2.1]])
    np.testing.assert_array_equal(bx.nms(boxes, [0.5, 0.9, 0.1], 0.34), [1, 0])
    np.testing.assert_array_equal(bx.nms(boxes, [0.5, 0.9, 0.1], 0.3), [1])


def test_nms_keeps_the_first_of_equal_scores() -> None:
    np.testing.assert_array_equal(bx.nms([[0, 0, 4, 4]] * 3, [0.5] * 3, 0.5), [0])


def test_nms_against_the_definition() -> None:
    rng = np.random.default_rng(1)
    boxes, scores = random_boxes(rng, 200), rng.random(200)
    iou = bx.box_iou(boxes, boxes)
    kept: list[int] = []
    for i in np.argsort(-scores):
        if all(iou[i, j] <= 0.4 for j in kept):
            kept.append(i)
    np.testing.assert_array_equal(bx.nms(boxes, scores, 0.4), kept)


def test_batched_nms_keeps_classes_apart() -> None:
    boxes = [[0, 0, 4, 4]] * 4
    np.testing.assert_array_equal(
        bx.batched_nms(boxes, [0.1, 0.9, 0.5, 0.2], [0, 1, 0, 1], 0.5), [1, 2]
    )


def test_nms_refuses_wrong_lengths() -> None:
    with pytest.raises(ValueError, match="scores of shape"):
        bx.nms([[0, 0, 1, 1]], [], 0.5)


@pytest.mark.peer
def test_against_torchvision() -> None:
    torch = pytest.importorskip("torch")
    ops = pytest.importorskip("torchvision").ops
    rng = np.random.default_rng(2)
    boxes, scores = random_boxes(rng, 300), rng.random(300).astype(np.float32)
    classes = rng.integers(0, 3, 300)
    tb, ts, tc = torch.from_numpy(boxes), torch.from_numpy(scores), torch.from_numpy(classes)
    np.testing.assert_allclose(bx.box_iou(boxes, boxes), ops.box_iou(tb, tb).numpy(), atol=1e-6)
    np.testing.assert_array_equal(bx.nms(boxes, scores, 0.3), ops.nms(tb, ts, 0.3).numpy())
    ours = bx.batched_nms(boxes, scores, classes, 0.3)
    np.testing.assert_array_equal(ours, ops.batched_nms(tb, ts, tc, 0.3).numpy())
