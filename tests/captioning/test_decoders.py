"""Decoders: shapes, published sizes, what they learn, and PyTorch's results."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

import core
from captioning.batches import Batch
from captioning.captioner import Captioner
from captioning.decoders import NAMES, NIC, Decoder, SoftAttention, build
from captioning.encoders import build as build_encoder
from captioning.encoders import class_of, trained
from captioning.losses import WordLoss, with_own_words
from captioning.train import completed
from captioning.words import BEGIN, END, PAD, SPECIAL, Vocabulary
from core import Tensor, nn, optim
from core import functional as F
from core.models.backbone import normalised

VOCABULARY = 30


def features(count: int = 3, channels: int = 6, seed: int = 0) -> Tensor:
    rng = np.random.default_rng(seed)
    return Tensor(rng.standard_normal((count, channels, 3, 4), np.float32))


def sentences(count: int = 3, length: int = 7, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    words = rng.integers(len(SPECIAL), VOCABULARY, (count, length))
    words[:, 0], words[:, -1] = BEGIN, END
    return words


def make(name: str, **options: Any) -> Decoder:
    core.seed(0)
    return build(name, VOCABULARY, channels=6, **{"width": 8, **options})


KINDS = [
    *[("nic", {"cell": cell, "image": image})
      for cell in ("lstm", "gru", "rnn") for image in ("input", "state")],
    *[("attention", {"cell": cell, "attend": attend})
      for cell in ("lstm", "gru", "rnn") for attend in ("before", "after")],
]  # fmt: skip


@pytest.mark.parametrize("name, options", KINDS)
def test_word_by_word_is_the_same_as_all_at_once(name: str, options: dict[str, Any]) -> None:
    net, seen, words = make(name, **options).eval(), features(), sentences()
    assert isinstance(net, Decoder)
    with core.no_grad():
        written = net(seen, words)
        assert written.logits.shape == (3, 7, VOCABULARY)
        memory, state = net.look(seen), net.first(seen)
        for t in range(words.shape[1]):
            logits, state, attention = net.step(words[:, t], state, memory)
            np.testing.assert_allclose(
                logits.numpy(), written.logits.numpy()[:, t], rtol=1e-4, atol=1e-5
            )
            if attention is not None:
                assert written.attention is not None
                np.testing.assert_allclose(
                    attention.numpy(), written.attention.numpy()[:, t], rtol=1e-4, atol=1e-6
                )


@pytest.mark.parametrize("name", NAMES)
def test_every_sentence_sees_its_own_picture(name: str) -> None:
    net = make(name).eval()
    seen, owner, words = features(), np.array([2, 0, 2, 1]), sentences(4)
    with core.no_grad():
        shared = net(seen, words, owner).logits.numpy()
        repeated = net(Tensor(seen.numpy()[owner]), words).logits.numpy()
        other = net(Tensor(0 * seen.numpy()[owner]), words).logits.numpy()
    np.testing.assert_allclose(shared, repeated, rtol=1e-4, atol=1e-5)
    assert np.abs(shared - other).max() > 1e-3


def test_what_is_seen_is_not_wider_than_the_state() -> None:
    core.seed(0)
    wide = build("attention", 100, channels=64, width=16, attention=8)
    parts = {
        "embedding, scores": 100 * 16 + (16 + 1) * 100,
        "first state": (64 + 1) * 32,
        "f_att": (64 + 1) * 8 + 16 * 8 + 8,
        "narrow, gate": 64 * 16 + 16 + 1,
        "lstm": 4 * 16 * (16 + 16 + 16 + 2),
        "deep output": (16 + 1) * 16 + 16 * 16,
    }
    assert wide.num_parameters() == sum(parts.values())
    assert wide(features(2, 64), sentences(2)).logits.shape == (2, 7, 100)


def test_class_scores_are_those_of_the_classifier() -> None:
    core.seed(0)
    encoder = build_encoder("squeezenet1_0", class_scores=True, grid=3).eval()
    whole = core.models.build("squeezenet1_0").eval()
    state = {n.replace("classifier.", "scorer."): a for n, a in whole.state_dict().items()}
    encoder.load_state_dict(state)
    picture = np.random.default_rng(0).integers(0, 255, (1, 3, 224, 224)).astype(np.uint8)
    with core.no_grad():
        maps = encoder(picture)
        x = normalised(picture.astype(np.float32) / np.float32(255))
        logits = whole(Tensor(x)).numpy()
    assert maps.shape == (1, 1512, 3, 3) and encoder.channels == 1512
    # 13 places fall into three parts of five, which overlap by one: their mean is close to all's.
    np.testing.assert_allclose(maps.numpy()[:, 512:].mean((2, 3)), logits, rtol=0.2, atol=0.3)
    with pytest.raises(ValueError, match="backbone does not score classes at every place"):
        build_encoder("backbone", class_scores=True)


def test_the_small_encoder_has_a_place_every_16_pixels() -> None:
    pictures = np.random.default_rng(0).integers(0, 255, (2, 3, 64, 64)).astype(np.uint8)
    encoder = build_encoder("small", width=4, size=64)
    assert encoder(pictures).shape == (2, encoder.channels, 4, 4) == (2, 16, 4, 4)


def test_attention_is_a_share_of_every_place() -> None:
    net = make("attention").eval()
    with core.no_grad():
        attention = net(features(), sentences()).attention
    assert attention is not None
    assert attention.shape == (3, 7, 12)
    np.testing.assert_allclose(attention.numpy().sum(axis=2), 1, rtol=1e-5)
    assert attention.numpy().min() > 0


@pytest.mark.parametrize("attend, asked_with", [("before", 3), ("after", 2)])
def test_where_to_look_is_asked_before_or_after_the_word(attend: str, asked_with: int) -> None:
    net, seen, words = make("attention", attend=attend).eval(), features(1), sentences(1)
    other = words.copy()
    other[0, 2] = words[0, 2] % (VOCABULARY - 5) + 5
    with core.no_grad():
        first, second = (net(seen, several).attention.numpy()[0] for several in (words, other))
    moved = np.abs(first - second).max(axis=1)
    # Word 2 tells first what is looked at with word 2 itself, or with the next.
    assert moved[:asked_with].max() == 0
    assert moved[asked_with] > 1e-5


def test_sizes_are_those_of_the_papers_layers() -> None:
    nic = build("nic", 1000, channels=2048, width=512)
    # Embedding, picture, LSTM (with PyTorch's two biases), scores.
    expected = 1000 * 512 + (2048 + 1) * 512 + 4 * 512 * (512 + 512 + 2) + (512 + 1) * 1000
    assert nic.num_parameters() == expected
    small = build("attention", 100, channels=20, width=16, attention=8)
    parts = {
        "embedding, scores": 100 * 16 + (16 + 1) * 100,
        "first state": (20 + 1) * 32,
        "f_att": (20 + 1) * 8 + 16 * 8 + 8,
        "gate": 16 + 1,
        "lstm": 4 * 16 * (16 + 20 + 16 + 2),
        "deep output": (16 + 1) * 16 + 20 * 16,
    }
    assert small.num_parameters() == sum(parts.values())


def batch(pictures: int = 4, each: int = 2) -> Batch:
    words = sentences(pictures * each)
    words[1, 4:] = [END, PAD, PAD]
    owner = np.repeat(np.arange(pictures), each)
    inputs = features(pictures).numpy().astype(np.float16)
    return Batch(words, owner, inputs, words[:, :-1])


def captioner(name: str, **options: Any) -> Captioner:
    core.seed(0)
    words = Vocabulary((*SPECIAL, *(f"w{n}" for n in range(VOCABULARY - len(SPECIAL)))))
    made = Captioner.new(
        name,
        words,
        "small",
        options={"width": 64, "dropout": 0.0, **options},
        encoder_options={"width": 2, "size": 32},
        frozen=True,
        pretrained=False,
    )
    made.net.decoder = build(name, VOCABULARY, channels=6, width=64, dropout=0.0, **options)
    return made


@pytest.mark.parametrize("name, options", KINDS)
def test_the_first_loss_is_log_vocabulary(name: str, options: dict[str, Any]) -> None:
    core.seed(0)
    net = build(name, 2540, channels=6, **options)
    rng = np.random.default_rng(0)
    words = rng.integers(4, 2540, (32, 12))
    owner = np.arange(32)
    made = captioner("nic")
    made.net.decoder = net
    toys = Batch(words, owner, features(32).numpy(), words[:, :-1])
    loss, _ = WordLoss()(made.net, toys)
    assert loss.item() == pytest.approx(math.log(2540), rel=0.02)


@pytest.mark.parametrize("name, options", KINDS)
def test_a_toy_batch_is_memorised_in_30_steps(name: str, options: dict[str, Any]) -> None:
    made, toys = captioner(name, **options), batch(pictures=4, each=1)
    optimizer = optim.Adam(made.net.parameters(), lr=0.02)
    for _ in range(30):
        loss, _ = WordLoss()(made.net, toys)
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(made.net.parameters(), 5.0)
        optimizer.step()
    assert WordLoss()(made.net, toys)[0].item() < 0.1
    truth = [made.vocabulary.decode(row) for row in toys.words]
    assert [list(found[0].words) for found in made.write(toys.inputs)] == truth


def test_what_comes_after_the_end_teaches_nothing() -> None:
    made, toys = captioner("attention"), batch()
    target = toys.words[:, 1:]
    loss, _ = _taught(made, toys)
    logits = made.net(toys.inputs, toys.read, toys.owner).logits
    chances = F.log_softmax(logits, 2).numpy()
    own = [chances[i, t, target[i, t]] for i, t in np.argwhere(target != PAD)]
    assert loss == pytest.approx(-np.mean(own), rel=1e-5)
    read = np.where(target == PAD, 9, toys.read)
    assert (read != toys.read).sum() == 2
    for even in (0.0, 0.5):
        loss, learned = _taught(made, toys, even)
        again, same = _taught(made, toys._replace(read=read), even)
        assert again == pytest.approx(loss, rel=1e-6)
        for one, other in zip(learned, same, strict=True):
            np.testing.assert_allclose(other, one, rtol=1e-4, atol=1e-6)
        # What is read before the end does teach.
        assert _taught(made, toys._replace(read=toys.read[::-1]), even)[0] != pytest.approx(loss)


def _taught(made: Captioner, toys: Batch, even: float = 0.0) -> tuple[float, list[np.ndarray]]:
    """The loss of a batch, and the decoder's gradients."""
    parameters = list(made.net.decoder.parameters())
    loss, _ = WordLoss(even_attention=even)(made.net, toys)
    return loss.item(), [gradient.numpy() for gradient in core.grad(loss, parameters)]


