"""A trained network with what one must know to use it: pictures in, sentences out."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

import core
from captioning import decoders, encoders
from captioning.consensus import agreement
from captioning.decoders import Decoder
from captioning.encoders import ClassifierEncoder, Encoder
from captioning.views import ManyViews, views_of
from captioning.words import Vocabulary
from captioning.writing import MAX_WORDS, Writer, beam_search, sample
from core import Tensor, nn
from core import device as dev
from core.data.images import Picture
from core.io import weights
from core.io.weights import Card
from core.options import need_positive

_AT_ONCE = 50  # pictures; a beam of five makes it 250 rows
_WIDEST = 1000  # beam
_MOST_VIEWS = 50


@dataclass(frozen=True, kw_only=True)
class Decoding:
    """How sentences are written."""

    beam: int = 3
    """Beginnings that are carried on at once; 1 takes the likeliest word each time (greedy)."""

    length_penalty: float = 0.0
    """Rank sentences by their log-probability over length to this power; 0 favours short ones."""

    consensus: float | None = None
    """Of the beam's sentences, take the one that agrees most with all of them, each weighted by its
    probability to the power of one over this: near 0 the likeliest alone counts, 10 nearly all
    alike."""

    max_words: int = MAX_WORDS
    """Most words of a sentence, its end included: one that has not ended by then is cut."""

    views: int = 1
    """Look at the picture so many times, turned, shifted and relit a little, and average the
    words' probabilities; for pictures, not for features that were computed before."""

    temperature: float | None = None
    """Draw each word by its probability instead; below 1 likelier words, above 1 bolder ones."""

    top_k: int | None = None
    """When drawing, only among so many likeliest words."""

    def __post_init__(self) -> None:
        if not 1 <= self.beam <= _WIDEST:
            raise ValueError(f"--beam is {self.beam}; expected 1 to {_WIDEST}")
        need_positive(self, "max_words")
        if not 1 <= self.views <= _MOST_VIEWS:
            raise ValueError(f"--views is {self.views}; expected 1 to {_MOST_VIEWS}")
        if not 0 <= self.length_penalty <= 10:
            raise ValueError(f"--length-penalty is {self.length_penalty}; expected 0 to 10")
        if self.temperature is not None and not 0.01 <= self.temperature <= 100:
            raise ValueError(f"--temperature is {self.temperature}; expected 0.01 to 100")
        if self.top_k is not None and (self.top_k < 1 or self.temperature is None):
            raise ValueError(f"--top-k is {self.top_k}; expected 1 or more, with --temperature")
        if self.consensus is None:
            return
        drawn = self.temperature is not None
        if not 0.01 <= self.consensus < math.inf or self.beam == 1 or drawn:
            raise ValueError(
                f"--consensus is {self.consensus}; expected 0.01 or more, with a beam of two or "
                "more and without --temperature"
            )


def need_one_view(decoding: Decoding, encoder: str) -> None:
    """Raise ValueError for several views where the features of pictures are computed once."""
    if decoding.views > 1:
        raise ValueError(
            f"--views is {decoding.views}: the features of {encoder} are computed once; expected 1"
        )


@dataclass(frozen=True)
class Caption:
    """A sentence about a picture, and the natural logarithm of its probability."""

    words: tuple[str, ...]
    log_probability: float

    def __str__(self) -> str:
        return " ".join(self.words)


