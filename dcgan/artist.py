"""A trained generator with what one must know to use it: noise in, pictures out."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

import core
from core import Tensor, nn
from core import device as dev
from core.data.images import Picture
from core.io import weights
from core.io.weights import Card
from dcgan.data import to_network, to_pictures
from dcgan.networks import Discriminator, Generator

ARCHITECTURE = "dcgan"
_AT_ONCE = 64

Noise = NDArray[np.float32]


def noise(count: int, latent: int, seed: int | Sequence[int]) -> Noise:
    """Points (count, latent) of a standard normal distribution; the same seed, the same points."""
    return np.random.default_rng(seed).standard_normal((count, latent), np.float32)


@dataclass
class Artist:
    """A generator, its opponent if kept, its data set and the names of the classes it is told."""

    generator: Generator
    discriminator: Discriminator | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    """Of the networks: size, channels, width, latent, classes, spectral."""

    classes: tuple[str, ...] = ()
    data: str = ""

    @classmethod
    def new(
        cls,
        options: Mapping[str, Any],
        *,
        classes: tuple[str, ...] = (),
        data: str = "",
        discriminator: bool = True,
    ) -> Self:
        """Untrained networks. Raises ValueError for options they do not have or out of range."""
        known = {"size", "channels", "width", "latent", "classes", "spectral"}
        if set(options) - known:
            raise ValueError(f"unknown options {', '.join(sorted(set(options) - known))}")
        own = dict(options)
        spectral = bool(own.pop("spectral", False))
        generator = Generator(**own)
        own.pop("latent", None)
        opponent = Discriminator(**own, spectral=spectral) if discriminator else None
        return cls(generator, opponent, options, classes, data)

    def draw(self, points: Noise, labels: NDArray[np.int64] | None = None) -> Sequence[Picture]:
        """A uint8 picture, (S, S) or (S, S, 3), for each point (N, latent).

        `labels` (N,) tell a class-conditional generator what to draw; raises ValueError without.
        """
        self.generator.eval()
        device = next(self.generator.parameters()).device
        made = []
        with core.no_grad():
            for start in range(0, len(points), _AT_ONCE):
                part = slice(start, start + _AT_ONCE)
                x = Tensor(dev.to_device(points[part], device))
                told = None if labels is None else labels[part]
                made.append(self.generator(x, told).numpy())
        return list(to_pictures(np.concatenate(made)))

    def maps(self, images: NDArray[np.uint8], labels: Any = None) -> list[Tensor]:
        """What each layer of the discriminator makes of pictures (N, C, S, S), from fine to coarse.

        Raises ValueError for an artist without a discriminator.
        """
        if self.discriminator is None:
            raise ValueError("these weights have no discriminator")
        device = next(self.discriminator.parameters()).device
        with core.no_grad():
            x = Tensor(dev.to_device(to_network(images), device))
            return self.discriminator.eval().maps(x, labels)

    def label(self, name: str) -> int:
        """The number of a class. Raises ValueError for one that it cannot be told."""
        if not self.generator.classes:
            raise ValueError("these weights are not class-conditional: leave out --class")
        if name not in self.classes:
            raise ValueError(f"--class {name!r} is none of {', '.join(self.classes)}")
        return self.classes.index(name)

    def labels(self, count: int) -> NDArray[np.int64] | None:
        """Every class in turn, for a generator that has to be told one; otherwise None."""
        classes = self.generator.classes
        return np.arange(count) % classes if classes else None

    def save(
        self,
        path: Path,
        *,
        metrics: Mapping[str, float] | None = None,
        seed: int | None = None,
        half: bool = False,
        discriminator: bool = True,
    ) -> None:
        """Write the networks and their settings to one file; `half`: parameters in float16."""
        networks = self.networks() if discriminator else {"generator": self.generator}
        arrays = {}
        for prefix, network in networks.items():
            state = weights.halved(network) if half else network.state_dict()
            arrays.update({f"{prefix}.{name}": array for name, array in state.items()})
        card = Card(
            architecture=ARCHITECTURE,
            classes=self.classes,
            data=self.data,
            metrics=metrics or {},
            seed=seed,
            extra={"options": json.dumps(dict(self.options))},
        )
        weights.save(path, arrays, card.header())

    def networks(self) -> dict[str, nn.Module]:
        """Those that are there, by name."""
        found: dict[str, nn.Module] = {"generator": self.generator}
        if self.discriminator is not None:
            found["discriminator"] = self.discriminator
        return found

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read what `save` wrote.

        Raises ValueError, naming the file, when it is broken or holds something else.
        """
        arrays, header = weights.load(path)
        card = Card.of_header(header, str(path))
        if card.architecture != ARCHITECTURE or "options" not in card.extra:
            raise ValueError(f"{path} is no DCGAN: its architecture is {card.architecture!r}")
        try:
            options = json.loads(card.extra["options"])
            opponent = any(name.startswith("discriminator.") for name in arrays)
            with nn.init.skip_draws():
                artist = cls.new(
                    options, classes=card.classes, data=card.data, discriminator=opponent
                )
        except (ValueError, TypeError, AttributeError, RecursionError, MemoryError) as error:
            line = " ".join(str(error).split())
            raise ValueError(f"{path}: broken header: {line}") from None
        known = artist.networks()
        strange = [name for name in arrays if name.partition(".")[0] not in known]
        if strange:
            raise ValueError(f"{path} is no DCGAN: it has {strange[0]}")
        for prefix, network in known.items():
            own = {
                name.partition(".")[2]: array
                for name, array in arrays.items()
                if name.startswith(f"{prefix}.")
            }
            weights.check_fit(network, own, f"{path}: its {prefix}")
            network.load_state_dict(own)
            network.eval()
        return artist


def load_artist(name: str, path: Path | None = None) -> Artist:
    """The generator in the file `path`, or the shipped one trained on the data set `name`.

    Raises FileNotFoundError in one line when there is none.
    """
    with weights.chosen("dcgan", name, path) as file:
        return Artist.load(file)
