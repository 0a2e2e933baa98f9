"""Predicting pictures, folders and sequences: what is written, and what is never overwritten."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from core.data.images import read_image, read_labels, save_image
from segmentation.labels import CAMVID
from segmentation.predict import Options, _rate, main
from tests.segmentation.conftest import MakeSegmenter, road

ROOT = Path(__file__).parents[2]


@pytest.fixture
def roads(tmp_path: Path, make_segmenter: MakeSegmenter) -> Path:
    """Weights to which everything is road."""
    path = tmp_path / "roads.safetensors"
    make_segmenter(CAMVID, says=3).save(path)
    return path


def test_a_picture_gets_a_mask_an_overlay_and_shares(
    tmp_path: Path, roads: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    picture, _ = road(0)
    save_image(tmp_path / "street.png", picture)
    main(Options(pictures=(tmp_path / "street.png",), weights=roads, out=tmp_path / "out"))
    first, _, rest = capsys.readouterr().out.partition("\n")
    assert first.startswith("these weights know: sky, building") and "trained on toys" in first
    told = json.loads(rest)
    assert told["shares"] == {"road": 1.0}
    assert (read_labels(Path(told["mask"])) == 3).all()
    mixed = read_image(told["overlay"])
    expected = 0.45 * picture + 0.55 * CAMVID.palette[3]
    np.testing.assert_allclose(mixed, expected, atol=1)
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == [
        "street-mask.png",
        "street-overlay.png",
    ]


def test_a_sequence_says_how_fast_it_was(
    tmp_path: Path, roads: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for number in (2, 1, 0):
        save_image(tmp_path / "drive" / f"frame{number}.png", road(number)[0])
    main(Options(pictures=(tmp_path / "drive",), weights=roads, out=tmp_path / "out"))
    *_, last = capsys.readouterr().out.strip().splitlines()
    assert last.startswith("3 pictures in ") and last.endswith(" frames per second")
    names = sorted(p.name for p in (tmp_path / "out").glob("*-mask.png"))
    assert names == ["frame0-mask.png", "frame1-mask.png", "frame2-mask.png"]


def test_the_first_frame_is_not_in_the_rate() -> None:
    assert _rate([9.0, 0.1, 0.3]) == pytest.approx(5)


def test_a_second_call_does_not_label_what_the_first_one_wrote(tmp_path: Path, roads: Path) -> None:
    save_image(tmp_path / "drive" / "frame0.png", road(0)[0])
    options = Options(
        pictures=(tmp_path / "drive",), weights=roads, out=tmp_path / "drive" / "labelled"
    )
    for _ in range(2):
        main(options)
    names = sorted(path.name for path in options.out.iterdir())
    assert names == ["frame0-mask.png", "frame0-overlay.png"]


def test_large_pictures_come_in_tiles(tmp_path: Path, roads: Path) -> None:
    save_image(tmp_path / "wide.png", road(0, 40, 300)[0])
    options = Options(
        pictures=(tmp_path / "wide.png",), weights=roads, out=tmp_path, tile=64, overlap=16
    )
    main(options)
    labels = read_labels(tmp_path / "wide-mask.png")
    assert labels.shape == (40, 300) and (labels == 3).all()


def test_one_bad_picture_does_not_stop_the_others(tmp_path: Path, roads: Path) -> None:
    save_image(tmp_path / "good.png", road(0)[0])
    (tmp_path / "bad.jpg").write_bytes(b"words")
    wanted = (tmp_path / "bad.jpg", tmp_path / "absent.png", tmp_path / "good.png")
    with pytest.raises(ValueError, match=r"bad\.jpg: not a readable.*absent\.png: no such"):
        main(Options(pictures=wanted, weights=roads, out=tmp_path / "out"))
    assert (tmp_path / "out" / "good-mask.png").is_file()


def test_nothing_is_overwritten(tmp_path: Path, roads: Path) -> None:
    save_image(tmp_path / "a.png", road(0)[0])
    save_image(tmp_path / "a-mask.png", road(1)[0])
    with pytest.raises(ValueError, match=r"a-mask\.png would be overwritten"):
        main(Options(pictures=(tmp_path,), weights=roads, out=tmp_path))
    save_image(tmp_path / "b" / "a.png", road(0)[0])
    pair = (tmp_path / "a.png", tmp_path / "b" / "a.png")
    main(Options(pictures=pair, weights=roads, out=tmp_path / "out"))
    assert (tmp_path / "out" / "1-a-mask.png").is_file()
    assert (tmp_path / "out" / "2-a-overlay.png").is_file()


def test_impossible_options(tmp_path: Path, roads: Path) -> None:
    with pytest.raises(ValueError, match="--overlap is 64; expected 0 to 63"):
        Options(pictures=(), tile=64, overlap=64)
    with pytest.raises(ValueError, match="--tile is 0; expected 1 or more"):
        Options(pictures=(), tile=0, overlap=0)
    with pytest.raises(ValueError, match="name at least one picture"):
        main(Options(pictures=(), weights=roads))
    (tmp_path / "bare").mkdir()
    with pytest.raises(FileNotFoundError, match="bare: no pictures in this folder"):
        main(Options(pictures=(tmp_path / "bare",), weights=roads))
    with pytest.raises(ValueError, match=r"roads\.safetensors is a file; expected a folder"):
        main(Options(pictures=(tmp_path / "a.png",), weights=roads, out=roads))


def test_the_command_line_ends_with_one_line(tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    path.write_text("words")
    command = [sys.executable, "-m", "segmentation.predict", "x.png", "--weights", str(path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.returncode == 2 and done.stdout == ""
    assert done.stderr.startswith("error: ") and done.stderr.count("\n") == 1
    assert str(path) in done.stderr
