"""Networks that write: from the feature map of a picture to the words of a sentence.

Every decoder is teacher-forced over whole sentences (`forward`), and takes one word at a time when
it writes (`look`, `first`, then `step` after `step`). Features are (N, C, h, w), words integers.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, Literal, NamedTuple

from core import Tensor, nn
from core import device as dev
from core import functional as F
from core.nn import init

Cell = Literal["lstm", "gru", "rnn"]
Attend = Literal["before", "after"]
State = tuple[Tensor, ...]

_CELLS: Mapping[str, Any] = MappingProxyType({"lstm": nn.LSTM, "gru": nn.GRU, "rnn": nn.RNN})
_SPREAD = 0.1  # of embeddings, as Vinyals et al. and Karpathy start them


class Written(NamedTuple):
    """What a decoder makes of sentences: logits (N, T, V) and, if it has any, attention."""

    logits: Tensor
    attention: Tensor | None = None
    """(N, T, h w), each row with the sum 1."""


def rows(parts: State, index: Any) -> State:
    """The rows `index` (M,) of each part (N, ...), some of them more than once or never."""
    return tuple(
        F.embedding(dev.to_device(index, part.device), part.flatten(1)).reshape(
            len(index), *part.shape[1:]
        )
        for part in parts
    )


class Decoder(nn.Module):
    """What decoders share: word embeddings, a recurrent cell, and a layer that scores words."""

    def __init__(
        self, vocabulary: int, *, width: int, inputs: int, cell: str, dropout: float
    ) -> None:
        super().__init__()
        self.embedding = nn.Embedding(vocabulary, width)
        self.cell = _CELLS[cell](inputs, width, batch_first=True)
        self.dropout = nn.Dropout(dropout)
        self.scores = nn.Linear(width, vocabulary)
        self.carries_memory = cell == "lstm"
        init.uniform_(self.embedding.weight, -_SPREAD, _SPREAD)
        init.uniform_(self.scores.weight, -_SPREAD, _SPREAD)
        assert self.scores.bias is not None
        init.zeros_(self.scores.bias)

    def forward(self, features: Tensor, words: Any, owner: Any = None) -> Written:
        """Logits of the word after each of `words` (N, T); `owner` (N,) is each row's picture."""
        memory, state = self.look(features), self.first(features)
        if owner is not None:
            memory, state = rows(memory, owner), rows(state, owner)
        return self.write(words, state, memory)

    def embedded(self, words: Any) -> Tensor:
        """The vectors (..., width) of words, which may lie on the CPU."""
        return self.embedding(dev.to_device(words, self.embedding.weight.device))

    def advance(self, inputs: Tensor, state: State | None) -> tuple[Tensor, State]:
        """The cell over inputs (N, T, I) from a state, parts (N, H): outputs and last state."""
        whole: Any = None if state is None else tuple(part.unsqueeze(0) for part in state)
        if whole is not None and not self.carries_memory:
            (whole,) = whole
        outputs, last = self.cell(inputs, whole)
        return outputs, tuple(part[0] for part in (last if self.carries_memory else (last,)))

    def look(self, features: Tensor) -> State:
        """What is asked of the features at every step; its parts begin with N."""
        raise NotImplementedError

    def first(self, features: Tensor) -> State:
        """The state before the first word, parts (N, H)."""
        raise NotImplementedError

    def write(self, words: Any, state: State, memory: State) -> Written:
        """What follows each of the words (N, T), from the first state."""
        raise NotImplementedError

    def step(self, words: Any, state: State, memory: State) -> tuple[Tensor, State, Tensor | None]:
        """Logits (N, V) of what follows `words` (N,), the new state, attention (N, h w) if any."""
        raise NotImplementedError


class NIC(Decoder):
    """Show and Tell (Vinyals et al. 2015; book, 8.4.3): an RNN that is shown the picture once.

    features (N, channels, h, w) and words (N, T) give logits (N, T, vocabulary) of each next word.
    The mean of the map, through one layer, is the cell's input before the first word (`image`
    "input", the paper's) or its first state ("state"). `cell` is lstm, gru or rnn.
    """

    def __init__(
        self,
        vocabulary: int,
        *,
        channels: int,
        width: int = 512,
        cell: Cell = "lstm",
        image: Literal["input", "state"] = "input",
        dropout: float = 0.5,
    ) -> None:
        super().__init__(vocabulary, width=width, inputs=width, cell=cell, dropout=dropout)
        self.image = image
        self.states = 2 if cell == "lstm" and image == "state" else 1
        self.picture = nn.Linear(channels, width * self.states)

    def write(self, words: Any, state: State, memory: State) -> Written:
        outputs, _ = self.advance(self.dropout(self.embedded(words)), state)
        return Written(self.scores(self.dropout(outputs)))

    def look(self, features: Tensor) -> State:
        return ()

    def first(self, features: Tensor) -> State:
        seen = self.picture(F.mean(features, (2, 3)))
        if self.image == "state":
            return F.chunk(F.tanh(seen), self.states, 1)
        return self.advance(self.dropout(seen).unsqueeze(1), None)[1]

    def step(self, words: Any, state: State, memory: State) -> tuple[Tensor, State, Tensor | None]:
        outputs, state = self.advance(self.embedded(words).unsqueeze(1), state)
        return self.scores(self.dropout(outputs[:, 0])), state, None


