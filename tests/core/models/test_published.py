"""Trained networks by name: found, fetched, checked, loaded, and ready for raw pictures."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import MappingProxyType

import numpy as np
import pytest

import core
from core import Tensor, models, nn, no_grad
from core import functional as F
from core.data import embedded_digits, read_image, roots
from core.data.preprocess import Preprocessing
from core.io import weights
from core.io.weights import Card
from core.models.backbone import MEAN, STD, Backbone
from core.models.published import PUBLISHED
from core.training.evaluation import probabilities
from tests.core.io.pytorch_files import Stored, dictionary, legacy_file

TH = "resnet20-12fca82f.th"


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache, and nobody who publishes anything."""
    monkeypatch.delenv("OPENBOOK_DATA", raising=False)
    monkeypatch.setattr(roots, "_cache", lambda: tmp_path / "cache")
    nobody = {
        name: replace(source, urls=("http://127.0.0.1:9/",))
        for name, source in roots.SOURCES.items()
    }
    monkeypatch.setattr(roots, "SOURCES", MappingProxyType(nobody))
    return tmp_path / "cache"


def published_file(model: nn.Module) -> bytes:
    """A training's checkpoint of a network in a data-parallel wrapper, as its author wrote it."""
    state = {n: a for n, a in model.state_dict().items() if "num_batches" not in n}
    entries, storages = [], {}
    for number, (name, array) in enumerate(state.items()):
        contiguous = np.ascontiguousarray(array)
        steps = tuple(step // array.itemsize for step in contiguous.strides)
        stored = Stored(array.shape, steps, key=str(number), numel=array.size)
        entries.append((f"module.{name}", stored.pickled(legacy=True)))
        storages[str(number)] = (array.size, contiguous.tobytes())
    return legacy_file(dictionary([("state_dict", dictionary(entries))]), storages)


class _SilentHandler(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def mirror(tmp_path: Path) -> Iterator[tuple[str, Path]]:
    folder = tmp_path / "mirror"
    folder.mkdir()
    handler = partial(_SilentHandler, directory=str(folder))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/", folder
        server.shutdown()
        thread.join()


def publish(monkeypatch: pytest.MonkeyPatch, url: str, digits: str) -> None:
    files = (roots.RemoteFile(TH, digits),)
    source = replace(roots.SOURCES["cifar-resnets"], urls=(url,), files=files)
    sources = {**roots.SOURCES, "cifar-resnets": source}
    monkeypatch.setattr(roots, "SOURCES", MappingProxyType(sources))


def test_a_published_network_is_fetched_once_and_ready(
    mirror: tuple[str, Path], cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url, folder = mirror
    core.seed(0)
    original = models.build("cifar_resnet20").eval()
    content = published_file(original)
    (folder / TH).write_bytes(content)
    publish(monkeypatch, url, hashlib.sha256(content).hexdigest()[:8])
    found = models.pretrained("resnet20_cifar10")
    assert (cache / "pretrained" / TH).read_bytes() == content
    assert not found.model.training
    assert found.card.architecture == "cifar_resnet20"
    assert found.classes[:2] == ("airplane", "automobile") and found.synsets == ()
    x = found.transform(np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8))
    with no_grad():
        np.testing.assert_array_equal(found.model(Tensor(x)).numpy(), original(Tensor(x)).numpy())
    (folder / TH).unlink()
    models.pretrained("resnet20_cifar10")


def test_another_file_than_the_published_one_is_refused(
    mirror: tuple[str, Path], cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url, folder = mirror
    (folder / TH).write_bytes(b"something else")
    publish(monkeypatch, url, "12fca82f")
    with pytest.raises(FileNotFoundError, match=rf"{TH} has a wrong sha256 and was deleted"):
        models.pretrained("resnet20_cifar10")
    assert list((cache / "pretrained").iterdir()) == []


def test_so_it_is_when_it_lies_there_already(tmp_path: Path) -> None:
    path = tmp_path / "pretrained" / TH
    path.parent.mkdir()
    path.write_bytes(published_file(models.build("cifar_resnet20")))
    message = rf"{TH}: its sha256 does not begin with 12fca82f, as the published one's"
    with pytest.raises(ValueError, match=message):
        models.pretrained("resnet20_cifar10", data_root=tmp_path)
    with pytest.raises(ValueError, match=message):
        models.load_pretrained(path)
    renamed = path.rename(path.with_name("resnet20_cifar10.th"))
    assert models.load_pretrained(renamed, architecture="cifar_resnet20").name == "resnet20_cifar10"


def test_without_a_network_one_line_says_which_file_where_and_whence(
    tmp_path: Path, cache: Path
) -> None:
    with pytest.raises(FileNotFoundError) as caught:
        models.pretrained("vgg16", data_root=tmp_path)
    line = str(caught.value)
    assert line.startswith(f"torchvision: missing vgg16-397923af.pth; looked in {tmp_path}")
    assert str(cache / "pretrained") in line and "published at http" in line
    assert "\n" not in line


def test_every_published_network_can_be_asked_for_and_built() -> None:
    names = models.pretrained_names()
    assert {"digits", "alexnet", "vgg16", "vgg19_bn", "resnet50", "resnet110_cifar10"} <= set(names)
    for name, entry in PUBLISHED.items():
        assert entry.architecture in models.NAMES
        with pytest.raises(FileNotFoundError, match="published at"):
            models.pretrained(name)
    with pytest.raises(ValueError, match=r"'vgg' is unknown; expected one of .*digits, alexnet"):
        models.pretrained("vgg")


def test_a_safetensors_file_under_the_data_root_is_taken_first(tmp_path: Path) -> None:
    path = tmp_path / "pretrained" / "resnet32_cifar10.safetensors"
    weights.save(path, models.build("cifar_resnet32").state_dict())
    found = models.pretrained("resnet32_cifar10", data_root=tmp_path)
    assert found.card.architecture == "cifar_resnet32"
    assert found.transform.mean == (0.485, 0.456, 0.406)


def test_imagenet_s_classes_are_numbers_where_their_names_are_missing(tmp_path: Path) -> None:
    folder = tmp_path / "pretrained"
    with nn.init.skip_draws():
        state = models.build("squeezenet1_1").state_dict()
    weights.save(folder / "squeezenet1_1.safetensors", state)
    found = models.pretrained("squeezenet1_1", data_root=tmp_path)
    assert found.classes[281] == "class 281" and found.synsets == ()
    lines = [f"n{number:08d} thing {number}, object" for number in range(1000)]
    (folder / "synset_words.txt").write_text("\n".join(lines) + "\n")
    found = models.pretrained("squeezenet1_1", data_root=tmp_path)
    assert found.classes[281] == "thing 281, object" and found.synsets[7] == "n00000007"
    assert (found.transform.size, found.transform.resize) == (224, 256)
    (folder / "synset_words.txt").write_text("n00000000 thing\n")
    with pytest.raises(ValueError, match=r"synset_words\.txt: 1 classes, expected 1000"):
        models.pretrained("squeezenet1_1", data_root=tmp_path)


def test_a_file_of_ours_says_what_it_is(tmp_path: Path) -> None:
    path = tmp_path / "mine.safetensors"
    model = models.SimpleConvNet(image_size=8, padding=2, num_classes=2)
    extra = {"options": json.dumps({"padding": 2})}
    card = Card(architecture="simple_convnet", classes=("a", "b"), data="digits", extra=extra)
    weights.save_model(model, path, card)
    found = models.load_pretrained(path)
    assert found.classes == ("a", "b") and found.name == "mine"
    assert found.transform == Preprocessing(size=8, resize=8, ink=True)
    other = Preprocessing(size=8, resize=9, mean=(0.1,), std=(0.3,))
    card = replace(card, data="elsewhere", extra={**extra, **other.header()})
    weights.save_model(model, path, card)
    assert models.load_pretrained(path).transform == other


def test_our_own_backbone_says_what_it_takes(tmp_path: Path) -> None:
    path = tmp_path / "backbone.safetensors"
    seen = Preprocessing(size=64, resize=64, mean=MEAN, std=STD).header()
    card = Card(architecture="backbone", classes=("a", "b"), data="several", extra=seen)
    weights.save_model(Backbone(2), path, card)
    found = models.load_pretrained(path)
    assert isinstance(found.model, Backbone)
    assert (found.transform.size, found.transform.mean[0]) == (64, 0.485)


@pytest.mark.parametrize(
    "card, reason",
    [
        (Card(), "does not say which network it is"),
        (Card(architecture="simple_convnet"), "does not say which classes it knows"),
        (Card(architecture="simple_convnet", classes=("a",)), "what its pictures look like"),
        (Card(architecture="vgg3", classes=("a",), data="mnist"), "model 'vgg3' is unknown"),
        (
            Card(
                architecture="mlp",
                classes=("a",),
                data="mnist",
                extra={"options": '{"depth": 3}'},
            ),
            "depth",
        ),
        (
            Card(architecture="mlp", classes=("a",), data="mnist", extra={"options": "[" * 9999}),
            "recursion",
        ),
        (Card(architecture="mlp", classes=("a",), data="mnist"), "does not fit MLP"),
    ],
)
def test_a_file_that_is_not_enough_is_named(card: Card, reason: str, tmp_path: Path) -> None:
    path = tmp_path / "odd.safetensors"
    weights.save_model(nn.Linear(2, 2), path, card)
    with pytest.raises(ValueError, match=reason) as caught:
        models.load_pretrained(path)
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)


def test_the_network_of_a_file_without_a_card_can_be_named(tmp_path: Path) -> None:
    path = tmp_path / "epoch7.safetensors"
    weights.save(path, models.build("cifar_resnet20").state_dict())
    with pytest.raises(ValueError, match="which network it is"):
        models.load_pretrained(path)
    assert models.load_pretrained(path, architecture="cifar_resnet20").classes[-1] == "truck"


def test_the_shipped_digits_network_reads_writing_of_any_size() -> None:
    network = models.pretrained("digits")
    test = embedded_digits("test")
    # Large, dark on light, in a corner: nothing like the pictures that it learned from.
    pictures = []
    for image in test.images[:60, 0]:
        page = np.full((300, 240), 255, np.uint8)
        page[20:148, 90:218] = 255 - np.kron(image, np.ones((16, 16), np.uint8))
        pictures.append(page)
    predicted = probabilities(network, pictures).argmax(axis=1)
    assert (predicted == test.labels[:60]).mean() > 0.8


@pytest.mark.data
@pytest.mark.parametrize(
    "picture, expected",
    [
        ("chelsea", {"Egyptian cat": 0.570, "tabby, tabby cat": 0.299, "tiger cat": 0.066}),
        ("coffee", {"chocolate sauce, chocolate syrup": 0.675, "espresso": 0.231}),
        ("rocket", {"missile": 0.382, "space shuttle": 0.223}),
    ],
)
def test_squeezenet_sees_what_is_there(
    picture: str, expected: dict[str, float], data_root: Path
) -> None:
    network = models.pretrained("squeezenet1_0", data_root=data_root)
    raw = read_image(data_root / "style" / "content" / f"{picture}.jpg")
    x = replace(network.transform, resize=None)(raw)  # the central 224 pixels, not scaled
    with no_grad():
        said = F.softmax(network.model(Tensor(x)), 1).numpy()[0]
    order = np.argsort(-said)
    assert [network.classes[i] for i in order[: len(expected)]] == list(expected)
    for i, probability in zip(order, expected.values(), strict=False):
        assert said[i] == pytest.approx(probability, abs=0.0006)
    whole = probabilities(network, [raw])[0]
    if picture == "chelsea":
        assert network.classes[whole.argmax()] == "Egyptian cat" and whole.max() > 0.6
    if picture == "coffee":
        assert network.classes[whole.argmax()] == "espresso" and whole.max() > 0.8
