"""What a network learns from: the next word, and now and then its own words."""

from __future__ import annotations

import numpy as np

import core
from captioning.batches import Batch
from captioning.captioner import CaptionNet
from captioning.decoders import rows
from captioning.words import END, PAD
from core import Tensor, nn
from core import device as dev
from core import functional as F
from core.training.trainer import Figures


class WordLoss:
    """The trainer's `Forward`: cross entropy of each next word, masked behind the end.

    `even_attention` weighs Xu et al.'s penalty: the mean over pictures of the sum over places of
    (1 - sum over words of the attention) squared (2015, equation 14).
    """

    def __init__(self, label_smoothing: float = 0.0, even_attention: float = 0.0) -> None:
        self._smoothing = label_smoothing
        self._even = even_attention

    def __call__(self, net: nn.Module, batch: Batch) -> tuple[Tensor, Figures]:
        written = net(batch.inputs, batch.read, batch.owner)
        target = batch.words[:, 1:]
        device = written.logits.device
        loss = F.cross_entropy(
            written.logits.reshape(target.size, -1),
            dev.to_device(target.reshape(-1), device),
            None,
            PAD,
            label_smoothing=self._smoothing,
        )
        if self._even and written.attention is not None:
            mask = dev.to_device((target != PAD).astype(np.float32)[:, :, None], device)
            seen = F.sum(written.attention * mask, 1)
            loss = loss + self._even * F.mean(F.sum((1 - seen) ** 2, 1))
        return loss, {}


def with_own_words(net: CaptionNet, batch: Batch, share: float, rng: np.random.Generator) -> Batch:
    """The batch, of whose `read` each word after BEGIN is, by `share`, the network's own.

    Scheduled sampling (Bengio et al. 2015): its word is drawn by the probabilities that it gives
    after the words read so far. No gradient flows through the choice, so that the words can be
    drawn first and all be learned from at once.
    """
    net.eval()
    with core.no_grad():
        features = net.features(batch.inputs)
        decoder = net.decoder
        memory, state = (
            rows(part, batch.owner) for part in (decoder.look(features), decoder.first(features))
        )
        read = batch.read.copy()
        for t in range(read.shape[1] - 1):
            logits, state, _ = decoder.step(read[:, t], state, memory)
            noise = rng.gumbel(size=logits.shape)
            own = (logits.numpy() + noise).argmax(axis=1)
            chosen = (rng.random(len(read)) < share) & ~np.isin(read[:, t + 1], (PAD, END))
            read[chosen, t + 1] = own[chosen]
    net.train()
    return batch._replace(read=read)
