"""Training, scoring, the demo and predictions end to end, on tiny data."""

from __future__ import annotations

import json
import re
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from captioning import data, demo, encoders, evaluate, predict, published, search, train
from captioning.captioner import Captioner, Decoding, load_captioner
from captioning.data import load
from captioning.encoders import ClassifierEncoder
from captioning.evaluate import most_common, nearest
from captioning.features import cached_features, inputs_of
from captioning.metrics import score
from captioning.recipes import RECIPES
from captioning.words import Vocabulary, tokenize
from core import recipes
from core.data.images import read_image, save_image
from core.io import weights
from core.training.run import LAST, read_metrics
from tests.captioning.conftest import MakeCaptioner, write_coco


@pytest.fixture(autouse=True)
def _few_scenes(monkeypatch: pytest.MonkeyPatch) -> None:
    for split, count in (("train", 6), ("val", 2), ("test", 3)):
        monkeypatch.setitem(data.SCENE_COUNTS, split, count)


def options(recipe: str, out: Path | None, **changes: Any) -> train.Options:
    small = {"width": 8, "epochs": 2, "batch_size": 6, "device": "cpu", "out": out, "lr": 0.01}
    return recipes.options(train.Options, recipe, RECIPES, **{**small, **changes})


def flickr(root: Path, out: Path, **changes: Any) -> train.Options:
    settings: dict[str, Any] = {
        "encoder": "backbone",
        "class_scores": False,
        "data_root": root,
        "cache": root / "cache",
        "min_count": 1,
    }
    return options("flickr8k-attention", out, **{**settings, **changes})


