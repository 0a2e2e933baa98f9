"""Captioned pictures: good files, broken ones and hostile ones; batches."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from captioning.batches import Sentences, padded
from captioning.data import CaptionData, SceneWithTruths, load
from captioning.facts import right_parts, shares
from captioning.published import PictureFile
from captioning.words import BEGIN, END, PAD
from core.data.rng import Draws
from core.data.scenes.text import Description, Thing, combination_split, parse_sentence
from tests.captioning.conftest import write_coco


def test_scenes_know_ten_true_sentences_and_show_new_combinations() -> None:
    seen: dict[str, set[tuple[Thing, str | None]]] = {}
    for split in ("train", "val", "test"):
        data = load("scenes", split, count=12)
        for picture in data.pictures:
            assert isinstance(picture, SceneWithTruths)
            assert len(set(picture.captions)) == (5 if split == "train" else 10)
            for caption in picture.captions:
                assert all(right_parts(caption, picture.facts).values()), caption
                said = parse_sentence(caption)
                assert said is not None
                if said.relation is None:
                    assert split == "train"
                    continue
                seen.setdefault(split, set()).add((said.subject, said.relation))
                assert combination_split(said.subject, said.relation) == split
    assert not seen["train"] & seen["test"] and not seen["train"] & seen["val"]
    assert picture.read().shape == (128, 128, 3)
    training = load("scenes", "train", count=12)
    alone = [one for one in training.pictures if "alone" in str(one.id)]
    assert len(alone) == 4
    assert len(set(training.ids)) == 12
    for one in alone:
        said = parse_sentence(one.captions[0])
        assert said is not None and said.other is None


def test_a_sentence_is_checked_part_by_part() -> None:
    facts = Description(Thing(5, "red"), "above", Thing(2, "blue"))
    cases = {
        "a red five is above a blue two": (True, True, True),
        "a blue 2 with a red 5 above it": (True, True, True),
        "the blue two is below the red five": (True, True, True),
        "the blue two is above the red five": (True, True, False),
        "the red five is above the blue three": (False, True, True),
        "a red two is above a blue five": (False, True, True),
        "there is a blue 5 above a red 2": (True, False, True),
        "a red five": (False, False, False),
        "five red above blue": (False, False, False),
    }
    for sentence, parts in cases.items():
        assert tuple(right_parts(sentence, facts).values()) == parts, sentence
    alone = Description(Thing(5, "red"))
    assert all(right_parts("the red five is alone", alone).values())
    assert not right_parts("the red six is alone", alone)["objects"]
    assert not any(right_parts("a red five is above a blue two", alone).values())
    found = shares(list(cases), [facts] * len(cases))
    assert found["all_right"] == pytest.approx(3 / 9)
    assert found["objects_right"] == pytest.approx(5 / 9)
    assert found["relation_right"] == pytest.approx(6 / 9)


def test_flickr8k_names_what_it_leaves_out(flickr_root: Path) -> None:
    data = load("flickr8k", "train", data_root=flickr_root)
    assert data.ids == [f"train{n}.jpg" for n in range(6)]
    assert data.pictures[0].captions[0] == "a red dog runs on grass ."
    assert data.pictures[0].read().shape == (40, 48, 3)
    tokens = flickr_root / "flickr8k" / "Flickr8k_text" / "Flickr8k.token.txt"
    folder = flickr_root / "flickr8k" / "Flicker8k_Dataset"
    lines = tokens.read_bytes().splitlines()
    encoding, tab = (lines.index(x) + 1 for x in (b"train0.jpg#8\tun caf\xe9 .", b"no tab here"))
    assert sorted(data.skipped) == sorted(
        [
            f"{tokens}: line {encoding} is not UTF-8",
            f"{tokens}: line {tab} is no name#number, tab, sentence",
            "1 captions of stray.jpg.1: no such picture",
            "1 captions of absent.jpg: no such picture",
            "train0.jpg: 1 captions without a word",
            "silent.jpg: no caption",
            f"absent.jpg: no such picture in {folder}",
        ]
    )
    for split in ("val", "test"):
        assert len(load("flickr8k", split, data_root=flickr_root).pictures) == 2
    assert len(load("flickr8k", "train", count=3, data_root=flickr_root).pictures) == 3


def test_a_name_that_is_too_long_for_a_file_is_of_no_picture(flickr_root: Path) -> None:
    name = "x" * 300 + ".jpg"
    text = flickr_root / "flickr8k" / "Flickr8k_text"
    for file, line in (
        ("Flickr8k.token.txt", f"{name}#0\tA dog .\n"),
        ("Flickr_8k.testImages.txt", f"{name}\n"),
    ):
        with open(text / file, "a") as opened:
            opened.write(line)
    data = load("flickr8k", "test", data_root=flickr_root)
    assert data.ids == ["test0.jpg", "test1.jpg"]
    assert f"1 captions of {name}: no such picture" in data.skipped


def test_flickr8k_files_that_are_of_no_use(flickr_root: Path) -> None:
    text = flickr_root / "flickr8k" / "Flickr8k_text"
    (text / "Flickr_8k.testImages.txt").write_text("")
    with pytest.raises(ValueError, match="no captioned picture is left for split 'test'"):
        load("flickr8k", "test", data_root=flickr_root)
    (text / "Flickr8k.token.txt").write_text("a sentence\n", encoding="utf-16")
    with pytest.raises(ValueError, match=r"Flickr8k.token.txt: no line is name#number"):
        load("flickr8k", "train", data_root=flickr_root)
    (text / "Flickr8k.token.txt").unlink()
    with pytest.raises(FileNotFoundError, match=r"missing Flickr8k_text/Flickr8k.token.txt"):
        load("flickr8k", "train", data_root=flickr_root)
    with pytest.raises(ValueError, match="'dogs' is no COCO file"):
        load("dogs", "train")
    with pytest.raises(ValueError, match="no split 'dev'"):
        load("scenes", "dev")


def test_coco_files_are_split_in_tenths(tmp_path: Path) -> None:
    path = write_coco(tmp_path)
    sizes = {split: len(load(str(path), split).pictures) for split in ("train", "val", "test")}
    assert sizes == {"train": 16, "val": 2, "test": 2}
    data = load(str(path), "test")
    assert data.name == "mine" and data.ids == [109, 119]
    assert [file.path.name for file in data.pictures if isinstance(file, PictureFile)] == [
        "9.png",
        "9.png",
    ]
    assert next(data.sentences()) == [["picture", "9", "again"]] * 2


def test_hostile_coco_files(tmp_path: Path) -> None:
    path = write_coco(tmp_path / "pictures", 10)
    (tmp_path / "secret.png").write_bytes(b"")
    content = json.loads(path.read_text())
    content["images"].append({"id": None, "file_name": "secret.png"})
    for name in ("../secret.png", "/etc/passwd", "a\0b", "", 7):
        content["images"].append({"id": str(name), "file_name": name})
        content["annotations"].append({"image_id": str(name), "caption": "a secret"})
    content["annotations"] += [
        {"image_id": 100, "caption": None},
        {"image_id": 100, "caption": "..."},
        {"image_id": 9999, "caption": "of nothing"},
    ]
    path.write_text(json.dumps(content))
    data = load(str(path), "train")
    assert len(data.pictures) == 8
    assert sum("no file name below" in line for line in data.skipped) == 5
    assert "0/0.png: 2 captions without a word" in data.skipped
    assert "secret.png: its id None is no number" in data.skipped
    assert f"1 captions of pictures that {path} does not list" in data.skipped
    for broken in ("{", "[]", '{"images": 3, "annotations": []}', "[" * 100_000, '{"images": []}'):
        path.write_text(broken)
        with pytest.raises(ValueError, match=r"mine.json: no COCO captions file"):
            load(str(path), "train")
    with pytest.raises(FileNotFoundError):
        load(str(tmp_path / "nowhere.json"), "train")


def sentences(count: int = 60) -> Sentences:
    rng = np.random.default_rng(0)
    encoded = [
        [[BEGIN, *rng.integers(4, 20, rng.integers(1, 15)), END] for _ in range(1 + n % 3)]
        for n in range(count)
    ]
    return Sentences(np.arange(count, dtype=np.float32)[:, None, None, None], encoded)


def test_batches_hold_sentences_of_like_length_each_once() -> None:
    data = sentences()
    loader = data.batches(8, seed=1)
    for epoch in range(2):
        batches = list(loader)
        assert loader.epoch == epoch + 1
        assert [len(batch.words) for batch in batches] == [8] * 15
        # Their lengths spread over fewer words than those of batches drawn without looking.
        spread = [np.ptp((batch.words != PAD).sum(axis=1)) for batch in batches]
        assert np.mean(spread) < 3
        seen = Counter(
            (int(batch.inputs[n, 0, 0, 0]), tuple(row[row != PAD]))
            for batch in batches
            for n, row in zip(batch.owner, batch.words, strict=True)
        )
        expected = Counter((n, tuple(words)) for n, words in (data[i] for i in range(len(data))))
        assert seen == expected
    order = data.by_length(8)
    first, again, other = (order(np.random.default_rng(s)) for s in (0, 0, 1))
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()


def test_batches_by_picture_look_at_each_once() -> None:
    looked = [batch.inputs[:, 0, 0, 0] for batch in sentences().batches(12, 0, by_picture=True)]
    assert len(np.unique(np.concatenate(looked))) == 60
    # A picture whose sentences fall into two batches is looked at twice; no other.
    assert sum(map(len, looked)) <= 60 + len(looked)


def test_padding_and_the_draws_of_some_samples() -> None:
    np.testing.assert_array_equal(padded([[1, 5, 2], [1, 2]]), [[1, 5, 2], [1, 2, PAD]])
    draws = Draws(3, 1, np.array([5, 6, 7]))
    draws(2)
    part = draws.rows(np.array([2, 0]))
    np.testing.assert_array_equal(draws(4)[[2, 0]], part(4))


def test_an_empty_split_has_no_sentences() -> None:
    assert list(CaptionData("x", "train", []).sentences()) == []


@pytest.mark.data
def test_flickr8k_is_as_published(data_root: Path) -> None:
    if not (data_root / "flickr8k").is_dir():
        pytest.skip(f"no Flickr8k below {data_root}")
    counts = {s: load("flickr8k", s, data_root=data_root) for s in ("train", "val", "test")}
    assert {s: len(d.pictures) for s, d in counts.items()} == {
        "train": 6000,
        "val": 1000,
        "test": 1000,
    }
    assert all(len(picture.captions) == 5 for picture in counts["train"].pictures)
    assert counts["train"].skipped == ["5 captions of 2258277193_586949ec62.jpg.1: no such picture"]
