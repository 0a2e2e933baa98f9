"""The commands that use trained networks, from their flags to their files."""

from __future__ import annotations

import csv
import json
import shutil
import tarfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from core import evaluate, models, predict
from core.cli import run_command
from core.data import embedded_digits, save_image
from core.data.preprocess import Preprocessing
from core.io import weights
from core.io.weights import Card
from core.models import Pretrained

COLOURS = ("red", "green, lime", "blue")


@pytest.fixture(scope="module")
def colours(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A network that says which channel of a picture is the brightest, in a file of ours."""
    path = tmp_path_factory.mktemp("colours") / "colours.safetensors"
    transform = Preprocessing(size=4, resize=4, mean=(0.0,) * 3, std=(1.0,) * 3)
    model = models.MLP(48, (), 3)
    weight = np.kron(np.eye(3), np.ones(16)).astype(np.float32)
    model.load_state_dict({"layers.0.weight": weight, "layers.0.bias": np.zeros(3, np.float32)})
    card = Card(
        architecture="mlp",
        classes=COLOURS,
        extra={"options": json.dumps({"hidden": []}), **transform.header()},
    )
    weights.save_model(model, path, card)
    return path


def paint(path: Path, channel: int, size: tuple[int, int] = (6, 8)) -> None:
    picture = np.full((*size, 3), 20, np.uint8)
    picture[..., channel] = 220
    save_image(path, picture)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Five pictures, one of them in the wrong folder, and one that is broken."""
    root = tmp_path / "pictures"
    for name, channels in (("Blue", (2, 2)), ("lime", (1, 1)), ("red", (1,))):
        for number, channel in enumerate(channels):
            paint(root / name / f"{number}.png", channel, (6 + number, 8))
    (root / "red" / "broken.png").write_bytes(b"no picture")
    return root


def test_a_folder_of_pictures_is_judged(
    folder: Path, colours: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    flags = ["--weights", str(colours), "--data", str(folder), "--out", str(out), "--device", "cpu"]
    run_command(evaluate.main, evaluate.Options, flags)
    summary = json.loads((out / "summary.json").read_bytes())
    assert summary["top1_error"] == pytest.approx(0.2)
    assert (summary["samples"], summary["left_out"]) == (5, 1)
    assert summary["pictures"] == ["confusion.png", "mistakes.png"]
    assert all((out / name).stat().st_size > 1000 for name in summary["pictures"])
    rows = list(csv.DictReader((out / "predictions.csv").read_text("utf-8").splitlines()))
    assert rows[0]["picture"] == "Blue/0.png"
    assert (rows[-1]["true"], rows[-1]["predicted"]) == ("red", "green, lime")
    assert "left out: " in capsys.readouterr().out


def test_several_networks_are_averaged(folder: Path, colours: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.safetensors"
    shutil.copy(colours, other)
    options = evaluate.Options(
        weights=(str(colours), str(other)),
        data=str(folder),
        out=tmp_path / "out",
        device="cpu",
        flip=True,
        crops=5,
    )
    summary = evaluate.main(options)
    assert summary["top1_error"] == pytest.approx(0.2)
    assert summary["accuracy_of_each"] == {"colours": 0.8, "other": 0.8}
    twice = evaluate.main(replace(options, weights=(str(colours), str(colours))))
    assert twice["accuracy_of_each"] == {"1-colours": 0.8, "2-colours": 0.8}
    with pytest.raises(ValueError, match="digits and colours do not know the same classes"):
        evaluate.main(replace(options, weights=(str(colours), "digits")))


def test_a_known_set_by_the_shipped_network(tmp_path: Path) -> None:
    summary = evaluate.main(evaluate.Options(data="digits", out=tmp_path, device="cpu"))
    assert summary["samples"] == 360
    # Other writers, another pen, 8 x 8 pixels: it learned from MNIST.
    assert summary["accuracy"] > 0.85
    assert summary["top5_error"] < 0.05


def test_what_cannot_be_evaluated(colours: Path, tmp_path: Path) -> None:
    options = evaluate.Options(weights=(str(colours),), data="mnits", out=tmp_path, device="cpu")
    with pytest.raises(FileNotFoundError, match="--data mnits: no such folder, and none of mnist"):
        evaluate.main(options)
    paint(tmp_path / "set" / "puce" / "0.png", 0)
    with pytest.raises(ValueError, match=r"colours does not know one class called puce; .* 3: red"):
        evaluate.main(replace(options, data=str(tmp_path / "set")))
    (tmp_path / "set" / "puce").rename(tmp_path / "set" / "red")
    (tmp_path / "set" / "red" / "0.png").write_bytes(b"")
    with pytest.raises(ValueError, match="not a single picture could be read, for instance"):
        evaluate.main(replace(options, data=str(tmp_path / "set")))


def test_classes_go_by_name_synonym_and_wordnet_number(colours: Path) -> None:
    network = models.load_pretrained(colours)
    extra = {**network.card.extra, "synsets": json.dumps(["n01", "n02", "n03"])}
    classes = ("crane, bird", "crane, machine", "blue")
    network = Pretrained(
        "n", network.model, replace(network.card, classes=classes, extra=extra), network.transform
    )
    names = ["N02", "crane,  BIRD", "machine", "blue"]
    assert evaluate.class_numbers(names, network).tolist() == [1, 0, 1, 2]
    with pytest.raises(ValueError, match="one class called crane"):
        evaluate.class_numbers(["crane"], network)


def test_pictures_and_folders_are_predicted(
    folder: Path, colours: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    flags = [str(folder / "lime" / "0.png"), str(folder / "Blue")]
    flags += ["--weights", str(colours), "--top", "2", "--out", str(out)]
    run_command(predict.main, predict.Options, flags)
    results = json.loads((out / "predictions.json").read_bytes())
    assert [r["predictions"][0]["class"] for r in results] == ["green, lime", "blue", "blue"]
    assert [len(r["predictions"]) for r in results] == [2, 2, 2]
    assert (out / "predictions.png").stat().st_size > 1000
    assert '"class": "green, lime"' in capsys.readouterr().out


def options(*pictures: Path, **changes: Any) -> predict.Options:
    return predict.Options(pictures=pictures, device="cpu", **changes)


def test_a_picture_that_cannot_be_read_does_not_stop_the_others(
    folder: Path, colours: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(ValueError, match=r"broken\.png: not a readable"):
        predict.main(options(folder / "red", weights=(str(colours),)))
    assert '"picture"' in capsys.readouterr().out


def test_a_digit_is_read_by_the_shipped_network(tmp_path: Path) -> None:
    test = embedded_digits("test")
    paper = 255 - np.kron(test.images[0, 0], np.ones((12, 12), np.uint8))
    page = np.pad(paper, 30, constant_values=255)
    save_image(tmp_path / "digit.png", page)
    (result,) = predict.main(options(tmp_path / "digit.png"))
    assert result["predictions"][0]["class"] == str(test.labels[0])
    assert len(result["predictions"]) == 5
    save_image(tmp_path / "empty.png", np.full((9, 9), 255, np.uint8))
    with pytest.raises(ValueError, match=r"empty\.png: no writing in the picture"):
        predict.main(options(tmp_path / "empty.png"))


def test_weights_that_are_no_numbers(folder: Path, tmp_path: Path) -> None:
    """They are wrong about everything, and are not asked what is in a picture."""
    path = tmp_path / "broken.safetensors"
    model = models.MLP(48, (), 3)
    model.layers[0].bias.copy_(np.full(3, np.nan, np.float32))
    seen = Preprocessing(size=4, resize=4, mean=(0.0,) * 3, std=(1.0,) * 3).header()
    extra = {"options": json.dumps({"hidden": []}), **seen}
    weights.save_model(model, path, Card(architecture="mlp", classes=COLOURS, extra=extra))
    found = evaluate.main(
        evaluate.Options(weights=(str(path),), data=str(folder), out=tmp_path / "out", device="cpu")
    )
    assert (found["top1_error"], found["accuracy"]) == (1, 0)
    with pytest.raises(RuntimeError, match="--weights broken: its probabilities are no numbers"):
        predict.main(options(folder / "red", weights=(str(path),)))


def test_what_cannot_be_predicted(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="name at least one picture"):
        predict.main(options())
    with pytest.raises(FileNotFoundError, match="no pictures in this folder"):
        predict.main(options(tmp_path))
    (tmp_path / "file").write_text("")
    with pytest.raises(ValueError, match="is a file; expected a folder"):
        predict.main(options(tmp_path, out=tmp_path / "file"))
    with pytest.raises(ValueError, match="--top is 0"):
        options(tmp_path, top=0)


@pytest.mark.data
@pytest.mark.slow
def test_resnet20_on_cifar10_as_it_is_beside_us(data_root: Path, tmp_path: Path) -> None:
    """81.03 % on the JPEG-coded pictures, 10 classes in folders; read as they are."""
    archive = data_root / "cifar-10" / "cifar-10-images.tar.xz"
    if not archive.is_file():
        pytest.skip(f"no {archive}")
    with tarfile.open(archive) as tar:
        members = (m for m in tar if m.name.lstrip("./").startswith("test/"))
        tar.extractall(tmp_path, members, filter="data")
    summary = evaluate.main(
        evaluate.Options(
            weights=("resnet20_cifar10",),
            data=str(tmp_path / "test"),
            data_root=data_root,
            out=tmp_path / "out",
            device="cpu",
        )
    )
    assert summary["samples"] == 10_000
    assert summary["accuracy"] == pytest.approx(0.8103, abs=1e-4)
