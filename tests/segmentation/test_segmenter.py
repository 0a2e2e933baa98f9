"""A network with its file: predictions of any size, and files that are refused."""

from __future__ import annotations

from importlib.resources import as_file, files
from pathlib import Path

import numpy as np
import pytest

from core.io import weights
from core.io.weights import Card
from segmentation.data import load
from segmentation.evaluate import judge
from segmentation.labels import CAMVID
from segmentation.segmenter import Segmenter, load_segmenter
from tests.segmentation.conftest import MakeSegmenter


def picture(height: int, width: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (height, width, 3)).astype(np.uint8)


@pytest.mark.parametrize("scale", [1.0, 0.5])
@pytest.mark.parametrize("size", [(1, 1), (7, 90), (64, 48)])
def test_pictures_of_any_size(
    make_segmenter: MakeSegmenter, size: tuple[int, int], scale: float
) -> None:
    segmenter = make_segmenter(scale=scale)
    probabilities = segmenter.probabilities(picture(*size))
    assert probabilities.shape == (11, *size)
    np.testing.assert_allclose(probabilities.sum(axis=0), 1, rtol=1e-5)
    labels = segmenter.predict(picture(*size))
    assert labels.dtype == np.uint8
    np.testing.assert_array_equal(labels, probabilities.argmax(axis=0))


def test_no_numbers_are_no_background(make_segmenter: MakeSegmenter) -> None:
    segmenter = make_segmenter()
    broken = segmenter.net.state_dict()
    broken["head.bias"][2] = np.nan
    segmenter.net.load_state_dict(broken)
    for use in (segmenter.predict, lambda p: judge(segmenter, load("scenes", "val", count=1))):
        with pytest.raises(ValueError, match="the unet gives values that are no numbers"):
            use(picture(40, 40))


def test_tiles_agree_with_the_whole_away_from_seams(make_segmenter: MakeSegmenter) -> None:
    segmenter = make_segmenter()
    whole = segmenter.predict(picture(96, 200))
    tiled = segmenter.predict(picture(96, 200), tile=128, overlap=64)
    assert (whole == tiled).mean() > 0.9 and (whole == tiled)[:, :60].mean() > 0.99


def test_a_file_holds_all_of_it(tmp_path: Path, make_segmenter: MakeSegmenter) -> None:
    segmenter = make_segmenter(CAMVID, scale=0.5)
    segmenter.save(tmp_path / "a.safetensors", metrics={"val_mIoU": 0.5}, seed=3, half=True)
    again = Segmenter.load(tmp_path / "a.safetensors")
    assert again.classes == CAMVID.classes and again.scale == 0.5 and again.data == "toys"
    assert again.labels.palette[:11].tolist() == CAMVID.palette[:11].tolist()
    assert again.options == segmenter.options and again.architecture == "unet"
    card = weights.read_card(tmp_path / "a.safetensors")
    assert card.metrics == {"val_mIoU": 0.5} and card.seed == 3
    large = segmenter.net.state_dict()
    large["encoder.stem.1.running_var"][:] = 1e6
    segmenter.net.load_state_dict(large)
    segmenter.save(tmp_path / "b.safetensors", half=True)
    again = Segmenter.load(tmp_path / "b.safetensors")
    assert (again.net.state_dict()["encoder.stem.1.running_var"] == 1e6).all()
    same = again.predict(picture(40, 40)) == segmenter.predict(picture(40, 40))
    assert same.mean() > 0.98


HEADER = {"options": '{"width": 4}', "colours": '["#000000", "#ffffff"]', "scale": "1.0"}


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"options": "{"}, "broken header"),
        ({"options": '{"depth": "x"}'}, "broken header"),
        ({"options": '{"witdh": 4}'}, "unet does not take the options"),
        ({"colours": '["red", "#ffffff"]'}, "'red' is no colour"),
        ({"colours": '["#000000"]'}, "2 labels and 1 colours"),
        ({"scale": "0"}, "its scale is 0"),
        ({"scale": "[]"}, "broken header"),
        ({"colours": None}, "no segmentation network: its header lacks 'colours'"),
        ({"options": '{"width": 8}'}, "does not fit UNet"),
    ],
)
def test_broken_files_are_named(
    tmp_path: Path, make_segmenter: MakeSegmenter, change: dict[str, str | None], reason: str
) -> None:
    net = make_segmenter().net
    extra = {name: text for name, text in {**HEADER, **change}.items() if text is not None}
    path = tmp_path / "broken.safetensors"
    card = Card(architecture="unet", classes=("cat", "dog"), extra=extra)
    weights.save_model(net, path, card)
    with pytest.raises(ValueError, match=reason) as caught:
        Segmenter.load(path)
    assert str(path) in str(caught.value)


def test_weights_that_are_not_there(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="no such weights"):
        load_segmenter("scenes", tmp_path / "none.safetensors")
    with pytest.raises(FileNotFoundError, match="no weights for 'camvid' ship"):
        load_segmenter("camvid")


def test_the_shipped_weights_know_the_digits() -> None:
    segmenter = load_segmenter("scenes")
    data = load("scenes", "val", count=8)
    figures = judge(segmenter, data).figures
    assert segmenter.data == "scenes" and figures["global_accuracy"] > 0.97
    assert figures["mIoU"] > 0.8 and figures["boundary_F1"] > 0.6
    with as_file(files("segmentation") / "weights" / "scenes.safetensors") as path:
        assert path.stat().st_size < 3_000_000