class SoftAttention(Decoder):
    """Show, Attend and Tell, soft attention (Xu et al. 2015): each word looks at the map again.

    features (N, channels, h, w) and words (N, T) give logits (N, T, vocabulary) and attention
    (N, T, h w). As in the paper: the first state comes from the mean of the map, weights from
    v . tanh(W a_i + U h) (equations 4 to 6), a gate on what is seen (4.2.1), and a deep output
    layer (equation 7, here with a tanh) that sees word, state and picture. What is seen, if it has
    more channels than the state, is brought to its width by one layer first.

    `attend` "before" is the paper's: where to look is asked of the state that has not read the
    word. "after" asks the state that has (Lu et al. 2017, "Knowing when to look", figure 2), so
    that after "red" it looks at what is red; the cell reads what was seen one word earlier (as in
    Luong et al. 2015, section 3.3, but the gated context itself).
    """

    def __init__(
        self,
        vocabulary: int,
        *,
        channels: int,
        width: int = 512,
        cell: Cell = "lstm",
        attention: int = 256,
        attend: Attend = "before",
        dropout: float = 0.5,
    ) -> None:
        seen = min(channels, width)
        super().__init__(vocabulary, width=width, inputs=width + seen, cell=cell, dropout=dropout)
        self.narrow = nn.Linear(channels, width, bias=False) if channels > width else None
        self.attend = attend
        self.seen = seen
        self.states = 2 if cell == "lstm" else 1
        self.start = nn.Linear(channels, width * self.states)
        self.of_places = nn.Linear(channels, attention)
        self.of_state = nn.Linear(width, attention, bias=False)
        self.energy = nn.Linear(attention, 1, bias=False)
        self.gate = nn.Linear(width, 1)
        self.output_state = nn.Linear(width, width)
        self.output_seen = nn.Linear(seen, width, bias=False)

    def write(self, words: Any, state: State, memory: State) -> Written:
        embedded = self.dropout(self.embedded(words))
        outputs, seen, weights = [], [], []
        for t in range(embedded.shape[1]):
            output, context, at, state = self._read(embedded[:, t], state, memory)
            outputs.append(output)
            seen.append(context)
            weights.append(at)
        logits = self._logits(embedded, F.stack(outputs, 1), F.stack(seen, 1))
        return Written(logits, F.stack(weights, 1))

    def look(self, features: Tensor) -> State:
        places = F.transpose(F.flatten(features, 2), 1, 2)
        return places, self.of_places(places)

    def first(self, features: Tensor) -> State:
        state = F.chunk(F.tanh(self.start(F.mean(features, (2, 3)))), self.states, 1)
        if self.attend == "before":
            return state
        zeros = dev.array_module(features.data).zeros((len(features), self.seen), features.dtype)
        return (*state, Tensor(zeros))

    def step(self, words: Any, state: State, memory: State) -> tuple[Tensor, State, Tensor | None]:
        embedded = self.embedded(words)
        output, context, at, state = self._read(embedded, state, memory)
        return self._logits(embedded, output, context), state, at

    def _read(
        self, embedded: Tensor, state: State, memory: State
    ) -> tuple[Tensor, Tensor, Tensor, State]:
        """One word: the cell's output, what is seen, the weight of each place, the new state."""
        if self.attend == "before":
            context, at = self._attend(state, memory)
            output, state = self.advance(F.cat([embedded, context], 1).unsqueeze(1), state)
            return output[:, 0], context, at, state
        *state_of_cell, seen = state
        output, state = self.advance(F.cat([embedded, seen], 1).unsqueeze(1), tuple(state_of_cell))
        context, at = self._attend(state, memory)
        return output[:, 0], context, at, (*state, context)

    def _attend(self, state: State, memory: State) -> tuple[Tensor, Tensor]:
        """What is seen from a state, and the weight of each place (N, h w)."""
        hidden, (places, keys) = state[0], memory
        energy = self.energy(F.tanh(keys + self.of_state(hidden).unsqueeze(1)))
        weights = F.softmax(energy[:, :, 0], 1)
        context = (weights.unsqueeze(1) @ places)[:, 0]
        if self.narrow is not None:
            context = self.narrow(context)
        return F.sigmoid(self.gate(hidden)) * context, weights

    def _logits(self, embedded: Tensor, outputs: Tensor, seen: Tensor) -> Tensor:
        deep = F.tanh(embedded + self.output_state(self.dropout(outputs)) + self.output_seen(seen))
        return self.scores(self.dropout(deep))


_DECODERS: Mapping[str, Callable[..., Decoder]] = MappingProxyType(
    {"nic": NIC, "attention": SoftAttention}
)
NAMES = tuple(_DECODERS)

# What options may be: a file's header must not ask for more memory than a network takes.
_LARGEST = 4096


def class_of(name: str) -> Callable[..., Decoder]:
    """What makes the decoder `name`, one of NAMES."""
    return _DECODERS[name]


def build(name: str, vocabulary: int, *, channels: int, **options: Any) -> Decoder:
    """A new decoder for features of `channels`.

    Raises ValueError for a name not in NAMES, for options it does not have or out of range.
    """
    if name not in _DECODERS:
        raise ValueError(f"model {name!r} is unknown; expected one of {', '.join(NAMES)}")
    for option in ("width", "attention"):
        value = options.get(option, 1)
        if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= _LARGEST:
            raise ValueError(f"model {name}: {option} is {value}, expected 1 to {_LARGEST}")
    for option, known in (
        ("cell", tuple(_CELLS)),
        ("image", ("input", "state")),
        ("attend", ("before", "after")),
    ):
        if options.get(option, known[0]) not in known:
            raise ValueError(
                f"model {name}: {option} is {options[option]!r}, expected {' or '.join(known)}"
            )
    try:
        return _DECODERS[name](vocabulary, channels=channels, **options)
    except TypeError as error:
        raise ValueError(f"model {name} does not take the options {json.dumps(options)}") from error
