"""The flowers: from an archive like the published one, and from broken ones."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from core.data.flowers import ARCHIVE, FLOWERS_CLASSES, flowers


def jpeg(level: int, size: tuple[int, int] = (40, 30)) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", size, (level, 0, 255 - level)).save(file, "JPEG")
    return file.getvalue()


def write(root: Path, members: dict[str, bytes]) -> None:
    (root / "flowers").mkdir(exist_ok=True)
    with tarfile.open(root / "flowers" / ARCHIVE, "w:gz") as archive:
        for name, content in members.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))


@pytest.fixture
def published() -> dict[str, bytes]:
    return {
        "flower_photos/LICENSE.txt": b"CC BY",
        **{
            f"flower_photos/{kind}/{number}.jpg": jpeg(5 * number + 50 * place)
            for place, kind in enumerate(FLOWERS_CLASSES)
            for number in range(10)
        },
    }


def test_every_picture_is_in_one_part(tmp_path: Path, published: dict[str, bytes]) -> None:
    write(tmp_path, published)
    train, test = flowers("train", tmp_path, size=8), flowers("test", tmp_path, size=8)
    assert train.images.shape[1:] == test.images.shape[1:] == (3, 8, 8)
    assert len(train) + len(test) == 50 and 0 < len(test) < 20
    # Red tells the picture, and so the class; JPEG moves it by a little.
    for part in (train, test):
        reds = part.images[:, 0].mean(axis=(1, 2))
        assert ((reds + 2) // 50 == part.labels).all()
    reds = np.concatenate([p.images[:, 0].mean(axis=(1, 2)) for p in (train, test)])
    assert len(np.unique(np.rint(reds / 5))) == 50


def test_a_picture_that_was_published_twice_is_taken_once(
    tmp_path: Path, published: dict[str, bytes]
) -> None:
    twin = published["flower_photos/roses/3.jpg"]
    write(tmp_path, {**published, "flower_photos/tulips/3.jpg": twin})
    parts = [flowers(split, tmp_path, size=8) for split in ("train", "test")]
    assert sum(map(len, parts)) == 49
    assert sum(int((p.labels == FLOWERS_CLASSES.index("tulips")).sum()) for p in parts) == 9


def test_broken_archives_are_named(tmp_path: Path, published: dict[str, bytes]) -> None:
    with pytest.raises(FileNotFoundError, match=r"flowers: missing flower_photos\.tgz"):
        flowers("train", tmp_path)
    write(tmp_path, {**published, "flower_photos/roses/9.jpg": b"no picture"})
    with pytest.raises(ValueError, match=r"flower_photos\.tgz: flower_photos/roses/9\.jpg: "):
        [flowers(split, tmp_path) for split in ("train", "test")]
    write(tmp_path, {"../escape.jpg": jpeg(1)})
    with pytest.raises(ValueError, match="no pictures named"):
        flowers("train", tmp_path)
    write(tmp_path, {"flower_photos/roses/1.jpg": bytes(5 << 20)})
    with pytest.raises(ValueError, match=r"broken archive \(member .* has 5242880 bytes\)"):
        flowers("train", tmp_path)
    with pytest.raises(ValueError, match="split is 'all'"):
        flowers("all", tmp_path)  # type: ignore[arg-type]


def test_huge_pictures_are_not_decoded(tmp_path: Path) -> None:
    write(tmp_path, {"flower_photos/roses/1.jpg": jpeg(1, (3000, 2000))})
    with pytest.raises(ValueError, match="3000x2000 pixels, more than the limit"):
        [flowers(split, tmp_path) for split in ("train", "test")]


@pytest.mark.data
def test_the_published_pictures_are_all_there(data_root: Path) -> None:
    train, test = flowers("train", data_root), flowers("test", data_root)
    assert (len(train), len(test)) == (2926, 741)
    assert np.bincount(test.labels).tolist() == [127, 176, 143, 136, 159]
