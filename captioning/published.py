"""Files of captions in their published formats: Flickr8k's token file, COCO's JSON."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from captioning.words import tokenize
from core.data.images import Picture, read_image

_LARGEST_FILE = 1 << 30  # bytes; COCO's captions of 2014 take 66 MB


@dataclass(frozen=True)
class PictureFile:
    """A picture in a file, its sentences, and what its data set calls it."""

    path: Path
    captions: Sequence[str]
    id: int | str

    def read(self) -> Picture:
        """The picture, uint8 (H, W, 3). Raises as `core.data.images.read_image` does."""
        return read_image(self.path)


def read_flickr8k(root: Path, split: Path) -> tuple[list[PictureFile], list[str]]:
    """The pictures that the file `split` lists, with their sentences, and what was left out.

    `root` has Flickr8k_text/Flickr8k.token.txt, lines of "name.jpg#number", a tab and a sentence,
    and the pictures in Flicker8k_Dataset (spelt so when published) or Flickr8k_Dataset. Raises
    ValueError, naming the file, when no line has that form.
    """
    tokens = root / "Flickr8k_text" / "Flickr8k.token.txt"
    lines, skipped = _lines(tokens)
    sentences: dict[str, list[str]] = {}
    for number, line in lines:
        key, tab, sentence = line.partition("\t")
        name, mark, _ = key.rpartition("#")
        if tab and mark:
            sentences.setdefault(name, []).append(sentence)
        elif line.strip():
            skipped.append(f"{tokens}: line {number} is no name#number, tab, sentence")
    if not sentences:
        raise ValueError(f"{tokens}: no line is name#number, tab, sentence in UTF-8")
    folders = [root / "Flicker8k_Dataset", root / "Flickr8k_Dataset"]
    folder = next((one for one in folders if one.is_dir()), folders[0])
    strays = [name for name in sentences if not _inside(name) or not _is_file(folder / name)]
    skipped += [f"{len(sentences[name])} captions of {name}: no such picture" for name in strays]
    listed, broken = _lines(split)
    names = dict.fromkeys(line.strip() for _, line in listed if line.strip())
    found, left_out = _usable(folder, ((name, name, sentences.get(name, [])) for name in names))
    return found, [*skipped, *broken, *left_out]


def read_coco(path: Path) -> tuple[list[PictureFile], list[str]]:
    """The pictures of a COCO captions file with their sentences, and what was left out.

    Their `id` is the file's, an integer in COCO's. The pictures are looked for beside the file.
    Raises ValueError, naming the file, when it is no such JSON, FileNotFoundError when there is
    none.
    """
    try:
        content: Any = json.loads(_bytes(path).decode("utf-8-sig"))
        names = {image["id"]: image["file_name"] for image in content["images"]}
        sentences: dict[Any, list[Any]] = {number: [] for number in names}
        strays = 0
        for note in content["annotations"]:
            if note["image_id"] in sentences:
                sentences[note["image_id"]].append(note["caption"])
            else:
                strays += 1
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        reason = " ".join(str(error).split())
        raise ValueError(f"{path}: no COCO captions file: {reason}") from None
    named = ((number, names[number], captions) for number, captions in sentences.items())
    found, skipped = _usable(path.parent, named)
    if strays:
        skipped.append(f"{strays} captions of pictures that {path} does not list")
    return found, skipped


def _usable(
    folder: Path, named: Iterable[tuple[Any, Any, list[Any]]]
) -> tuple[list[PictureFile], list[str]]:
    """Of ids, file names and sentences the pictures that are there, with the sentences that have
    words; the rest is named.
    """
    found, skipped = [], []
    for number, name, captions in named:
        if not isinstance(name, str) or not _inside(name):
            skipped.append(f"{name!r}: no file name below the pictures' folder")
            continue
        if not isinstance(number, int | str):
            skipped.append(f"{name}: its id {number!r} is no number")
            continue
        path = folder / name
        good = [text for text in captions if isinstance(text, str) and tokenize(text)]
        if len(good) < len(captions):
            skipped.append(f"{name}: {len(captions) - len(good)} captions without a word")
        if not _is_file(path):
            skipped.append(f"{name}: no such picture in {folder}")
        elif not good:
            skipped.append(f"{name}: no caption")
        else:
            found.append(PictureFile(path, good, number))
    return found, skipped


def _inside(name: str) -> bool:
    path = PurePosixPath(name.replace("\\", "/"))
    return bool(name) and "\0" not in name and not path.is_absolute() and ".." not in path.parts


def _is_file(path: Path) -> bool:
    """Whether it is there; a name that is too long for the system is not."""
    try:
        return path.is_file()
    except OSError:
        return False


def _lines(path: Path) -> tuple[list[tuple[int, str]], list[str]]:
    """The numbered lines of a text file, and those that are not UTF-8, named."""
    good, broken = [], []
    for number, line in enumerate(_bytes(path).removeprefix(b"\xef\xbb\xbf").splitlines(), 1):
        try:
            good.append((number, line.decode()))
        except UnicodeDecodeError:
            broken.append(f"{path}: line {number} is not UTF-8")
    return good, broken


def _bytes(path: Path) -> bytes:
    if path.is_file() and path.stat().st_size > _LARGEST_FILE:
        raise ValueError(f"{path}: larger than {_LARGEST_FILE} bytes")
    return path.read_bytes()