class CaptionNet(nn.Module):
    """A decoder, and the encoder when that is trained with it; `frozen` is one that is not.

    `inputs` are pictures, uint8 (N, 3, size, size), or their feature maps (N, C, h, w). Those of a
    classifier may be of any size, which would saturate the decoder's gates: they are normalised
    channel by channel.
    """

    def __init__(self, decoder: Decoder, encoder: Encoder, *, frozen: bool) -> None:
        super().__init__()
        self.decoder = decoder
        self.encoder = None if frozen else encoder
        classifier = isinstance(encoder, ClassifierEncoder)
        self.norm = nn.BatchNorm2d(encoder.channels) if classifier else None
        # In a list, so that its parameters are none of this network's.
        self._eyes = [encoder]

    @property
    def eyes(self) -> Encoder:
        """The encoder, frozen or not."""
        return self._eyes[0]

    def to(self, target: Any) -> Self:
        """As of every module; to a device a frozen encoder goes too."""
        if isinstance(target, str):
            self.eyes.to(target)
        return super().to(target)

    def features(self, inputs: NDArray[Any]) -> Tensor:
        """Normalised feature maps, of pictures or of maps as the encoder gives them."""
        maps = self._maps(inputs)
        return maps if self.norm is None else self.norm(maps)

    def _maps(self, inputs: NDArray[Any]) -> Tensor:
        if inputs.dtype != np.uint8:
            device = next(self.decoder.parameters()).device
            return Tensor(dev.to_device(inputs.astype(np.float32), device))
        if self.encoder is not None:
            return self.encoder(inputs)
        with core.no_grad():
            return self.eyes(inputs)

    def forward(self, inputs: NDArray[Any], words: Any, owner: Any = None) -> decoders.Written:
        return self.decoder(self.features(inputs), words, owner)


