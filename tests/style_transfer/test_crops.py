"""Training pictures of the fast form: squares of any photographs."""

from pathlib import Path

import numpy as np
import pytest

from core.data.images import save_image
from core.data.rng import Draws
from style_transfer.crops import Crops, Folder, batch_of, photographs, source, square
from tests.style_transfer.conftest import picture

NUMBERS = np.arange(6)


def test_squares_by_hand() -> None:
    one = np.zeros((4, 6, 3), np.uint8)
    one[:, :, 0] = 10 * np.arange(6)
    whole = square(one, 4, 0, 0, 0, 1)
    assert whole.shape == (4, 4, 3) and whole[0, :, 0].tolist() == [0, 10, 20, 30]
    assert square(one, 4, 0, 0, 0.99, 1)[0, :, 0].tolist() == [20, 30, 40, 50]
    assert square(one, 4, 0, 0, 0, 0)[0, :, 0].tolist() == [30, 20, 10, 0]
    assert square(one, 2, 1, 0, 0, 1)[0, :, 0].tolist() == [0, 10]
    # Too small a picture is enlarged.
    assert square(one, 8, 1, 0, 0, 1).shape == (8, 8, 3)


def test_a_batch_is_channels_of_0_to_1() -> None:
    made = batch_of([np.full((5, 5, 3), 255, np.uint8), np.zeros((5, 5, 3), np.uint8)])
    assert made.shape == (2, 3, 5, 5) and made.dtype == np.float32
    assert made[0].min() == 1 and made[1].max() == 0


def test_a_batch_depends_on_seed_epoch_and_number_alone() -> None:
    crops = Crops([[picture(0), picture(1, 60, 48)], [picture(2)]], 32, 6)
    assert len(crops) == 6 and crops[4] == 4
    (whole,) = crops.make(NUMBERS, Draws(1, 2, NUMBERS))
    (part,) = crops.make(NUMBERS[3:], Draws(1, 2, NUMBERS[3:]))
    assert whole.shape == (6, 3, 32, 32) and (whole[3:] == part).all()
    assert (crops.make(NUMBERS, Draws(1, 3, NUMBERS))[0] != whole).any()


def test_sources_have_the_same_share() -> None:
    black, white = (np.full((40, 40, 3), level, np.uint8) for level in (0, 255))
    (made,) = Crops([[black] * 9, [white]], 32, 6).make(NUMBERS, Draws(0, 0, NUMBERS))
    assert made.mean((1, 2, 3)).tolist() == [0, 1, 0, 1, 0, 1]


def test_files_that_cannot_be_read_are_passed_over(tmp_path: Path) -> None:
    save_image(tmp_path / "good.png", picture(0))
    (tmp_path / "bad.jpg").write_bytes(b"no picture")
    crops = Crops([Folder(tmp_path)], 32, 6)
    assert crops.make(NUMBERS, Draws(0, 0, NUMBERS))[0].shape == (6, 3, 32, 32)
    assert len(crops.problems) == 1 and "bad.jpg" in crops.problems[0]
    (tmp_path / "good.png").unlink()
    with pytest.raises(ValueError, match=r"not a single readable picture, for instance .*bad\.jpg"):
        Crops([Folder(tmp_path)], 32, 6).make(NUMBERS, Draws(0, 0, NUMBERS))


def test_sources_by_name(tmp_path: Path) -> None:
    train, held_out = source("photographs"), photographs("test")
    assert len(train) == 11 and len(held_out) == 4
    assert all(one.dtype == np.uint8 and one.shape[2] == 3 for one in (*held_out, train[0]))
    with pytest.raises(FileNotFoundError, match=r"--data .*none: no such folder"):
        source(str(tmp_path / "none"))
    with pytest.raises(FileNotFoundError, match="no pictures in this folder"):
        source(str(tmp_path))


@pytest.mark.data
def test_the_flowers(data_root: Path) -> None:
    assert source("flowers", data_root)[0].shape == (64, 64, 3)