def test_even_attention_is_equation_14_of_xu_et_al() -> None:
    made, toys = captioner("attention"), batch()
    plain, _ = WordLoss()(made.net, toys)
    even, _ = WordLoss(even_attention=0.5)(made.net, toys)
    weights = made.net(toys.inputs, toys.words[:, :-1], toys.owner).attention
    assert weights is not None
    mask = (toys.words[:, 1:] != PAD)[:, :, None]
    seen = (weights.numpy() * mask).sum(axis=1)
    expected = 0.5 * ((1 - seen) ** 2).sum(axis=1).mean()
    assert even.item() - plain.item() == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("name", NAMES)
def test_scheduled_sampling_reads_own_words_by_its_share(name: str) -> None:
    made, toys = captioner(name), batch(pictures=20, each=10)
    truth = toys.words[:, :-1]
    untouched = np.isin(truth, (BEGIN, END, PAD))
    for share in (0.0, 0.5, 1.0):
        read = with_own_words(made.net, toys, share, np.random.default_rng(0)).read
        np.testing.assert_array_equal(read[untouched], truth[untouched])
        # Of thirty words about one in thirty is the same by chance.
        changed = (read != truth)[~untouched].mean()
        assert changed == pytest.approx(share * 29 / 30, abs=0.06)
    assert made.net.training


