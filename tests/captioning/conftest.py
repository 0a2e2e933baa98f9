"""Small networks and small data sets, for the tests of what is built on them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import core
from captioning.captioner import Captioner
from captioning.words import Vocabulary, tokenize
from core.data.images import save_image

MakeCaptioner = Callable[..., Captioner]
SENTENCES = ("a red dog runs on grass", "a blue cat sits on the red sofa", "two dogs run")


@pytest.fixture
def make_captioner() -> MakeCaptioner:
    """Makes networks with random weights that know the words of SENTENCES."""

    def make(model: str = "attention", **options: Any) -> Captioner:
        core.seed(3)
        vocabulary = Vocabulary.of([tokenize(sentence) for sentence in SENTENCES])
        captioner = Captioner.new(
            model,
            vocabulary,
            "small",
            options={"width": 12, **options},
            encoder_options={"width": 4, "size": 32},
            frozen=False,
            pretrained=False,
            data="toys",
        )
        captioner.net.eval()
        return captioner

    return make


@pytest.fixture
def weights_file(tmp_path: Path, make_captioner: MakeCaptioner) -> Path:
    """The file of an untrained network."""
    path = tmp_path / "toys.safetensors"
    make_captioner().save(path)
    return path


@pytest.fixture
def flickr_root(tmp_path: Path) -> Path:
    """A data root with Flickr8k's files: six pictures to train on, two in dev and test.

    And everything that goes wrong: a caption without a picture, a picture without captions, one
    that is missing, an empty sentence, a line in another encoding, and one without a tab.
    """
    root = tmp_path / "data" / "flickr8k"
    lines: list[bytes] = []
    for split, count in (("train", 6), ("dev", 2), ("test", 2)):
        names = []
        for number in range(count):
            name = f"{split}{number}.jpg"
            rng = np.random.default_rng(number)
            picture = rng.integers(0, 255, (40, 48, 3)).astype(np.uint8)
            save_image(root / "Flicker8k_Dataset" / name, picture)
            names.append(name)
            for n, sentence in enumerate(SENTENCES[number % 3 :] + SENTENCES[:2]):
                lines.append(f"{name}#{n}\t{sentence} .".encode())
        listed = root / "Flickr8k_text" / f"Flickr_8k.{split}Images.txt"
        listed.parent.mkdir(parents=True, exist_ok=True)
        listed.write_text("\n".join(names) + "\n")
    train = root / "Flickr8k_text" / "Flickr_8k.trainImages.txt"
    train.write_text(train.read_text() + "silent.jpg\nabsent.jpg\n")
    save_image(root / "Flicker8k_Dataset" / "silent.jpg", np.zeros((40, 40, 3), np.uint8))
    lines += [
        b"stray.jpg.1#0\tA dog without a picture .",
        b"absent.jpg#0\tA picture that is missing .",
        b"train0.jpg#7\t .",
        b"train0.jpg#8\tun caf\xe9 .",
        b"no tab here",
    ]
    (root / "Flickr8k_text" / "Flickr8k.token.txt").write_bytes(b"\n".join(lines) + b"\n")
    return root.parent


def write_coco(folder: Path, count: int = 20) -> Path:
    """A COCO captions file with its pictures, ten in each of some subfolders, of the same names."""
    images, notes = [], []
    for number in range(count):
        name = f"{number // 10}/{number % 10}.png"
        save_image(folder / name, np.full((32, 32, 3), number, np.uint8))
        images.append({"id": 100 + number, "file_name": name})
        notes += [
            {"id": 2 * number + n, "image_id": 100 + number, "caption": f"Picture {number}, again."}
            for n in range(2)
        ]
    path = folder / "mine.json"
    path.write_text(json.dumps({"images": images, "annotations": notes}))
    return path
