"""The recipes of the trainings, by name.

    python -m captioning.train --recipe flickr8k-attention --data-root DATA

A test split is scored once, when a training is over; beam and length penalty are chosen on the
validation split. Any setting may be changed by its flag.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any, Literal

from core.options import need_positive
from core.recipes import Optimisation


@dataclass(frozen=True, kw_only=True)
class Recipe(Optimisation):
    """Everything that a training depends on but its seed."""

    data: str = "scenes"
    """scenes (embedded), flickr8k, or the path of a COCO captions file (.json)."""

    model: Literal["nic", "attention"] = "attention"
    """nic is shown the picture once, attention looks at it again for every word."""

    encoder: str = "small"
    """small is trained from scratch; the others are trained classifiers: squeezenet1_0,
    squeezenet1_1, backbone, vgg16."""

    finetune: bool = False
    """Let a trained classifier learn as well; otherwise its features are computed once."""

    class_scores: bool = False
    """Let a SqueezeNet's scores of its classes at each place be features too."""

    width: int = 512
    """Units of the recurrent cell, and of a word's embedding."""

    encoder_width: int | None = None
    """Channels of the small encoder's second layer; by default its own."""

    cell: Literal["lstm", "gru", "rnn"] = "lstm"
    """Kind of recurrent cell."""

    image: Literal["input", "state"] = "input"
    """How nic is shown the picture: as the input before the first word, or as the first state."""

    attend: Literal["before", "after"] = "before"
    """Whether attention asks where to look before a word is read (Xu et al. 2015) or after it
    (Lu et al. 2017)."""

    dropout: float = 0.5
    """Probability of dropout on embeddings and outputs."""

    min_count: int = 1
    """Words that occur less often in the training sentences are unknown."""

    scheduled_sampling: float = 0.0
    """Probability, at the end of training, that a word read is the network's own (it grows
    linearly from 0); otherwise it is the sentence's (teacher forcing)."""

    word_dropout: float = 0.0
    """Probability that a word read is unknown, so that the next one is looked for, not guessed."""

    even_attention: float = 0.0
    """Weight of the penalty that has attention pass over every place (Xu et al. 2015, eq. 14)."""

    augment: Literal["none", "affine", "elastic"] = "none"
    """Turn, shift and scale training pictures a little (affine), bend them too (elastic); for an
    encoder that learns."""

    jitter: float = 0.0
    """Brightness, contrast and saturation of training pictures change by up to this share; for an
    encoder that learns."""

    clip_norm: float | None = 5.0
    """Scale gradients down to this norm when theirs is larger."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.average is not None:
            raise ValueError(
                "--average: captioning keeps the weights of the best epoch as they are"
            )
        self._check_numbers()
        self._refuse_what_does_nothing()

    def _check_numbers(self) -> None:
        if not 0 <= self.dropout < 1:
            raise ValueError(f"--dropout is {self.dropout}; expected 0 up to 1")
        if not 0 <= self.scheduled_sampling <= 1:
            raise ValueError(f"--scheduled-sampling is {self.scheduled_sampling}; expected 0 to 1")
        if not 0 <= self.word_dropout < 1:
            raise ValueError(f"--word-dropout is {self.word_dropout}; expected 0 up to 1")
        need_positive(self, "min_count")
        if not 0 <= self.even_attention < math.inf:
            raise ValueError(f"--even-attention is {self.even_attention}; expected 0 or more")
        if not 0 <= self.jitter <= 1:
            raise ValueError(f"--jitter is {self.jitter}; expected 0 to 1")
        if self.clip_norm is not None and not 0 < self.clip_norm < math.inf:
            raise ValueError(f"--clip-norm is {self.clip_norm}; expected more than 0, or None")

    def _refuse_what_does_nothing(self) -> None:
        nic, small = self.model == "nic", self.encoder == "small"
        once = f"the features of {self.encoder} are computed once"
        for flag, given, reason in (
            ("--even-attention", nic and self.even_attention > 0, "nic has no attention"),
            ("--attend after", nic and self.attend == "after", "nic has no attention"),
            ("--image state", not nic and self.image == "state", "only nic is shown it so"),
            ("--finetune", small and self.finetune, "the small encoder learns in any case"),
            ("--augment", self.frozen and self.augment != "none", once),
            ("--jitter", self.frozen and self.jitter > 0, once),
        ):
            if given:
                raise ValueError(f"{flag}: {reason}")

    @property
    def frozen(self) -> bool:
        """Whether the encoder stays as it is."""
        return self.encoder != "small" and not self.finetune

    def network_options(self) -> dict[str, Any]:
        """What the recipe says of the decoder's settings."""
        options: dict[str, Any] = {"width": self.width, "cell": self.cell, "dropout": self.dropout}
        if self.model == "nic":
            return {**options, "image": self.image}
        return {**options, "attend": self.attend}

    def encoder_options(self) -> dict[str, Any]:
        """What the recipe says of the encoder's settings."""
        options: dict[str, Any] = {}
        if self.encoder_width is not None:
            options["width"] = self.encoder_width
        if self.class_scores:
            options["class_scores"] = True
        return options


_SCENES = Recipe(
    epochs=28,
    batch_size=160,
    optimizer="adamw",
    lr=0.002,
    schedule="one-cycle",
    weight_decay=0.01,
    width=256,
    dropout=0.2,
    word_dropout=0.2,
    augment="affine",
    jitter=0.2,
)
_FLICKR = Recipe(
    data="flickr8k",
    encoder="squeezenet1_0",
    class_scores=True,
    epochs=10,
    batch_size=64,
    optimizer="adamw",
    lr=0.001,
    schedule="one-cycle",
    weight_decay=0.01,
    min_count=5,
)

# On the validation split NIC is no better with class scores than without.
_NIC = replace(_FLICKR, model="nic", class_scores=False, epochs=16)

RECIPES: Mapping[str, Recipe] = MappingProxyType(
    {
        "scenes-attention": _SCENES,
        # Starts from the network of the former: --weights runs/.../network.safetensors.
        "scenes-attention-again": replace(_SCENES, lr=0.001, epochs=7),
        "scenes-nic": replace(_SCENES, model="nic"),
        "flickr8k-nic": _NIC,
        "flickr8k-nic-gru": replace(_NIC, cell="gru"),
        "flickr8k-nic-rnn": replace(_NIC, cell="rnn"),
        "flickr8k-nic-state": replace(_NIC, image="state"),
        "flickr8k-attention": replace(_FLICKR, model="attention"),
    }
)
