"""Folders of pictures: classes by name, broken pictures named and left out."""

from pathlib import Path

import numpy as np
import pytest

from core.data.folder import ImageFolder, distinct_stems
from core.data.images import save_image


def _picture(value: int, height: int = 6, width: int = 8) -> np.ndarray:
    return np.full((height, width, 3), value, np.uint8)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for number in range(6):
        save_image(tmp_path / "cats" / f"{number}.png", _picture(number))
    for number in range(4):
        save_image(tmp_path / "Ants" / "deeper" / f"{number}.PNG", _picture(100 + number, 5, 9))
    (tmp_path / "cats" / "notes.txt").write_text("not a picture")
    (tmp_path / "cats" / ".hidden.png").write_text("not a picture")
    (tmp_path / ".cache").mkdir()
    (tmp_path / "readme.md").write_text("not a class")
    return tmp_path


def test_classes_and_pictures_in_order(root: Path) -> None:
    folder = ImageFolder(root)
    assert folder.classes == ["Ants", "cats"]
    assert folder.class_to_idx == {"Ants": 0, "cats": 1}
    assert folder.targets == [0] * 4 + [1] * 6 and len(folder) == 10
    picture, label = folder[5]
    np.testing.assert_array_equal(picture, _picture(1))
    assert label == 1 and folder.problems == []


def test_broken_pictures_are_named_and_left_out(root: Path) -> None:
    (root / "cats" / "0.png").write_bytes(b"")
    (root / "cats" / "3.png").write_bytes((root / "cats" / "3.png").read_bytes()[:40])
    folder = ImageFolder(root)
    assert len(folder) == 8
    assert [Path(line.split(": ")[0]).name for line in folder.problems] == ["0.png", "3.png"]
    assert "the file is empty" in folder.problems[0]


def test_without_verification_the_item_raises(root: Path) -> None:
    (root / "cats" / "0.png").write_bytes(b"")
    folder = ImageFolder(root, verify=False)
    assert len(folder) == 10
    with pytest.raises(ValueError, match=r"0\.png: the file is empty"):
        folder[4]


def test_arrays_are_scaled_and_skip_the_broken(root: Path) -> None:
    (root / "cats" / "0.png").write_bytes(b"")
    folder = ImageFolder(root, verify=False)
    dataset = folder.arrays((4, 3))
    assert dataset.images.shape == (9, 3, 4, 3) and dataset.images.dtype == np.uint8
    assert dataset.labels.tolist() == [0] * 4 + [1] * 5 and dataset.classes == ("Ants", "cats")
    assert (dataset.images[4] == 1).all() and len(folder.problems) == 1
    assert folder.arrays(5).images.shape == (9, 3, 5, 5)


def test_split_is_stratified_and_seeded(root: Path) -> None:
    folder = ImageFolder(root)
    train, held_out = folder.split([0.5, 0.5], seed=3)
    assert held_out.targets == [0, 0, 1, 1, 1]
    assert sorted(train.samples + held_out.samples) == folder.samples
    assert folder.split([0.5, 0.5], seed=3)[1].samples == held_out.samples


def test_missing_root(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="none: no such folder"):
        ImageFolder(tmp_path / "none")


def test_empty_root(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"no class folders \(expects"):
        ImageFolder(tmp_path)


def test_empty_class(root: Path) -> None:
    (root / "dogs").mkdir()
    with pytest.raises(FileNotFoundError, match=r"dogs: no pictures \(\.jpg, .*in this class"):
        ImageFolder(root)


def test_extensions_are_the_callers(root: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"Ants: no pictures \(\.jpg\)"):
        ImageFolder(root, extensions=[".jpg"])


def test_nothing_readable(tmp_path: Path) -> None:
    (tmp_path / "cats").mkdir()
    (tmp_path / "cats" / "0.png").write_bytes(b"x")
    with pytest.raises(ValueError, match=r"not a single readable picture, for instance .*0\.png"):
        ImageFolder(tmp_path)
    with pytest.raises(ValueError, match="not a single readable picture"):
        ImageFolder(tmp_path, verify=False).arrays(4)


def test_names_that_would_be_the_same_are_numbered() -> None:
    assert distinct_stems([Path("a/x.png"), Path("b/y.jpg")]) == ["x", "y"]
    assert distinct_stems([Path("a/x.png"), Path("b/x.jpg"), Path("z")]) == ["1-x", "2-x", "3-z"]
