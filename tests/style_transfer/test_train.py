"""Training the fast form end to end, in small: it learns, stops when it should, and resumes."""

import json
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from core.data.images import read_image, save_image
from core.io.weights import load as load_arrays
from core.training.run import read_metrics
from style_transfer import train, transform
from style_transfer.train import STYLE, Options, main
from tests.style_transfer.conftest import picture


@pytest.fixture
def quick(weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    monkeypatch.setattr(train, "STEPS_PER_EPOCH", 4)
    monkeypatch.setattr(train, "photographs", lambda *splits: [picture(5), picture(6, 60, 48)])
    for name in ("curves", "save"):
        monkeypatch.setattr(f"core.viz.{name}", lambda *args, **options: None)
    for number in range(3):
        save_image(tmp_path / f"data/{number}.png", picture(number))
    (tmp_path / "data/broken.jpg").write_bytes(b"no picture")
    save_image(tmp_path / "style.png", picture(9))
    return {
        "style": tmp_path / "style.png",
        "data": (str(tmp_path / "data"),),
        "weights": weights,
        "size": 32,
        "style_size": 48,
        "width": 4,
        "blocks": 1,
        "batch_size": 2,
        "epochs": 3,
        "lr": 0.01,
        "out": tmp_path / "out",
    }


def test_it_learns_and_leaves_everything_in_its_folder(quick: dict[str, Any]) -> None:
    main(Options(**quick))
    out = quick["out"]
    metrics = read_metrics(out / "metrics.jsonl")
    assert [line["epoch"] for line in metrics] == [1, 2, 3]
    assert metrics[-1]["val_loss"] < metrics[0]["val_loss"]
    summary = json.loads((out / "summary.json").read_text())
    assert summary["style"] == "style" and summary["skipped pictures"] == 1
    assert summary["val_loss"] == min(line["val_loss"] for line in metrics)
    assert sorted(path.name for path in (out / "samples").iterdir()) == [
        f"00{number}.jpg" for number in (1, 2, 3)
    ]
    assert read_image(out / "samples/001.jpg").shape == (64, 128, 3)
    net, style = transform.load(out / STYLE)
    assert (net.width, net.blocks, style) == (4, 1, "style")
    arrays, header = load_arrays(out / STYLE)
    assert all(array.dtype == np.float16 for array in arrays.values())
    assert header["data"] == "data"


def test_ctrl_c_and_resume_give_the_same_network(
    quick: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    main(Options(**quick))
    perceptual, calls = train.perceptual, []

    def stop_at_six(*args: Any) -> Any:
        calls.append(1)
        if len(calls) == 6:
            signal.raise_signal(signal.SIGINT)
        return perceptual(*args)

    stopped = quick | {"out": tmp_path / "stopped"}
    with monkeypatch.context() as patch:
        patch.setattr(train, "perceptual", stop_at_six)
        with pytest.raises(KeyboardInterrupt):
            main(Options(**stopped))
    with pytest.raises(ValueError, match="holds an unfinished training"):
        main(Options(**stopped))
    main(Options(resume=True, **stopped))
    whole, resumed = (load_arrays(folder / STYLE) for folder in (quick["out"], stopped["out"]))
    assert whole[1] == resumed[1]
    for name, array in whole[0].items():
        np.testing.assert_array_equal(array, resumed[0][name], err_msg=name)


def test_what_is_refused_leaves_no_folder(quick: dict[str, Any], tmp_path: Path) -> None:
    for change, reason in (
        ({"style": tmp_path / "no.png"}, r"no\.png: no such picture"),
        ({"data": (str(tmp_path / "no"),)}, "no such folder"),
        ({"size": 16}, "--size is 16; expected 32 or more"),
        ({"blocks": 0}, "--blocks is 0"),
        ({"epochs": 0}, "--epochs is 0"),
        ({"style_weight": -1.0}, "--style-weight is -1"),
        ({"style_layers": ("relu9",)}, "Backbone has no layer 'relu9'"),
    ):
        with pytest.raises((ValueError, FileNotFoundError), match=reason):
            main(Options(**(quick | change)))
        assert not quick["out"].exists()
