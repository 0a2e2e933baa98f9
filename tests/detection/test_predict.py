import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from core.data.images import read_image
from detection.metrics import Predictions
from detection.pictures import annotate
from detection.predict import Options, main
from tests.detection.conftest import MakeDetector

ROOT = Path(__file__).parents[2]
NOTHING = Predictions(np.zeros((0, 4)), np.zeros(0), np.zeros(0, int))


def gradient() -> np.ndarray:
    """A picture 60 wide and 40 high that is different in every corner."""
    y, x = np.mgrid[:40, :60]
    return np.stack([4 * x, 6 * y, 200 - 2 * x], axis=2).astype(np.uint8)


@pytest.fixture
def blind(tmp_path: Path, make_detector: MakeDetector) -> Path:
    """Weights that find nothing: the annotated picture is the picture."""
    path = tmp_path / "blind.safetensors"
    make_detector(score=(-2, -2)).save(path)
    return path


@pytest.fixture
def eager(tmp_path: Path, make_detector: MakeDetector) -> Path:
    """Weights to which everything is a cat, for sure."""
    path = tmp_path / "eager.safetensors"
    make_detector(score=(2, 0.5)).save(path)
    return path


def write(kind: str, folder: Path) -> Path:
    """The gradient as a file of some kind."""
    colour = Image.fromarray(gradient())
    grey = colour.convert("L")
    exif = Image.Exif()
    exif[0x0112] = 6
    sixteen = Image.fromarray(np.asarray(grey).astype(np.uint16) * 257)
    rgba = colour.convert("RGBA")
    rgba.putalpha(255)
    images: dict[str, tuple[str, Image.Image, dict[str, Any]]] = {
        "jpeg": ("a.jpg", colour, {"quality": 98, "subsampling": 0}),
        "png": ("a.png", colour, {}),
        "webp": ("a.webp", colour, {"lossless": True}),
        "grey": ("a.png", grey, {}),
        "rgba": ("a.png", rgba, {}),
        "cmyk": ("a.jpg", colour.convert("CMYK"), {"quality": 98}),
        "16-bit": ("a.png", sixteen, {}),
        "rotated": ("a.png", colour.rotate(90, expand=True), {"exif": exif}),
    }
    name, image, options = images[kind]
    image.save(folder / name, **options)
    return folder / name


@pytest.mark.parametrize(
    "kind", ["jpeg", "png", "webp", "grey", "rgba", "cmyk", "16-bit", "rotated"]
)
def test_pictures_of_every_kind_come_out_right(tmp_path: Path, blind: Path, kind: str) -> None:
    path = write(kind, tmp_path)
    main(Options(pictures=(path,), weights=blind, out=tmp_path / "out"))
    found = read_image(tmp_path / "out/a.png")
    upright = gradient()
    if kind in ("grey", "16-bit"):
        grey = np.asarray(Image.fromarray(upright).convert("L"))
        upright = np.repeat(grey[:, :, None], 3, axis=2)
    expected = annotate(upright, NOTHING, ())
    assert found.shape == expected.shape == (280, 420, 3)
    difference = np.abs(found.astype(int) - expected)
    assert difference.mean() < 3 and np.percentile(difference, 99) < 20


def test_it_says_what_it_knows_and_what_it_found(
    tmp_path: Path, eager: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    picture = gradient()
    picture[5:25, 10:35] = (255, 0, 0)
    Image.fromarray(picture).save(tmp_path / "red.png")
    main(Options(pictures=(tmp_path / "red.png",), weights=eager, out=tmp_path / "out.webp"))
    first, _, rest = capsys.readouterr().out.partition("\n")
    assert first == "these weights know: cat, dog (trained on toys)"
    told = json.loads(rest)
    assert told["picture"] == str(tmp_path / "red.png")
    assert told["annotated"] == str(tmp_path / "out.webp")
    kinds = {thing["class"] for thing in told["objects"]}
    assert kinds == {"cat", "dog"} and told["objects"][0]["score"] == 2
    assert all(len(thing["box"]) == 4 for thing in told["objects"])
    assert (read_image(tmp_path / "out.webp") != annotate(picture, NOTHING, ())).any()


@pytest.mark.parametrize(
    ("least", "kinds"), [(None, {"cat"}), (0.7, {"cat"}), (-3.0, {"cat", "dog"})]
)
def test_the_least_score(
    tmp_path: Path,
    make_detector: MakeDetector,
    capsys: pytest.CaptureFixture[str],
    least: float | None,
    kinds: set[str],
) -> None:
    detector = make_detector(score=(0.8, -2))
    detector.thresholds = [0.5, 0.5]
    detector.save(tmp_path / "d.safetensors")
    path = write("png", tmp_path)
    weights = tmp_path / "d.safetensors"
    main(Options(pictures=(path,), weights=weights, out=tmp_path / "out", min_score=least))
    told = json.loads(capsys.readouterr().out.partition("\n")[2])
    assert {thing["class"] for thing in told["objects"]} == kinds


def test_one_bad_picture_does_not_stop_the_others(tmp_path: Path, eager: Path) -> None:
    good = write("jpeg", tmp_path)
    text = tmp_path / "words.png"
    text.write_text("not a picture")
    cut = tmp_path / "cut.jpg"
    cut.write_bytes(good.read_bytes()[:500])
    absent = tmp_path / "absent.png"
    wanted = (text, absent, cut, tmp_path, good)
    with pytest.raises(ValueError, match=r"words\.png: not a readable") as caught:
        main(Options(pictures=wanted, weights=eager, out=tmp_path / "out"))
    for path in wanted[:4]:
        assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["a.png"]


def test_pictures_of_one_name_stay_apart(tmp_path: Path, blind: Path) -> None:
    paths = (write("jpeg", tmp_path), write("png", tmp_path))
    main(Options(pictures=paths, weights=blind, out=tmp_path / "out"))
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["1-a.png", "2-a.png"]


def test_no_picture_is_overwritten(tmp_path: Path, blind: Path) -> None:
    path = write("png", tmp_path)
    before = path.read_bytes()
    for out in (path, tmp_path):
        with pytest.raises(ValueError, match="would be overwritten"):
            main(Options(pictures=(path,), weights=blind, out=out))
    assert path.read_bytes() == before


def test_impossible_targets(tmp_path: Path, blind: Path) -> None:
    path = write("png", tmp_path)
    with pytest.raises(ValueError, match="is one picture, but 2 are"):
        main(Options(pictures=(path, path), weights=blind, out=tmp_path / "b.png"))
    with pytest.raises(ValueError, match=r"blind\.safetensors is a file; expected a folder"):
        main(Options(pictures=(path,), weights=blind, out=blind))
    with pytest.raises(ValueError, match="name at least one picture"):
        main(Options(pictures=(), weights=blind))


def test_the_command_line_ends_with_one_line(tmp_path: Path) -> None:
    weights = tmp_path / "w.safetensors"
    weights.write_text("words")
    command = [sys.executable, "-m", "detection.predict", "x.png", "--weights", str(weights)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.returncode == 2 and done.stdout == ""
    assert done.stderr.startswith("error: ") and done.stderr.count("\n") == 1
    assert str(weights) in done.stderr