@dataclass
class Captioner:
    """A network, its words, and the names and options that build it again."""

    net: CaptionNet
    vocabulary: Vocabulary
    architecture: str
    encoder: str
    options: Mapping[str, Any] = field(default_factory=dict)
    encoder_options: Mapping[str, Any] = field(default_factory=dict)
    data: str = ""

    def write(
        self, inputs: NDArray[Any], decoding: Decoding | None = None, *, seed: int = 0
    ) -> list[list[Caption]]:
        """For each of the inputs (pictures, uint8, or feature maps) sentences, the best first."""
        how = decoding or Decoding()
        self.net.eval()
        rng = np.random.default_rng(seed)
        written: list[list[Caption]] = []
        at_once = max(1, _AT_ONCE // how.views)
        for start in range(0, len(inputs), at_once):
            with core.no_grad():
                writer, features = self._seen(inputs[start : start + at_once], how)
            written += self._written(writer, features, how, rng)
        return written

    def _seen(self, inputs: NDArray[Any], how: Decoding) -> tuple[Writer, Tensor]:
        """Who writes, and the features that it is shown."""
        if inputs.dtype != np.uint8:
            need_one_view(how, self.encoder)
        if how.views == 1:
            return self.net.decoder, self.net.features(inputs)
        several = views_of(inputs, how.views)
        maps = self.net.features(several.reshape(-1, *inputs.shape[1:]))
        return ManyViews(self.net.decoder), maps.reshape(len(inputs), how.views, *maps.shape[1:])

    def _written(
        self, writer: Writer, features: Tensor, how: Decoding, rng: np.random.Generator
    ) -> Iterator[list[Caption]]:
        if how.temperature is not None:
            drawn = sample(
                writer,
                features,
                rng,
                temperature=how.temperature,
                top_k=how.top_k,
                max_words=how.max_words,
            )
            found = [[one] for one in drawn]
        else:
            found = beam_search(
                writer,
                features,
                width=how.beam,
                max_words=how.max_words,
                length_penalty=how.length_penalty,
            )
        for sentences in found:
            captions = [
                Caption(tuple(self.vocabulary.decode(one.words)), one.log_probability)
                for one in sentences
            ]
            yield captions if how.consensus is None else _agreed(captions, how.consensus)

    def prepare(self, pictures: Sequence[Picture]) -> NDArray[np.uint8]:
        """Pictures (H, W, 3) of any size as the encoder takes them: (N, 3, size, size)."""
        return np.stack([self.net.eyes.prepare(picture) for picture in pictures])

    def attention(self, inputs: NDArray[Any], caption: Caption) -> NDArray[np.float32] | None:
        """Where it looks, (T, h, w), at one picture (1, ...) for each word of a sentence and its
        end; None when it has no attention.
        """
        self.net.eval()
        words = np.array([self.vocabulary.encode(caption.words)[:-1]])
        with core.no_grad():
            features = self.net.features(inputs)
            weights_ = self.net.decoder(features, words).attention
        if weights_ is None:
            return None
        return weights_.numpy()[0].reshape(-1, *features.shape[2:])

    def save(
        self,
        path: Path,
        *,
        metrics: Mapping[str, float] | None = None,
        seed: int | None = None,
        half: bool = False,
    ) -> None:
        """Write network, words and settings to one file; `half`: parameters in float16.

        A frozen encoder is named only: its weights are the published ones.
        """
        card = Card(
            architecture=self.architecture,
            classes=self.vocabulary.words,
            data=self.data,
            metrics=metrics or {},
            seed=seed,
            extra={
                "options": json.dumps(dict(self.options)),
                "encoder": self.encoder,
                "encoder_options": json.dumps(dict(self.encoder_options)),
                "frozen": json.dumps(self.net.encoder is None),
            },
        )
        arrays = weights.halved(self.net) if half else self.net.state_dict()
        weights.save(path, arrays, card.header())

    @classmethod
    def load(cls, path: Path, *, data_root: Path | None = None) -> Self:
        """Read what `save` wrote; a frozen encoder is found as `core.models.pretrained` does.

        Raises ValueError, naming the file, when it is broken or holds something else.
        """
        card = weights.read_card(path)
        try:
            options, encoder_options, frozen = (
                json.loads(card.extra[key]) for key in ("options", "encoder_options", "frozen")
            )
            captioner = cls.new(
                card.architecture,
                Vocabulary(card.classes),
                card.extra["encoder"],
                options=options,
                encoder_options=encoder_options,
                frozen=bool(frozen),
                pretrained=bool(frozen),
                data=card.data,
                data_root=data_root,
            )
        except KeyError as error:
            raise ValueError(f"{path} is no captioning network: its header lacks {error}") from None
        except (ValueError, TypeError, AttributeError, RecursionError, MemoryError) as error:
            line = " ".join(str(error).split())
            raise ValueError(f"{path}: broken header: {line}") from None
        weights.load_model(captioner.net, path)
        captioner.net.eval()
        return captioner

    @classmethod
    def new(
        cls,
        architecture: str,
        vocabulary: Vocabulary,
        encoder: str,
        *,
        options: Mapping[str, Any],
        encoder_options: Mapping[str, Any],
        frozen: bool,
        pretrained: bool,
        data: str = "",
        data_root: Path | None = None,
    ) -> Self:
        """An untrained decoder on an encoder, which has its published weights if `pretrained`.

        Raises ValueError for names and options that do not exist, FileNotFoundError for weights
        that are not there.
        """
        if pretrained:
            eyes = encoders.trained(encoder, data_root=data_root, **encoder_options)
        else:
            eyes = encoders.build(encoder, **encoder_options)
        decoder = decoders.build(architecture, len(vocabulary), channels=eyes.channels, **options)
        net = CaptionNet(decoder, eyes, frozen=frozen)
        return cls(net, vocabulary, architecture, encoder, options, encoder_options, data)


def _agreed(captions: list[Caption], temperature: float) -> list[Caption]:
    scores = agreement(
        [one.words for one in captions], [one.log_probability for one in captions], temperature
    )
    return [captions[place] for place in np.argsort(-scores, kind="stable")]


def load_captioner(
    name: str, path: Path | None = None, *, data_root: Path | None = None
) -> Captioner:
    """The network in the file `path`, or the shipped one trained on the data set `name`.

    Raises FileNotFoundError in one line when there is none.
    """
    with weights.chosen("captioning", name, path) as file:
        return Captioner.load(file, data_root=data_root)
