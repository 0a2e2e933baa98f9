"""Every kind of picture comes out right, every broken one is one clear line."""

import io
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageOps

from core.data.images import (
    Interpolation,
    Picture,
    read_image,
    read_labels,
    resize,
    save_image,
    save_labels,
)


def _smooth(height: int = 20, width: int = 30) -> Picture:
    y, x = np.mgrid[:height, :width]
    planes = (x * 255 // (width - 1), y * 255 // (height - 1), (x + y) * 4)
    return np.stack(planes, axis=2).astype(np.uint8)


def _save(path: Path, array: np.ndarray, mode: str | None = None, **options: Any) -> Path:
    image = Image.fromarray(array)
    (image if mode is None else image.convert(mode)).save(path, **options)
    return path


def _png(path: Path, depth: int, colour: int, rows: list[bytes], width: int, *extra: bytes) -> Path:
    """A PNG made by hand, for what Pillow does not write."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    header = struct.pack(">IIBBBBB", width, len(rows), depth, colour, 0, 0, 0)
    body = zlib.compress(b"".join(b"\0" + row for row in rows))
    chunks = [chunk(b"IHDR", header), *(chunk(e[:4], e[4:]) for e in extra)]
    chunks += [chunk(b"IDAT", body), chunk(b"IEND", b"")]
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(chunks))
    return path


def test_rgb_png_is_exact(tmp_path: Path) -> None:
    picture = read_image(_save(tmp_path / "a.png", _smooth()))
    assert picture.dtype == np.uint8
    assert picture.flags.c_contiguous and picture.flags.writeable
    np.testing.assert_array_equal(picture, _smooth())


@pytest.mark.parametrize("name", ["a.jpg", "a.webp"])
def test_lossy_formats_are_close(tmp_path: Path, name: str) -> None:
    picture = read_image(_save(tmp_path / name, _smooth(), quality=95))
    assert np.abs(picture.astype(int) - _smooth()).mean() < 4


@pytest.mark.parametrize("mode", ["1", "L"])
def test_grey_has_three_equal_channels(tmp_path: Path, mode: str) -> None:
    path = _save(tmp_path / "a.png", np.array([[0, 255, 0], [255, 255, 0]], np.uint8), mode)
    expected = np.repeat(np.array([[0, 255, 0], [255, 255, 0]])[:, :, None], 3, axis=2)
    np.testing.assert_array_equal(read_image(path), expected)


@pytest.mark.parametrize("suffix", ["png", "webp"])
def test_rgba_is_laid_over_white(tmp_path: Path, suffix: str) -> None:
    pixels = np.array([[[10, 20, 30, 255], [10, 20, 30, 0], [0, 0, 0, 51]]], np.uint8)
    path = _save(tmp_path / f"a.{suffix}", pixels, lossless=True)
    expected = [[[10, 20, 30], [255, 255, 255], [204, 204, 204]]]
    np.testing.assert_array_equal(read_image(path), expected)


def test_grey_with_alpha_is_laid_over_white(tmp_path: Path) -> None:
    image = Image.merge("LA", [Image.new("L", (2, 1), 0), Image.new("L", (2, 1), 51)])
    image.save(tmp_path / "a.png")
    assert (read_image(tmp_path / "a.png") == 204).all()


@pytest.mark.parametrize("transparency", [0, b"\x00\xff", None])
def test_palette(tmp_path: Path, transparency: int | bytes | None) -> None:
    image = Image.new("P", (2, 1))
    image.putpalette([200, 0, 0, 0, 100, 0])
    image.putdata([0, 1])
    options: dict[str, Any] = {} if transparency is None else {"transparency": transparency}
    image.save(tmp_path / "a.png", **options)
    first = [200, 0, 0] if transparency is None else [255, 255, 255]
    np.testing.assert_array_equal(read_image(tmp_path / "a.png"), [[first, [0, 100, 0]]])


def test_colour_key_transparency_of_rgb(tmp_path: Path) -> None:
    pixels = np.array([[[1, 2, 3], [4, 5, 6]]], np.uint8)
    path = _save(tmp_path / "a.png", pixels, transparency=(1, 2, 3))
    np.testing.assert_array_equal(read_image(path), [[[255, 255, 255], [4, 5, 6]]])


def test_gif_gives_its_first_frame(tmp_path: Path) -> None:
    frames = [Image.new("RGB", (4, 3), colour) for colour in ("red", "blue")]
    frames[0].save(tmp_path / "a.gif", save_all=True, append_images=frames[1:])
    picture = read_image(tmp_path / "a.gif")
    assert picture.shape == (3, 4, 3)
    assert (picture == [255, 0, 0]).all()


def test_cmyk_jpeg(tmp_path: Path) -> None:
    pixels = np.full((16, 16, 3), (200, 100, 50), np.uint8)
    path = _save(tmp_path / "a.jpg", pixels, "CMYK", quality=95)
    with Image.open(path) as image:
        assert image.mode == "CMYK"
    assert np.abs(read_image(path).astype(int) - pixels).max() < 8


def test_sixteen_bit_grey_is_scaled(tmp_path: Path) -> None:
    values = np.array([[0, 257, 32896, 65535]], np.uint16)
    path = _save(tmp_path / "a.png", values)
    np.testing.assert_array_equal(read_image(path)[0, :, 0], [0, 1, 128, 255])


@pytest.mark.parametrize(("colour", "channels"), [(2, 3), (4, 2), (6, 4)])
def test_sixteen_bit_colour_is_scaled(tmp_path: Path, colour: int, channels: int) -> None:
    opaque = [0xFFFF] if channels in (2, 4) else []
    values = [0x8080, *[0x4040] * (channels - 1 - len(opaque)), *opaque]
    row = np.array(values * 2, ">u2").tobytes()
    picture = read_image(_png(tmp_path / "a.png", 16, colour, [row], 2))
    assert picture.shape == (1, 2, 3)
    assert picture[0, 0].tolist() == ([0x80] * 3 if channels == 2 else [0x80, 0x40, 0x40])


def test_sixteen_bit_colour_key(tmp_path: Path) -> None:
    row = np.array([0x8080, 0x4040, 0x2020], ">u2").tobytes()
    picture = read_image(_png(tmp_path / "a.png", 16, 2, [row], 1, b"tRNS" + b"\1\2" * 3))
    assert picture.tolist() == [[[0x80, 0x40, 0x20]]]


@pytest.mark.parametrize("suffix", ["png", "jpg", "webp"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation(tmp_path: Path, orientation: int, suffix: str) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = _save(tmp_path / f"a.{suffix}", _smooth(), exif=exif)
    with Image.open(path) as image:
        expected = np.asarray(ImageOps.exif_transpose(image).convert("RGB"))
    np.testing.assert_array_equal(read_image(path), expected)


def test_broken_exif_does_not_lose_the_picture(tmp_path: Path) -> None:
    exif = b"Exif\0\0MM\0*\0\0\0\x08\x00\x05" + b"\xff" * 20
    picture = read_image(_save(tmp_path / "a.jpg", _smooth(), exif=exif))
    assert picture.shape == (20, 30, 3)


def test_missing_picture(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"none\.png: no such picture"):
        read_image(tmp_path / "none.png")


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "the file is empty"),
        (b"no picture at all", "not a readable JPEG, PNG, WebP or GIF picture"),
        (b"\xff\xd8\xff\xe0", "not a readable|broken picture"),
        (b"\x89PNG\r\n\x1a\n" + b"\0" * 50, "not a readable|broken picture"),
    ],
)
def test_what_is_no_picture(tmp_path: Path, content: bytes, reason: str) -> None:
    path = tmp_path / "a.jpg"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=rf"a\.jpg: ({reason})") as error:
        read_image(path)
    assert "\n" not in str(error.value)


def test_folder_is_no_picture(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="not a file"):
        read_image(tmp_path)


@pytest.mark.parametrize("suffix", ["png", "jpg", "webp", "gif"])
def test_truncated_picture(tmp_path: Path, suffix: str) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    path = _save(tmp_path / f"a.{suffix}", noise)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(ValueError, match=rf"a\.{suffix}: "):
        read_image(path)


@pytest.mark.parametrize("side", [10_001, 20_000])
def test_decompression_bomb(tmp_path: Path, side: int) -> None:
    path = _png(tmp_path / "a.png", 8, 0, [b"\0"], side)
    content = bytearray(path.read_bytes())
    content[20:24] = struct.pack(">I", side)
    content[29:33] = struct.pack(">I", zlib.crc32(bytes(content[12:29])))
    path.write_bytes(bytes(content))
    with pytest.raises(ValueError, match=r"a\.png: .*(more than the limit of|too many pixels)"):
        read_image(path)


def test_limit_on_pixels(tmp_path: Path) -> None:
    path = _save(tmp_path / "a.png", _smooth())
    assert read_image(path, max_pixels=600).shape == (20, 30, 3)
    with pytest.raises(ValueError, match=r"30x20 pixels, more than the limit of 599"):
        read_image(path, max_pixels=599)


def _encoded(suffix: str) -> bytes:
    buffer = io.BytesIO()
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(_smooth()).save(buffer, format=suffix, exif=exif)
    return buffer.getvalue()


@pytest.mark.parametrize("suffix", ["png", "jpeg", "webp", "gif"])
@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_damage_is_an_error_or_a_picture(
    suffix: str, data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    content = bytearray(_encoded(suffix))
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path = tmp_path_factory.getbasetemp() / f"damaged.{suffix}"
    path.write_bytes(content[: data.draw(st.integers(1, len(content)))])
    try:
        picture = read_image(path, max_pixels=10_000)
    except ValueError as error:
        assert str(error).startswith(f"{path}: ")
        assert "\n" not in str(error)
    else:
        assert picture.dtype == np.uint8 and picture.shape[2] == 3


def test_save_and_read(tmp_path: Path) -> None:
    save_image(tmp_path / "run" / "a.png", _smooth())
    np.testing.assert_array_equal(read_image(tmp_path / "run" / "a.png"), _smooth())
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["a.png"]


def test_save_label_map_keeps_values(tmp_path: Path) -> None:
    labels = np.array([[0, 11], [255, 3]], np.uint8)
    save_image(tmp_path / "a.png", labels)
    with Image.open(tmp_path / "a.png") as image:
        np.testing.assert_array_equal(np.asarray(image), labels)


def test_save_refuses_what_it_cannot_write(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"a\.bmp: the suffix must be one of"):
        save_image(tmp_path / "a.bmp", _smooth())
    with pytest.raises(ValueError, match=r"picture is float32 \(2, 2, 3\), expects uint8"):
        save_image(tmp_path / "a.png", np.zeros((2, 2, 3), np.float32))
    with pytest.raises(ValueError, match=r"picture is uint8 \(3, 2, 2\)"):
        save_image(tmp_path / "a.png", np.zeros((3, 2, 2), np.uint8))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("size", "max_size", "expected"),
    [
        ((7, 9), None, (7, 9)),
        (10, None, (10, 15)),
        (40, None, (40, 60)),
        (40, 45, (30, 45)),
        ((20, 30), None, (20, 30)),
    ],
)
def test_resize_shapes(
    size: int | tuple[int, int], max_size: int | None, expected: tuple[int, int]
) -> None:
    picture = resize(_smooth(), size, max_size=max_size)
    assert picture.dtype == np.uint8 and picture.shape == (*expected, 3)
    upright = resize(_smooth().transpose(1, 0, 2), size, max_size=max_size)
    assert upright.shape == ((*expected, 3) if isinstance(size, tuple) else (*expected[::-1], 3))


def test_resize_is_antialiased_and_leaves_its_input() -> None:
    checkers = np.zeros((64, 64), np.uint8)
    checkers[::2, ::2] = checkers[1::2, 1::2] = 255
    before = checkers.copy()
    inner = resize(checkers, (16, 16))[2:-2, 2:-2]
    assert abs(inner.astype(int) - 127).max() < 8
    np.testing.assert_array_equal(checkers, before)
    assert not np.shares_memory(resize(checkers, (64, 64)), checkers)


def test_resize_of_labels_invents_none() -> None:
    labels = np.random.default_rng(0).choice(np.array([0, 7, 255], np.uint8), (31, 17))
    assert set(np.unique(resize(labels, (50, 40), "nearest"))) <= {0, 7, 255}


def _resize_wrongly(size: Any = (4, 4), interpolation: Interpolation = "bilinear") -> Picture:
    return resize(_smooth(), size, interpolation, max_size=8 if size == (9, 9) else None)


def test_resize_errors() -> None:
    with pytest.raises(ValueError, match="20x30 to 0x5 leaves no pixels"):
        _resize_wrongly((0, 5))
    with pytest.raises(ValueError, match="max_size goes with a single size"):
        _resize_wrongly((9, 9))
    with pytest.raises(ValueError, match="interpolation is 'cubist'"):
        _resize_wrongly(interpolation="cubist")  # type: ignore[arg-type]


PALETTE = np.array([[0, 0, 0], [255, 0, 0], [0, 0, 255]], np.uint8)


def test_label_maps_keep_their_numbers(tmp_path: Path) -> None:
    labels = np.random.default_rng(0).integers(0, 256, (7, 11)).astype(np.uint8)
    save_labels(tmp_path / "palette.png", labels, PALETTE)
    _save(tmp_path / "grey.png", labels)
    _save(tmp_path / "sixteen.png", labels.astype(np.uint16))
    for name in ("palette", "grey", "sixteen"):
        np.testing.assert_array_equal(read_labels(tmp_path / f"{name}.png"), labels)
    few = np.array([[0, 1], [2, 1]], np.uint8)
    save_labels(tmp_path / "few.png", few, PALETTE)
    np.testing.assert_array_equal(read_image(tmp_path / "few.png"), PALETTE[few])
    colours = _save(tmp_path / "colours.png", PALETTE[few])
    np.testing.assert_array_equal(read_labels(colours), PALETTE[few])


def test_what_is_no_label_map_is_named(tmp_path: Path) -> None:
    lossy = _save(tmp_path / "a.jpg", np.zeros((4, 4), np.uint8))
    with pytest.raises(ValueError, match=r"a\.jpg: not a readable PNG label map"):
        read_labels(lossy)
    large = _save(tmp_path / "b.png", np.full((4, 4), 256, np.uint16))
    with pytest.raises(ValueError, match=r"b\.png: broken picture \(a label of 256, expected 0"):
        read_labels(large)
    with pytest.raises(ValueError, match=r"b\.png: broken picture \(4x4 pixels, more than the lim"):
        read_labels(large, max_pixels=15)
    with pytest.raises(FileNotFoundError, match="no such picture"):
        read_labels(tmp_path / "none.png")
    with pytest.raises(ValueError, match=r"save_labels: labels \(2, 2, 3\) and palette \(3, 3\)"):
        save_labels(tmp_path / "c.png", np.zeros((2, 2, 3), np.uint8), PALETTE)