def test_names_and_options_that_do_not_exist() -> None:
    with pytest.raises(ValueError, match="model 'gpt' is unknown; expected one of nic, attention"):
        build("gpt", 10, channels=3)
    with pytest.raises(ValueError, match="width is 100000, expected 1 to 4096"):
        build("nic", 10, channels=3, width=100000)
    with pytest.raises(ValueError, match="cell is 'tree', expected lstm or gru or rnn"):
        build("nic", 10, channels=3, cell="tree")
    with pytest.raises(ValueError, match="does not take the options"):
        build("attention", 10, channels=3, image="state")
    with pytest.raises(ValueError, match="encoder 'eye' is unknown"):
        build_encoder("eye")
    with pytest.raises(ValueError, match="encoder small: width is 0, expected 2 to 256"):
        build_encoder("small", width=0)
    with pytest.raises(ValueError, match="encoder small does not take the options"):
        build_encoder("small", grid=7)
    with pytest.raises(ValueError, match="no trained weights for encoder 'small'"):
        trained("small")


def test_options_that_are_missing_are_those_of_the_constructor() -> None:
    own = {"width": 8, "cell": "gru"}
    assert completed(NIC, own) == {**own, "image": "input", "dropout": 0.5}
    assert completed(SoftAttention, {"attend": "after"})["attend"] == "after"
    assert completed(SoftAttention, {})["attend"] == "before"
    assert completed(class_of("small"), {"size": 64}) == {"width": 48, "size": 64}
    assert completed(class_of("vgg16"), {}) == {"grid": 7, "class_scores": False}