def test_a_training_leaves_everything_in_its_folder(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    summary = train.main(options("scenes-attention", folder, encoder_width=4))
    assert json.loads((folder / "summary.json").read_text()) == summary
    assert (summary["data"], summary["split"], summary["images"]) == ("scenes", "test", 3)
    assert {"BLEU-4", "ROUGE-L", "METEOR (exact, stem)", "CIDEr-D", "all_right"} < set(summary)
    assert len(summary["pictures"]) == 4
    for name in (*summary["pictures"], "config.json", LAST, train.NETWORK):
        assert (folder / name).stat().st_size > 0
    lines = read_metrics(folder / "metrics.jsonl")
    assert [line["epoch"] for line in lines] == [1, 2]
    assert {"loss", "val_loss", "val_BLEU-4", "val_CIDEr-D"} < set(lines[0])
    kept, header = weights.load(folder / train.NETWORK)
    assert kept["decoder.embedding.weight"].dtype == np.float16
    assert "val_all_right" in header["metrics"]


def test_predictions_score_as_the_summary_says(flickr_root: Path, tmp_path: Path) -> None:
    summary = train.main(flickr(flickr_root, tmp_path / "run", beam=2))
    found = json.loads((tmp_path / "run" / "predictions" / "captions.json").read_text())
    test = load("flickr8k", "test", data_root=flickr_root)
    assert [line["image_id"] for line in found] == test.ids
    scores = score([tokenize(line["caption"]) for line in found], list(test.sentences()))
    for name, value in scores.items():
        assert summary[name] == pytest.approx(value)
    settings = evaluate.Options(
        data="flickr8k",
        data_root=flickr_root,
        cache=flickr_root / "cache",
        weights=tmp_path / "run" / train.NETWORK,
        out=tmp_path / "again",
        beam=2,
        baselines=True,
    )
    with pytest.raises(ValueError, match="--views is 2: the features of backbone are"):
        evaluate.main(replace(settings, views=2))
    # Before a run is begun, or features are computed.
    assert not (tmp_path / "again").exists()
    again = evaluate.main(settings)
    assert again["BLEU-4"] == summary["BLEU-4"] and again["CIDEr-D"] == summary["CIDEr-D"]
    assert {"most_common", "most_common_scores", "nearest_scores"} < set(again)


def test_predictions_of_a_coco_file_have_its_numbers(weights_file: Path, tmp_path: Path) -> None:
    settings = evaluate.Options(
        data=str(write_coco(tmp_path / "pictures")), weights=weights_file, out=tmp_path / "out"
    )
    summary = evaluate.main(settings)
    found = json.loads((tmp_path / "out" / "predictions" / "captions.json").read_text())
    assert [line["image_id"] for line in found] == [109, 119]
    # Pictures of the same name in two folders.
    attention = [name for name in summary["pictures"] if "attention" in name]
    assert len(set(attention)) == 2
    assert all((tmp_path / "out" / name).stat().st_size > 0 for name in attention)


@pytest.mark.peer
def test_predictions_of_a_coco_file_are_read_by_pycocotools(
    weights_file: Path, tmp_path: Path
) -> None:
    coco = pytest.importorskip("pycocotools.coco", reason="pycocotools is not installed")
    path = write_coco(tmp_path / "pictures")
    evaluate.main(evaluate.Options(data=str(path), weights=weights_file, out=tmp_path / "out"))
    results = coco.COCO(path).loadRes(str(tmp_path / "out" / "predictions" / "captions.json"))
    assert set(results.imgToAnns) == {109, 119}


def test_what_cannot_be_used_is_named_counted_and_skipped(
    flickr_root: Path, weights_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = flickr_root / "flickr8k"
    with open(root / "Flickr8k_text" / "Flickr8k.token.txt", "a") as tokens:
        tokens.write("test0.jpg#9\tA zebra and a zebra .\n")
    (root / "Flicker8k_Dataset" / "test1.jpg").write_bytes(b"no picture")
    common: dict[str, Any] = {"data": "flickr8k", "data_root": flickr_root, "weights": weights_file}
    summary = evaluate.main(evaluate.Options(out=tmp_path / "a", **common))
    # Two lines of no use, captions of two pictures that are not there, and a broken picture.
    assert (summary["images"], summary["skipped"], summary["unknown_words"]) == (1, 5, 3)
    printed = capsys.readouterr().out
    assert re.search(r"skipped: \S*test1\.jpg: .*not a", printed), printed
    strays = "skipped: 1 captions of stray.jpg.1: no such picture\n"
    assert printed.count(strays) == 1
    found = json.loads((tmp_path / "a" / "predictions" / "captions.json").read_text())
    assert [line["image_id"] for line in found] == ["test0.jpg"]
    search.main(search.Options(out=tmp_path / "b", beams=(1,), length_penalties=(0.0,), **common))
    assert capsys.readouterr().out.count(strays) == 1
    (root / "Flicker8k_Dataset" / "test0.jpg").write_bytes(b"")
    with pytest.raises(ValueError, match="flickr8k: no picture of split 'test' can be read"):
        evaluate.main(evaluate.Options(out=tmp_path / "c", **common))


@pytest.mark.parametrize("learns", [{}, {"finetune": True}])
def test_a_training_leaves_out_pictures_that_cannot_be_read(
    learns: dict[str, Any],
    flickr_root: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for name in ("train1.jpg", "dev1.jpg", "test0.jpg"):
        (flickr_root / "flickr8k" / "Flicker8k_Dataset" / name).write_bytes(b"no picture")
    for again in ("a", "b"):
        summary = train.main(flickr(flickr_root, tmp_path / again, epochs=1, **learns))
        printed = capsys.readouterr().out
        assert "5 pictures, 20 sentences" in printed
        for name in ("train1.jpg", "dev1.jpg", "test0.jpg"):
            assert len(re.findall(rf"skipped: \S*{name}: ", printed)) == 1
        # Once for each split that is loaded: train, val and test.
        assert printed.count("skipped: 1 captions of stray.jpg.1: no such picture\n") == 3
        assert (summary["images"], summary["skipped"], summary["unknown_words"]) == (1, 5, 0)


def test_features_are_computed_once(
    flickr_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    train.main(flickr(flickr_root, tmp_path / "a", epochs=1))
    captioner = Captioner.load(tmp_path / "a" / train.NETWORK)
    test = load("flickr8k", "test", data_root=flickr_root)
    _, first = inputs_of(captioner, test, flickr_root / "cache")
    assert first.dtype == np.float16 and first.shape == (2, 256, 7, 7)
    _, fresh = inputs_of(captioner, test, tmp_path / "elsewhere")
    np.testing.assert_array_equal(first, fresh)

    def refuse(*_: Any) -> Any:
        raise AssertionError("the encoder was asked again")

    monkeypatch.setattr(ClassifierEncoder, "maps", refuse)
    np.testing.assert_array_equal(inputs_of(captioner, test, flickr_root / "cache")[1], first)


def test_features_are_those_of_the_pictures_that_are_there(
    flickr_root: Path, tmp_path: Path
) -> None:
    eyes, cache = encoders.trained("backbone", grid=2), tmp_path / "cache"

    def features(root: Path) -> np.ndarray:
        return cached_features(eyes, "backbone", load("flickr8k", "test", data_root=root), cache)

    def kept() -> int:
        return len(list(cache.glob("*/*.npz")))

    first = features(flickr_root)
    np.testing.assert_array_equal(features(flickr_root), first)
    assert kept() == 1
    # The same names in another folder, and another picture of the same name.
    other = tmp_path / "other"
    shutil.copytree(flickr_root, other)
    replaced = other / "flickr8k" / "Flicker8k_Dataset" / "test0.jpg"
    save_image(replaced, np.full((40, 48, 3), 255, np.uint8))
    second = features(other)
    assert np.abs(second[0] - first[0]).max() > 0
    np.testing.assert_array_equal(second[1], first[1])
    save_image(replaced, np.zeros((40, 48, 3), np.uint8))
    assert np.abs(features(other)[0] - second[0]).max() > 0
    assert kept() == 3
    for _ in range(2):
        cached_features(eyes, "backbone", load("scenes", "val"), cache)
        assert kept() == 4


def test_a_picture_that_can_be_read_again_has_features(
    flickr_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    eyes, test = (
        encoders.trained("backbone", grid=2),
        load("flickr8k", "test", data_root=flickr_root),
    )

    def away(path: Path) -> Any:
        if path.name == "test1.jpg":
            raise OSError(f"{path}: no such device")
        return read_image(path)

    def unknown() -> list[bool]:
        features = cached_features(eyes, "backbone", test, tmp_path)
        return [bool(one) for one in np.isnan(features).all(axis=(1, 2, 3))]

    with monkeypatch.context() as patch:
        patch.setattr(published, "read_image", away)
        assert unknown() == unknown() == [False, True]
    assert unknown() == [False, False]


def test_fine_tuning_goes_on_from_a_frozen_encoder(flickr_root: Path, tmp_path: Path) -> None:
    train.main(flickr(flickr_root, tmp_path / "a", epochs=1))
    start = tmp_path / "a" / train.NETWORK
    arrays, _ = weights.load(start)
    assert not any(name.startswith("encoder") for name in arrays)
    changes = {"epochs": 1, "weights": start, "finetune": True, "augment": "elastic", "lr": 0.001}
    train.main(flickr(flickr_root, tmp_path / "b", **changes))
    tuned = Captioner.load(tmp_path / "b" / train.NETWORK)
    published = load_encoder_weights(start)
    learned = tuned.net.eyes.state_dict()["features.0.weight"]
    assert 0 < np.abs(learned - published).max() < 0.1
    assert tuned.vocabulary == Captioner.load(start).vocabulary
    with pytest.raises(ValueError, match=r"holds an encoder that has learned.*--finetune only"):
        tuned_file = tmp_path / "b" / train.NETWORK
        train.main(flickr(flickr_root, tmp_path / "e", epochs=1, weights=tuned_file))
    with pytest.raises(ValueError, match="is attention on backbone, not nic on backbone"):
        train.main(flickr(flickr_root, tmp_path / "c", weights=start, model="nic"))
    with pytest.raises(ValueError, match=r"was built with .*'width': 8.* the flags ask for .*16"):
        train.main(flickr(flickr_root, tmp_path / "d", weights=start, width=16))


def test_a_file_from_before_an_option_existed_means_its_default(
    flickr_root: Path, tmp_path: Path
) -> None:
    train.main(flickr(flickr_root, tmp_path / "a", epochs=1))
    arrays, header = weights.load(tmp_path / "a" / train.NETWORK)
    stored = json.loads(header["options"])
    assert stored.pop("attend") == "before"
    old = tmp_path / "old.safetensors"
    weights.save(old, arrays, {**header, "options": json.dumps(stored)})
    train.main(flickr(flickr_root, tmp_path / "b", epochs=1, weights=old))
    with pytest.raises(ValueError, match=r"was built with {'attend': 'before'}, the flags .*after"):
        train.main(flickr(flickr_root, tmp_path / "c", weights=old, attend="after"))


def load_encoder_weights(path: Path) -> np.ndarray:
    return Captioner.load(path).net.eyes.state_dict()["features.0.weight"]


@pytest.mark.parametrize("recipe", ["scenes-attention", "flickr8k-nic"])
def test_a_stopped_training_goes_on_as_if_it_had_not(
    recipe: str, flickr_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def run(name: str, **changes: Any) -> None:
        settings: dict[str, Any] = {
            "scheduled_sampling": 0.5,
            "word_dropout": 0.2,
            "batch_size": 7,
            **changes,
        }
        if recipe.startswith("flickr"):
            train.main(flickr(flickr_root, tmp_path / name, model="nic", **settings))
        else:
            settings |= {"jitter": 0.5}
            train.main(options(recipe, tmp_path / name, encoder_width=4, **settings))

    run("whole")
    judged, calls = train.judge, []

    def stop(*args: Any, **settings: Any) -> Any:
        calls.append(args)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return judged(*args, **settings)

    with monkeypatch.context() as patch:
        patch.setattr(train, "judge", stop)
        with pytest.raises(KeyboardInterrupt):
            run("stopped")
    run("stopped", resume=True)
    lines = [read_metrics(tmp_path / name / "metrics.jsonl") for name in ("whole", "stopped")]
    courses = [[(one["loss"], one["val_loss"], one["val_BLEU-4"]) for one in run] for run in lines]
    assert courses[0] == courses[1] and len(courses[0]) == 2


def test_every_recipe_is_one_that_can_be_built() -> None:
    vocabulary = Vocabulary.of([["a", "red", "dog"]])
    words = np.array([vocabulary.encode(["a", "dog"])])
    for name, recipe in RECIPES.items():
        assert recipe.frozen == (recipe.data == "flickr8k"), name
        assert (recipe.augment != "none") == (not recipe.frozen), name
        captioner = Captioner.new(
            recipe.model,
            vocabulary,
            recipe.encoder,
            options=recipe.network_options(),
            encoder_options=recipe.encoder_options(),
            frozen=recipe.frozen,
            pretrained=False,
        )
        assert captioner.net.decoder.embedding.weight.shape[1] == recipe.width
        maps = np.zeros((1, captioner.net.eyes.channels, 2, 2), np.float16)
        assert captioner.net.eval()(maps, words).logits.shape == (1, 4, len(vocabulary)), name


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"dropout": 1.0}, "--dropout is 1.0"),
        ({"scheduled_sampling": 2.0}, "--scheduled-sampling is 2.0"),
        ({"average": 0.9}, "captioning keeps the weights of the best epoch"),
        ({"word_dropout": 1.0}, "--word-dropout is 1.0"),
        ({"jitter": 1.5}, "--jitter is 1.5"),
        ({"min_count": 0}, "--min-count is 0"),
        ({"even_attention": -1.0}, "--even-attention is -1.0"),
        ({"even_attention": float("nan")}, "--even-attention is nan"),
        ({"even_attention": float("inf")}, "--even-attention is inf"),
        ({"clip_norm": 0.0}, "--clip-norm is 0.0; expected more than 0, or None"),
        ({"clip_norm": float("nan")}, "--clip-norm is nan"),
        (
            {"model": "nic", "even_attention": 1.0},
            "--even-attention: nic has no attention",
        ),
        ({"model": "nic", "attend": "after"}, "--attend after: nic has no attention"),
        ({"image": "state"}, "--image state: only nic is shown it so"),
        ({"finetune": True}, "--finetune: the small encoder learns in any case"),
        ({"encoder": "backbone", "augment": "affine"}, "features of backbone are computed once"),
        (
            {"encoder": "backbone", "augment": "none", "jitter": 0.5},
            "--jitter: the features of backbone",
        ),
        (
            {"encoder": "backbone", "augment": "none", "jitter": 0.0, "views": 2},
            "--views is 2: the features of backbone are computed once; expected 1",
        ),
        ({"beam": 0}, "--beam is 0"),
        ({"beam": 1001}, "--beam is 1001; expected 1 to 1000"),
        ({"max_words": 0}, "--max-words is 0"),
        ({"length_penalty": -0.1}, "--length-penalty is -0.1; expected 0 to 10"),
        ({"length_penalty": 11.0}, "--length-penalty is 11.0"),
        ({"length_penalty": float("nan")}, "--length-penalty is nan"),
        ({"consensus": float("nan")}, "--consensus is nan"),
        ({"consensus": float("inf")}, "--consensus is inf"),
        ({"temperature": 1e-3}, "--temperature is 0.001; expected 0.01 to 100"),
        ({"temperature": float("inf")}, "--temperature is inf"),
        ({"temperature": float("nan")}, "--temperature is nan"),
        ({"top_k": 5}, "--top-k is 5"),
        ({"temperature": 0.0}, "--temperature is 0.0"),
        ({"count": 0}, "--count is 0"),
    ],
)
def test_options_out_of_range(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        options("scenes-attention", None, **changes)


def test_gradients_may_stay_as_long_as_they_are() -> None:
    assert options("scenes-attention", None, clip_norm=None).clip_norm is None


def test_baselines_look_a_sentence_up(flickr_root: Path) -> None:
    known = load("flickr8k", "train", data_root=flickr_root)
    # Of the fixture's sentences, 8, 10 and 6 times.
    assert most_common(known) == tokenize("a blue cat sits on the red sofa")
    rng = np.random.default_rng(0)
    features = rng.standard_normal((6, 4, 2, 2)).astype(np.float16)
    found = nearest(known, features, 3 * features[[4, 1]])
    sentences = list(known.sentences())
    assert found == [sentences[4][0], sentences[1][0]]


# ------------------------------------------------------------------------ a trained network


def test_a_file_gives_the_network_back(make_captioner: MakeCaptioner, tmp_path: Path) -> None:
    captioner = make_captioner(attention=5)
    captioner.save(tmp_path / "it.safetensors", metrics={"BLEU-4": 0.5}, seed=1)
    again = Captioner.load(tmp_path / "it.safetensors")
    inputs = np.random.default_rng(0).integers(0, 255, (3, 3, 32, 32)).astype(np.uint8)
    how = Decoding(beam=2, max_words=5)
    assert again.write(inputs, how) == captioner.write(inputs, how)
    assert (again.data, again.vocabulary) == ("toys", captioner.vocabulary)
    one = again.write(inputs, how)[0][0]
    attention = again.attention(inputs[:1], one)
    assert attention is not None and attention.shape == (len(one.words) + 1, 2, 2)
    assert make_captioner("nic").attention(inputs[:1], one) is None


def test_files_that_are_no_network(
    tmp_path: Path, weights_file: Path, make_captioner: MakeCaptioner
) -> None:
    arrays, header = weights.load(weights_file)
    broken = tmp_path / "broken.safetensors"
    cases = {
        "options": ("{", "broken header"),
        "encoder": ("eye", "encoder 'eye' is unknown"),
        "encoder_options": ('{"width": 1000000}', "width is 1000000, expected 2 to 256"),
        "classes": ('["a", "b"]', "a vocabulary begins with"),
        "architecture": ("gpt", "model 'gpt' is unknown"),
    }
    for key, (value, message) in cases.items():
        weights.save(broken, arrays, {**header, key: value})
        with pytest.raises(ValueError, match=rf"broken.safetensors.*{message}"):
            Captioner.load(broken)
    weights.save(broken, arrays, {k: v for k, v in header.items() if k != "frozen"})
    with pytest.raises(ValueError, match="is no captioning network: its header lacks 'frozen'"):
        Captioner.load(broken)
    arrays.pop("decoder.scores.bias")
    weights.save(broken, arrays, header)
    with pytest.raises(ValueError, match=r"lacks decoder.scores.bias"):
        Captioner.load(broken)
    with pytest.raises(FileNotFoundError, match="no weights for 'flickr8k' ship"):
        load_captioner("flickr8k")


def test_predict_prints_the_best_sentences(
    weights_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rng = np.random.default_rng(0)
    for name in ("one.png", "two.png"):
        save_image(tmp_path / "in" / name, rng.integers(0, 255, (40, 70, 3)).astype(np.uint8))
    (tmp_path / "in" / "bad.jpg").write_bytes(b"no picture")
    settings = predict.Options(
        pictures=(tmp_path / "in",), weights=weights_file, out=tmp_path / "out", beam=3, max_words=4
    )
    with pytest.raises(ValueError, match=r"bad\.jpg"):
        predict.main(settings)
    domain, *lines = capsys.readouterr().out.splitlines()
    assert domain.startswith("these weights know toys")
    assert len(lines) == 2
    for line in map(json.loads, lines):
        assert len(line["captions"]) == 3
        chances = [one["log_probability"] for one in line["captions"]]
        assert chances == sorted(chances, reverse=True) and chances[0] < 0
        assert Path(line["attention"]).stat().st_size > 0


def test_predict_draws_the_same_sentences_for_the_same_seed(
    weights_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    save_image(tmp_path / "one.png", np.full((40, 40, 3), 90, np.uint8))
    seen = []
    for seed in (1, 1, 2):
        predict.main(
            predict.Options(
                pictures=(tmp_path / "one.png",),
                weights=weights_file,
                out=tmp_path / "out",
                temperature=2.0,
                top_k=8,
                seed=seed,
            )
        )
        seen.append(capsys.readouterr().out)
    assert seen[0] == seen[1] != seen[2]


def test_search_tries_every_setting_on_the_validation_split(
    weights_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = search.Options(
        weights=weights_file,
        out=tmp_path / "out",
        beams=(1, 3),
        length_penalties=(0.0, 1.0),
        consensus=(6.0,),
    )
    summary = search.main(settings)
    assert summary["split"] == "val"
    tried = {(one["beam"], one["length_penalty"], one["consensus"]) for one in summary["tried"]}
    beams = {(3, penalty, consensus) for penalty in (0.0, 1.0) for consensus in (None, 6.0)}
    assert tried == {(1, 0.0, None), *beams}
    best = max(one["BLEU-4"] for one in summary["tried"])
    assert summary["best"]["BLEU-4"] == best
    assert "beam 3, length penalty 1.0, consensus 6.0: BLEU-1" in capsys.readouterr().out
    with pytest.raises(ValueError, match="--by 'SPICE' is none of BLEU-1"):
        search.main(search.Options(weights=weights_file, out=tmp_path / "b", by="SPICE"))
    with pytest.raises(ValueError, match="expected one or more of each"):
        search.Options(beams=())
    lists: list[tuple[dict[str, Any], str]] = [
        ({"beams": (3, 0)}, "--beam is 0"),
        ({"beams": (1, 2000)}, "--beam is 2000"),
        ({"length_penalties": (0.5, float("nan"))}, "--length-penalty is nan"),
        ({"length_penalties": (-1.0,), "beams": (1,)}, "--length-penalty is -1.0"),
        ({"consensus": (1.0, float("inf"))}, "--consensus is inf"),
        ({"consensus": (1.0,), "beams": (1,)}, "--consensus is 1.0"),
    ]
    for changes, message in lists:
        with pytest.raises(ValueError, match=message):
            search.Options(**changes)


def test_a_network_that_holds_nan_writes_nothing(weights_file: Path, tmp_path: Path) -> None:
    arrays, header = weights.load(weights_file)
    arrays["decoder.scores.bias"][3] = np.nan
    weights.save(tmp_path / "nan.safetensors", arrays, header)
    captioner = Captioner.load(tmp_path / "nan.safetensors")
    inputs = np.zeros((1, 3, 32, 32), np.uint8)
    for how in (Decoding(beam=1), Decoding(beam=3), Decoding(temperature=1.0)):
        with pytest.raises(ValueError, match=r"the next word has no probabilities.*hold NaN"):
            captioner.write(inputs, how)


def test_predict_does_not_overwrite_a_picture(weights_file: Path, tmp_path: Path) -> None:
    save_image(tmp_path / "x.png", np.full((40, 40, 3), 90, np.uint8))
    save_image(tmp_path / "x-attention.png", np.full((40, 40, 3), 90, np.uint8))
    pictures = (tmp_path / "x.png", tmp_path / "x-attention.png")
    with pytest.raises(ValueError, match=r"x-attention.png would be overwritten"):
        predict.main(predict.Options(pictures=pictures, weights=weights_file, out=tmp_path))
    with pytest.raises(ValueError, match="is a file; expected a folder"):
        predict.main(
            predict.Options(pictures=pictures, weights=weights_file, out=tmp_path / "x.png")
        )


def test_the_demo_trains(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    small = replace(RECIPES[demo.RECIPE], width=8, encoder_width=4, batch_size=6)
    monkeypatch.setattr(demo, "RECIPES", {demo.RECIPE: small})
    demo.main(demo.Options(train=True, epochs=1, count=3, out=tmp_path / "demo", device="cpu"))
    summary = json.loads((tmp_path / "demo" / "summary.json").read_text())
    assert summary["images"] == 3 and summary["all_right"] < 0.9


@pytest.mark.parametrize(
    "figures, count, own, missed",
    [
        ((0.90, 0.80), 100, False, False),
        ((0.89, 0.99), 100, False, True),
        ((0.99, 0.79), 100, False, True),
        ((0.0, 0.0), 99, False, False),
        ((0.0, 0.0), 100, True, False),
    ],
)
def test_the_demo_breaks_its_promise_only_when_it_counts(
    figures: tuple[float, float],
    count: int,
    own: bool,
    missed: bool,
    tmp_path: Path,
    weights_file: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    shown: list[int] = []

    def show(run: Any, captioner: Any, count: int) -> tuple[float, float]:
        shown.append(count)
        return figures

    monkeypatch.setattr(demo, "show", show)
    chosen = weights_file if own else None
    settings = demo.Options(count=count, out=tmp_path / "demo", weights=chosen, device="cpu")
    if missed:
        with pytest.raises(RuntimeError, match=r"the demo promises 0\.9 and 80%"):
            demo.main(settings)
    else:
        demo.main(settings)
    assert shown == [count]
