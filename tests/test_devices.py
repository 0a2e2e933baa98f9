"""A step of training and a prediction of each application where a GPU computes, as on the CPU."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import captioning.train
import core
from captioning.batches import Batch as Sentences
from captioning.captioner import Captioner, Decoding
from captioning.losses import WordLoss, with_own_words
from captioning.words import Vocabulary
from core import device as dev
from core import distil, models, nn, optim, precision, transfer
from core.data.dataset import ArrayDataset
from core.look import inside
from core.models.backbone import Backbone
from core.tape import no_grad
from core.tensor import Tensor
from core.training.step import TrainingStep
from core.training.trainer import classification
from core.training.transfer import replace_head
from dcgan import svm
from dcgan.artist import Artist, noise
from dcgan.recipes import Recipe
from dcgan.training import Duel
from detection.detector import Detector
from detection.network import RegionNet
from detection.recipe import Recipe as DetectionRecipe
from detection.regression import BoxRegressor
from detection.svm import SVM
from dqn.agent import Agent, values
from dqn.environments import Signature
from dqn.networks import Architecture, build
from dqn.replay import Batch as Transitions
from segmentation import networks
from segmentation.labels import DIGITS
from segmentation.segmenter import Segmenter
from segmentation.train import PixelLoss
from style_transfer import fast
from style_transfer.network import Network
from style_transfer.objective import Objective, Weights, tensor_of
from style_transfer.train import perceptual
from style_transfer.transform import TransformNet
from tests.core import fake_device

pytestmark = fake_device.needs_kernels

# The last of them is recorded.
STEPS = 3 if fake_device.ON_GPU else 2
Found = Mapping[str, Any]


@pytest.fixture(autouse=True)
def _a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    fake_device.as_cuda(monkeypatch)


def compare(run: Callable[[str], Found], rel: float = 2e-3) -> None:
    """What `run` finds on the CPU and on the GPU is the same; all of it lies on the host."""
    found = []
    for device in ("cpu", "cuda"):
        core.seed(0)
        found.append(run(device))
    host, card = found
    assert list(host) == list(card)
    for name, value in host.items():
        if isinstance(value, list):
            assert card[name] == value, name
            continue
        assert isinstance(card[name], float | np.ndarray), name
        atol = rel * float(np.abs(value).max())
        np.testing.assert_allclose(card[name], value, rel, atol, err_msg=name)


def trained(step: Callable[[Any], Mapping[str, float]], batch: Any) -> Found:
    """The figures of each of a few steps."""
    return {f"step {i} {k}": v for i in range(STEPS) for k, v in step(batch).items()}


def pixels(seed: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, shape, np.uint8)


def floats(seed: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(seed).random(shape, np.float32)


# --------------------------------------------------------------------------------------- core


def test_distillation() -> None:
    def run(device: str) -> Found:
        teacher = models.build("squeezenet1_0").eval().requires_grad_(False).to(device)
        student = Backbone(10, channels=(4, 4, 4, 4, 4), batch_norm=True)
        model = distil.Distillation(student).to(device)
        step = TrainingStep(model, optim.SGD(model.parameters(), 1e-3), distil.objective(teacher))
        return step((floats(0, 2, 3, 32, 32), np.array([1, 10])))

    compare(run)


def test_a_new_head_and_its_accuracy() -> None:
    def run(device: str) -> Found:
        model = Backbone(10, channels=(4, 4)).to(device)
        replace_head(model, 2)
        step = TrainingStep(model, optim.Adam(model.parameters()), classification, graph=True)
        found = trained(step, (floats(0, 4, 3, 16, 16), np.array([0, 1, 0, 1])))
        test = ArrayDataset(pixels(0, 6, 3, 16, 16), np.zeros(6, np.int64), ("a", "b"))
        return {**found, "accuracy": transfer.accuracy(model, test)}

    compare(run)


def test_few_bits() -> None:
    def run(device: str) -> Found:
        model = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(144, 10))
        images = ArrayDataset(pixels(0, 20, 1, 8, 8), np.arange(20) % 10, tuple("0123456789"))
        rows = precision._precisions(model.to(device), images, images)
        signs = precision.binary_network(64, 10, 16).to(device)
        step = TrainingStep(signs, optim.Adam(signs.parameters()), classification, graph=True)
        found = trained(step, (floats(0, 4, 1, 8, 8), np.arange(4)))
        return {**found, **{row.name: row.accuracy for row in rows}}

    compare(run)


def test_lenet5_of_1998() -> None:
    def run(device: str) -> Found:
        model = models.build("lenet5").to(device)
        step = TrainingStep(model, optim.SGD(model.parameters(), 1e-3), classification, graph=True)
        return trained(step, (floats(0, 4, 1, 28, 28), np.arange(4)))

    compare(run)


def test_googlenet_with_pictures_of_another_range() -> None:
    model = models.build("googlenet", num_classes=2, aux_logits=False, transform_input=True).eval()

    def run(device: str) -> Found:
        x = Tensor(dev.to_device(floats(0, 1, 3, 32, 32), device))
        with no_grad():
            return {"logits": model.to(device)(x).numpy()}

    compare(run)


def test_looking_into_a_network() -> None:
    def run(device: str) -> Found:
        model = Backbone(3, channels=(4, 4)).to(device)
        x = floats(0, 2, 3, 16, 16)
        crops = inside.strongest_crops(model, x, "relu2_1", 1)
        return {
            "maps": inside.feature_maps(model, x[0], ["relu1_2"])["relu1_2"],
            "heat": inside.grad_cam(model, x[0], "relu2_2", 1),
            "crops": [(c.picture, c.top, c.bottom, c.left, c.right) for c in crops],
            "pleased": inside.maximise(model, "relu2_1", 1, (3, 16, 16), steps=2),
        }

    compare(run)


# --------------------------------------------------------------------------------- captioning


@pytest.mark.parametrize(
    ("model", "options", "frozen"),
    [
        ("attention", {"attention": 4}, False),
        ("attention", {"attention": 4, "cell": "gru"}, True),
        ("attention", {"attention": 4, "attend": "after"}, True),
        ("nic", {"image": "state"}, False),
        ("nic", {"cell": "rnn"}, True),
    ],
)
def test_captioning(model: str, options: dict[str, Any], frozen: bool) -> None:
    sentences = [["a", "red", "dog"], ["two", "dogs", "run", "here"]]
    vocabulary = Vocabulary.of(sentences)
    encoded = [vocabulary.encode(words) for words in sentences]
    rng = np.random.default_rng

    def run(device: str) -> Found:
        captioner = Captioner.new(
            model,
            vocabulary,
            "small",
            options={"width": 4, "dropout": 0.0, **options},
            encoder_options={"width": 4, "size": 32},
            frozen=frozen,
            pretrained=False,
        )
        net = captioner.net.to(device)
        pictures = pixels(0, 2, 3, 32, 32)
        words = captioning.batches.padded([encoded[0], encoded[1], encoded[0]])
        batch = Sentences(words, np.array([0, 1, 1]), pictures, words[:, :-1])
        optimizer = optim.AdamW(net.parameters(), lr=0.01)
        forward = WordLoss(0.1, even_attention=0.5)

        def taught(net: nn.Module, batch: Any) -> tuple[Tensor, Found]:
            return forward(net, Sentences(*batch))

        step = TrainingStep(net, optimizer, taught, clip_norm=1.0, graph=True)
        found: dict[str, Any] = dict(trained(step, batch))
        read = with_own_words(net, batch, 0.5, rng(0)).read
        several = captioner.write(pictures, Decoding(beam=2, max_words=4))
        drawn = captioner.write(pictures, Decoding(temperature=1.0, max_words=4))
        attention = captioner.attention(pictures[:1], several[0][0])
        found |= {} if attention is None else {"attention": attention}
        return {
            **found,
            "read": read.tolist(),
            "written": [[str(one) for one in sentences] for sentences in (*several, *drawn)],
            "chances": np.array([one[0].log_probability for one in several]),
        }

    compare(run)


# -------------------------------------------------------------------------------------- dcgan


@pytest.mark.parametrize(
    "changes",
    [
        {"conditional": True, "average": 0.9, "label_smoothing": 0.1},
        {"spectral": True, "loss": "hinge"},
    ],
)
def test_dcgan(changes: dict[str, Any]) -> None:
    recipe = Recipe(size=8, width=4, latent=6, batch_size=8, lr=0.002, **changes)

    def run(device: str) -> Found:
        classes = 3 if recipe.conditional else 0
        options = {"size": 8, "channels": 1, "width": 4, "latent": 6, "classes": classes}
        artist = Artist.new({**options, "spectral": recipe.spectral}, classes=("a", "b", "c"))
        for network in artist.networks().values():
            network.to(device)
        loader: Any = SimpleNamespace()
        duel = Duel(artist=artist, loader=loader, recipe=recipe, seed=0, real_diversity=1.0)
        real, labels = 2 * floats(0, 8, 1, 8, 8) - 1, np.arange(8) % 3
        found = trained(lambda batch: duel.play(*batch), (real, labels))
        with duel.drawing():
            drawn = artist.draw(noise(4, 6, 0), artist.labels(4))
        found = {**found, "drawn": np.stack(drawn).astype(np.float32)}
        found["maps"] = artist.maps(pixels(0, 4, 1, 8, 8), artist.labels(4))[-1].numpy()
        if not classes:
            found["features"] = svm.discriminator_features(artist, pixels(0, 4, 1, 8, 8))
        return found

    compare(run, rel=0.02)


# ---------------------------------------------------------------------------------- detection


def test_detection() -> None:
    def run(device: str) -> Found:
        net = RegionNet(2, size=16, width=8).to(device)
        net.dropout.p = 0.0
        optimizer = optim.SGD(net.parameters(), lr=0.01, momentum=0.9, weight_decay=5e-4)
        step = TrainingStep(net, optimizer, classification, graph=True)
        found = trained(step, (floats(0, 4, 3, 16, 16), np.arange(4) % 3))
        box = np.zeros((2, net.pooled_size, 4), np.float32)
        detector = Detector(
            ("cat", "dog"),
            net,
            SVM(floats(1, 8, 2), np.zeros(2, np.float32)),
            BoxRegressor(box, np.zeros((2, 4), np.float32)),
            DetectionRecipe(crop=16, width=8),
        )
        proposals = np.array([[0, 0, 20, 20], [10, 4, 40, 30]], np.float32)
        looked = detector.look(pixels(0, 40, 48, 3), proposals)
        return {**found, "scores": looked.scores, "probabilities": looked.probabilities}

    compare(run)


# ------------------------------------------------------------------------------- segmentation


def test_segmentation() -> None:
    def run(device: str) -> Found:
        net = networks.build("unet", len(DIGITS.classes), width=4, depth=2).to(device)
        forward = PixelLoss(floats(1, len(DIGITS.classes)) + np.float32(0.5))
        step = TrainingStep(net, optim.SGD(net.parameters(), lr=0.01), forward, graph=True)
        labels = pixels(1, 2, 32, 32) % len(DIGITS.classes)
        labels[0, :4] = 255
        found = trained(step, (floats(0, 2, 3, 32, 32), labels))
        segmenter = Segmenter(net, DIGITS, "unet", scale=0.5)
        labelled = segmenter.predict(pixels(0, 40, 72, 3), tile=40, overlap=8)
        return {**found, "labels": labelled.astype(np.float32)}

    compare(run)


# ----------------------------------------------------------------------------- style transfer


def test_style_transfer() -> None:
    weights = Weights(
        content={"relu2_1": 1.0}, style={"relu1_1": 0.5, "relu2_1": 0.5}, tv_weight=1.0
    )
    regions = [np.eye(16, 20, dtype=np.float32), 1 - np.eye(16, 20, dtype=np.float32)]

    def run(device: str) -> Found:
        model = Backbone(2, channels=(4, 6)).eval().requires_grad_(False).to(device)
        seeing = Network("small", model, (0.5, 0.4, 0.5), (0.2, 0.2, 0.3), device)
        picture, *styles = (floats(seed, 16, 20, 3) for seed in range(3))
        seen = [(tensor_of(style), 1.0) for style in styles]
        found: dict[str, Any] = {}
        for name, parts in {"whole": [], "regions": regions}.items():
            objective = Objective(seeing, weights, tensor_of(picture), seen, parts)
            for _ in range(STEPS):
                losses, found[f"{name} slope"] = objective.evaluate(styles[0])
            found[name] = losses.total
        net = TransformNet(width=2, blocks=1).to(device)
        objective = Objective(seeing, weights, None, seen[:1])
        step = TrainingStep(
            net,
            optim.Adam(net.parameters()),
            lambda model, batch: perceptual(model, batch, objective),
            graph=True,
        )
        found |= trained(step, (floats(0, 2, 3, 16, 16),))
        painted = fast.paint(net, pixels(0, 16, 20, 3))
        return {**found, "painted": painted.astype(np.float32)}

    compare(run, rel=0.01)


# ---------------------------------------------------------------------------------------- dqn


@pytest.mark.parametrize("screen", [False, True])
def test_dqn(screen: bool) -> None:
    signature = (
        Signature((44, 44), 4, ("a", "b", "c")) if screen else Signature((4,), 1, ("a", "b"))
    )
    architecture = Architecture(width=2, hidden=(8, 8), dueling=screen, noisy=screen)
    n, actions = 4, len(signature.actions)

    def run(device: str) -> Found:
        online, target = (build(signature, architecture).to(device) for _ in range(2))
        optimizer: Any = optim.Adam(online.parameters(), lr=0.01, eps=1e-5)
        if not screen:
            optimizer = optim.RMSprop(online.parameters(), lr=0.01, alpha=0.95, centered=True)
        agent = Agent(online, target, optimizer, double=screen)
        found: dict[str, Any] = {}
        for i in range(STEPS):
            online.reset_noise()
            shape = (n, 4, 44, 44) if screen else (n, 4)
            states, following = (
                pixels(2 * i + k, *shape) if screen else floats(2 * i + k, *shape) for k in range(2)
            )
            batch = Transitions(
                states,
                np.arange(n) % actions,
                floats(i, n),
                np.array([0.9, 0, 0.9, 0.9], np.float32),
                following,
                np.arange(n),
                floats(i + 9, n) if screen else None,
            )
            learned = agent.learn(batch)
            found |= {f"{name} {i}": value for name, value in learned._asdict().items()}
            agent.update_target()
        return {**found, "values": values(online, states)}

    compare(run)


@fake_device.needs_strict
def test_a_recorded_step_asks_nothing_of_the_host() -> None:
    x = Tensor(dev.to_device(np.ones(3, np.float32), "cuda"))
    for ask in (
        lambda: x.sum().item(),
        lambda: x * Tensor(dev.to_device(np.ones(3, np.float32), "cuda")),
        lambda: x.data[x.data > 0],
        lambda: x.data.dot(x.data),
    ):
        run = fake_device._graphed(ask)
        run()
        with pytest.raises(RuntimeError, match="in a step that is recorded"):
            run()