def test_encoders_bring_any_picture_to_their_size() -> None:
    core.seed(0)
    small, shipped = build_encoder("small", width=4, size=64), trained("backbone", grid=3)
    picture = np.random.default_rng(0).integers(0, 255, (50, 90, 3)).astype(np.uint8)
    for encoder, shape in ((small, (1, 16, 4, 4)), (shipped, (1, 256, 3, 3))):
        prepared = encoder.prepare(picture)
        assert prepared.shape == (3, encoder.size, encoder.size) and prepared.dtype == np.uint8
        with core.no_grad():
            maps = encoder(prepared[None])
        assert maps.shape == shape and encoder.channels == shape[1]
    known = core.models.pretrained("backbone").model.state_dict()["features.0.weight"]
    np.testing.assert_array_equal(shipped.state_dict()["features.0.weight"], known)


def test_the_small_encoder_knows_where_it_looks() -> None:
    core.seed(0)
    encoder = build_encoder("small", width=4, size=128).eval()
    even = np.full((1, 3, 128, 128), 90, np.uint8)
    with core.no_grad():
        maps = encoder(even).numpy()
    # Away from the borders, only row and column tell the places of an even picture apart.
    assert np.abs(maps[0, :, 3, 3] - maps[0, :, 4, 4]).max() > 1e-3


# --------------------------------------------------------------------------- beside PyTorch


def _torch_decoder(torch: Any, net: Decoder, when: str) -> Any:
    """The same arithmetic from the papers' equations, with our parameters, in PyTorch.

    Attention is asked where to look `when`: "before" or "after" the cell has read the word.
    """
    state = {n: torch.tensor(a, requires_grad=True) for n, a in net.state_dict().items()}
    gates = {n.removeprefix("cell."): a for n, a in state.items() if n.startswith("cell.")}

    def lstm(x: Any, h: Any, c: Any) -> tuple[Any, Any]:
        total = x @ gates["weight_ih_l0"].T + gates["bias_ih_l0"]
        total = total + h @ gates["weight_hh_l0"].T + gates["bias_hh_l0"]
        i, f, g, o = total.chunk(4, 1)
        c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
        return torch.sigmoid(o) * torch.tanh(c), c

    def layer(name: str, x: Any) -> Any:
        y = x @ state[f"{name}.weight"].T
        return y + state[f"{name}.bias"] if f"{name}.bias" in state else y

    def nic(seen: Any, words: Any) -> Any:
        h = c = torch.zeros(len(seen), net.cell.hidden_size)
        h, c = lstm(layer("picture", seen.mean((2, 3))), h, c)
        outputs = []
        for t in range(words.shape[1]):
            h, c = lstm(state["embedding.weight"][words[:, t]], h, c)
            outputs.append(layer("scores", h))
        return torch.stack(outputs, 1)

    def attend(seen: Any, words: Any) -> Any:
        places = seen.flatten(2).transpose(1, 2)
        h, c = torch.tanh(layer("start", places.mean(1))).chunk(2, 1)
        context = torch.zeros(len(seen), places.shape[2])
        outputs = []

        def look(h: Any) -> Any:
            score = torch.tanh(layer("of_places", places) + layer("of_state", h)[:, None])
            share = torch.softmax(layer("energy", score)[:, :, 0], 1)
            return torch.sigmoid(layer("gate", h)) * (share[:, :, None] * places).sum(1)

        for t in range(words.shape[1]):
            word = state["embedding.weight"][words[:, t]]
            if when == "before":
                context = look(h)
            h, c = lstm(torch.cat([word, context], 1), h, c)
            if when == "after":
                context = look(h)
            deep = torch.tanh(word + layer("output_state", h) + layer("output_seen", context))
            outputs.append(layer("scores", deep))
        return torch.stack(outputs, 1)

    return (nic if isinstance(net, NIC) else attend), state


@pytest.mark.peer
@pytest.mark.parametrize(
    "name, options", [("nic", {}), ("attention", {}), ("attention", {"attend": "after"})]
)
def test_logits_and_gradients_are_pytorchs(name: str, options: dict[str, Any]) -> None:
    torch = pytest.importorskip("torch", reason="PyTorch (the bench extra) is not installed")
    net = make(name, dropout=0.0, **options)
    assert isinstance(net, NIC | SoftAttention)
    seen, words = features(), sentences()
    theirs, state = _torch_decoder(torch, net, options.get("attend", "before"))
    logits = net(seen, words).logits
    expected = theirs(torch.tensor(seen.numpy()), torch.tensor(words))
    np.testing.assert_allclose(logits.numpy(), expected.detach().numpy(), rtol=1e-4, atol=1e-5)
    F.sum(logits * logits).backward()
    (expected * expected).sum().backward()
    for key, parameter in net.named_parameters():
        assert parameter.grad is not None, key
        np.testing.assert_allclose(
            parameter.grad.numpy(), state[key].grad.numpy(), rtol=2e-3, atol=1e-3, err_msg=key
        )
