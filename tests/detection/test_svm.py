import numpy as np
import pytest

from detection import svm
from detection.svm import SVM, fit_svms


def test_scores_are_affine() -> None:
    one = SVM(np.array([[1, 2], [3, 4]], np.float32), np.array([10, 20], np.float32))
    np.testing.assert_array_equal(one.scores(np.array([[1, 1]], np.float32)), [[14, 26]])


def clusters(rng: np.random.Generator, *centres: tuple[float, float], count: int) -> np.ndarray:
    return np.concatenate([rng.normal(c, 0.3, (count, 2)) for c in centres]).astype(np.float32)


def test_classes_are_separated() -> None:
    features = clusters(np.random.default_rng(0), (3, 0), (0, 3), (-2, -2), count=40)
    rows = np.arange(120)
    positives = [rows[:40], rows[40:80]]
    negatives = [rows[40:], np.concatenate([rows[:40], rows[80:]])]
    scores = fit_svms(features, positives, negatives).scores(features)
    assert scores.shape == (120, 2) and scores.dtype == np.float32
    for label in range(2):
        assert (scores[positives[label], label] > 0).all()
        assert (scores[negatives[label], label] < 0).all()


def test_the_scale_of_the_features_does_not_matter() -> None:
    features = clusters(np.random.default_rng(0), (3, 0), (-1, -1), count=30)
    rows = [np.arange(30)], [np.arange(30, 60)]
    one = fit_svms(features, *rows).scores(features)
    other = fit_svms(features * 1000, *rows).scores(features * 1000)
    np.testing.assert_allclose(one, other, atol=1e-3)


@pytest.fixture
def crowded() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Features, positives and negatives; few of the many negatives are near the positives."""
    rng = np.random.default_rng(1)
    positives = rng.normal((4, 1), 0.2, (50, 2))
    hard = rng.normal((4, -1), 0.2, (30, 2))
    easy = rng.normal((-6, 0), 0.5, (3000, 2))
    features = np.concatenate([positives, hard, easy]).astype(np.float32)
    return features, np.arange(50), np.arange(50, len(features))


def test_hard_negatives_are_mined(
    crowded: tuple[np.ndarray, np.ndarray, np.ndarray], monkeypatch: pytest.MonkeyPatch
) -> None:
    features, positives, negatives = crowded
    monkeypatch.setattr(svm, "C", 1.0)
    monkeypatch.setattr(svm, "FIRST", 3)
    hard = negatives[:30]
    mined = fit_svms(features, [positives], [negatives]).scores(features)[:, 0]
    assert (mined[hard] < 0).all() and (mined[positives] > 0).all()
    monkeypatch.setattr(svm, "ROUNDS", 1)
    first_draw = fit_svms(features, [positives], [negatives]).scores(features)[:, 0]
    assert (first_draw[hard] > 0).any()


def test_mining_ends_where_training_on_all_negatives_ends(
    crowded: tuple[np.ndarray, np.ndarray, np.ndarray], monkeypatch: pytest.MonkeyPatch
) -> None:
    features, positives, negatives = crowded
    everything = fit_svms(features, [positives], [negatives])
    assert len(negatives) > svm.FIRST
    monkeypatch.setattr(svm, "FIRST", 10)
    few = fit_svms(features, [positives], [negatives])
    np.testing.assert_allclose(few.scores(features), everything.scores(features), atol=0.05)


def test_a_class_without_positives_is_never_found() -> None:
    features = clusters(np.random.default_rng(0), (3, 0), (-1, -1), count=10)
    nothing = np.zeros(0, np.int64)
    found = fit_svms(features, [nothing, np.arange(10)], [np.arange(20), nothing])
    np.testing.assert_array_equal(found.scores(features), -1)


def test_the_same_seed_gives_the_same_machine(
    crowded: tuple[np.ndarray, np.ndarray, np.ndarray],
) -> None:
    features, positives, negatives = crowded
    one, other = (fit_svms(features, [positives], [negatives], seed=5) for _ in range(2))
    np.testing.assert_array_equal(one.weight, other.weight)
