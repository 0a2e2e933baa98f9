"""The book's networks: shapes, parameter counts, memory for a handful, the published weights."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import core
from core import Tensor, models, nn, no_grad, optim
from core import functional as F
from core.data import mnist
from core.models import book
from core.models.initialise import he_normal, xavier_normal
from core.training.classifier import predict, to_network

BOOK = {"simple_convnet": 433_890, "deep_convnet": 123_552, "mlp": 45_360}


@pytest.mark.parametrize("name", BOOK)
def test_the_books_networks(name: str) -> None:
    model = models.build(name)
    assert model.num_parameters() == BOOK[name]
    assert model(Tensor(np.zeros((2, 1, 28, 28), np.float32))).shape == (2, 10)


@pytest.mark.parametrize("name", BOOK)
@pytest.mark.parametrize("channels, size, classes", [(3, 32, 10), (1, 8, 10), (3, 33, 4)])
def test_other_pictures(name: str, channels: int, size: int, classes: int) -> None:
    model = models.build(name, in_channels=channels, image_size=size, num_classes=classes)
    x = Tensor(np.zeros((2, channels, size, size), np.float32))
    assert model(x).shape == (2, classes)


@pytest.mark.parametrize("name", BOOK)
def test_a_handful_is_memorised(name: str) -> None:
    core.seed(0)
    rng = np.random.default_rng(0)
    images = rng.random((8, 1, 12, 12)).astype(np.float32)
    labels = rng.permutation(8)
    model = models.build(name, image_size=12)
    optimizer = optim.Adam(model.parameters(), lr=0.01)
    for _ in range(100):
        loss = F.cross_entropy(model(Tensor(images)), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    model.eval()
    with no_grad():
        assert (model(Tensor(images)).numpy().argmax(axis=1) == labels).all()


def test_only_the_deep_one_drops_out_and_not_after_its_last_layer() -> None:
    model = models.DeepConvNet()
    kinds = [type(layer) for layer in model.classifier]
    assert kinds == [nn.Linear, nn.ReLU, nn.Dropout, nn.Linear]


def test_how_they_start() -> None:
    core.seed(0)
    deep, mlp = models.DeepConvNet(), models.MLP()
    weight = deep.features[2].weight.numpy()
    assert weight.std() == pytest.approx(np.sqrt(2 / (16 * 9)), rel=0.05)
    assert mlp.layers[0].weight.numpy().std() == pytest.approx(np.sqrt(2 / 834), rel=0.02)
    for model in (deep, mlp):
        assert all(not p.numpy().any() for n, p in model.named_parameters() if "bias" in n)
    small = models.SimpleConvNet(weight_std=0.01)
    assert small.classifier[0].weight.numpy().std() == pytest.approx(0.01, rel=0.02)
    layer = nn.Linear(3, 4, bias=False)
    he_normal(layer)
    xavier_normal(layer)


def test_senseless_networks_are_refused() -> None:
    with pytest.raises(ValueError, match="pictures of 5 pixels are too small"):
        models.SimpleConvNet(image_size=5)
    with pytest.raises(ValueError, match="pictures of 3 pixels"):
        models.DeepConvNet(image_size=3)


def books_arrays(name: str) -> dict[str, np.ndarray]:
    """Arrays as the book would publish them for a network, with known numbers."""
    rng = np.random.default_rng(1)
    arrays: dict[str, np.ndarray] = {}
    for key, array in models.build(name).state_dict().items():
        number = len(arrays) // 2 + 1
        shape = array.shape[::-1] if array.ndim == 2 else array.shape
        arrays[f"{'W' if key.endswith('weight') else 'b'}{number}"] = rng.normal(size=shape)
    return arrays


@pytest.mark.parametrize("name", BOOK)
def test_converted_arrays_fit_and_are_where_they_belong(name: str) -> None:
    arrays = books_arrays(name)
    model = models.build(name)
    model.load_state_dict(book.convert(arrays, dropout_factor=1))
    first, last = (list(model.parameters())[i].numpy() for i in (0, -2))
    expected = arrays["W1"] if arrays["W1"].ndim == 4 else arrays["W1"].T
    np.testing.assert_array_equal(first, expected.astype(np.float32))
    np.testing.assert_array_equal(last, arrays[f"W{len(arrays) // 2}"].T.astype(np.float32))


def test_the_dropout_factor_scales_what_goes_into_the_last_layer_and_out_of_it() -> None:
    arrays = books_arrays("deep_convnet")
    plain, halved = models.DeepConvNet().eval(), models.DeepConvNet().eval()
    plain.load_state_dict(book.convert(arrays, dropout_factor=1))
    halved.load_state_dict(book.convert(arrays))
    x = Tensor(np.random.default_rng(2).random((2, 1, 28, 28)).astype(np.float32))
    with no_grad():
        hidden = F.relu(plain.classifier[0](plain.features(x).flatten(1)))
        expected = plain.classifier[3](hidden * 0.5) * 0.5
        np.testing.assert_allclose(halved(x).numpy(), expected.numpy(), rtol=1e-5)


@pytest.mark.parametrize(
    "arrays",
    [
        {},
        {"W1": np.zeros((2, 2))},
        {**books_arrays("mlp"), "W4": np.zeros((2, 2))},
        {**books_arrays("simple_convnet"), "W1": np.zeros(3)},
    ],
)
def test_other_arrays_are_refused(arrays: dict[str, np.ndarray]) -> None:
    with pytest.raises(ValueError, match="these are no parameters of the book"):
        book.convert(arrays)


@pytest.mark.data
@pytest.mark.slow
@pytest.mark.parametrize(
    "name, file, right",
    [
        ("simple_convnet", "params.npz", 9890),
        ("mlp", "sample_weight.npz", 9352),
    ],
)
def test_the_books_parameters_score_what_the_book_says(
    name: str, file: str, right: int, data_root: Path
) -> None:
    test = mnist("test", data_root)
    model = models.build(name)
    with np.load(data_root / "book" / file, allow_pickle=False) as arrays:
        model.load_state_dict(book.convert(arrays))
    predicted = predict(model, test.images).argmax(axis=1)
    assert int((predicted == test.labels).sum()) == right


@pytest.mark.data
@pytest.mark.slow
def test_the_books_deep_parameters_with_and_without_their_factor(data_root: Path) -> None:
    test = mnist("test", data_root)
    with np.load(data_root / "book" / "deep_convnet_params.npz", allow_pickle=False) as arrays:
        states = [book.convert(arrays, dropout_factor=factor) for factor in (0.5, 1.0)]
    model = models.DeepConvNet().eval()
    model.load_state_dict(states[0])
    with no_grad():
        # The factor changes the last layer alone: the costly part is computed once.
        features = np.concatenate(
            [
                model.features(Tensor(to_network(test.images[i : i + 200]))).numpy()
                for i in range(0, len(test), 200)
            ]
        )
        right = []
        for state in states:
            model.load_state_dict(state)
            logits = model.classifier(Tensor(features).flatten(1)).numpy()
            right.append(int((logits.argmax(axis=1) == test.labels).sum()))
    assert right == [9935, 9938]
