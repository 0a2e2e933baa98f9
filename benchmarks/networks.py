"""The networks that are timed, each written once: `nn` is either `core.nn` or `torch.nn`.

`width` is 64 in the published networks, whose other widths are multiples of it; a smaller one
makes the same network thinner.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any

from segmentation.segnet import SegNetBasicLayers, SegNetLayers

VGG16 = (2, 2, 3, 3, 3)
VGG19 = (2, 2, 4, 4, 4)
# Channels of VGG's five stages, in widths.
STAGES = (1, 2, 4, 8, 8)


def deep_convnet(nn: Any, size: int = 28, width: int = 64) -> Any:
    """The book's DeepConvNet (8.1.1) for pictures (N, 1, size, size): logits (N, 10)."""
    layers: list[Any] = []
    channels = 1
    for filters, paddings in ((width // 4, (1, 1)), (width // 2, (1, 2)), (width, (1, 1))):
        for padding in paddings:
            layers += [nn.Conv2d(channels, filters, 3, padding=padding), nn.ReLU()]
            channels = filters
        layers.append(nn.MaxPool2d(2))
    last = ((size // 2 + 2) // 2) // 2
    layers += [nn.Flatten(), nn.Linear(width * last**2, 50), nn.ReLU(), nn.Dropout(0.5)]
    return nn.Sequential(*layers, nn.Linear(50, 10))


def resnet20(nn: Any, functional: Any, width: int = 64) -> Any:
    """ResNet-20 for CIFAR: logits (N, 10), shortcuts without parameters.

    He et al. 2016, section 4.2, option A: where a stage begins, the shortcut takes every second
    pixel and fills the new channels with zeros.
    """

    class Block(nn.Module):
        def __init__(self, channels: int, filters: int) -> None:
            super().__init__()
            self.stride = 1 if channels == filters else 2
            self.added = (filters - channels) // 2
            self.body = nn.Sequential(
                nn.Conv2d(channels, filters, 3, stride=self.stride, padding=1, bias=False),
                nn.BatchNorm2d(filters),
                nn.ReLU(),
                nn.Conv2d(filters, filters, 3, padding=1, bias=False),
            )
            self.norm = nn.BatchNorm2d(filters)
            self.relu = nn.ReLU()

        def forward(self, x: Any) -> Any:
            shortcut = x
            if self.stride == 2:
                fill = (0, 0, 0, 0, self.added, self.added)
                shortcut = functional.pad(x[:, :, ::2, ::2], fill)
            return _join(nn, self.body(x), self.norm, shortcut, self.relu)

    first, second, third = width // 4, width // 2, width
    layers = [nn.Conv2d(3, first, 3, padding=1, bias=False), nn.BatchNorm2d(first), nn.ReLU()]
    channels = first
    for filters in (first, second, third):
        for _ in range(3):
            layers.append(Block(channels, filters))
            channels = filters
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(third, 10))


def resnet50(nn: Any, width: int = 64, classes: int = 1000) -> Any:
    """ResNet-50 (He et al. 2016, table 1), the stride in the 3x3 convolution as torchvision has it.

    Logits (N, classes) for pictures (N, 3, H, W).
    """

    class Bottleneck(nn.Module):
        def __init__(self, channels: int, filters: int, stride: int) -> None:
            super().__init__()
            self.body = nn.Sequential(
                *_normed(nn, channels, filters, 1),
                nn.ReLU(),
                *_normed(nn, filters, filters, 3, stride),
                nn.ReLU(),
                nn.Conv2d(filters, 4 * filters, 1, bias=False),
            )
            self.norm = nn.BatchNorm2d(4 * filters)
            self.shortcut = None
            if channels != 4 * filters:
                self.shortcut = nn.Sequential(*_normed(nn, channels, 4 * filters, 1, stride))
            self.relu = nn.ReLU()

        def forward(self, x: Any) -> Any:
            shortcut = x if self.shortcut is None else self.shortcut(x)
            return _join(nn, self.body(x), self.norm, shortcut, self.relu)

    layers = [*_normed(nn, 3, width, 7, 2), nn.ReLU(), nn.MaxPool2d(3, 2, 1)]
    channels = width
    for stage, blocks in enumerate((3, 4, 6, 3)):
        for block in range(blocks):
            stride = 2 if stage and not block else 1
            layers.append(Bottleneck(channels, width << stage, stride))
            channels = 4 * width << stage
    last = nn.Linear(channels, classes)
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), last)


def _join(nn: Any, x: Any, norm: Any, shortcut: Any, relu: Any) -> Any:
    """`relu(norm(x) + shortcut)`; this core has one call for it."""
    if hasattr(nn, "join"):
        return nn.join(x, norm, shortcut, relu)
    return relu(norm(x) + shortcut)


def _normed(nn: Any, channels: int, filters: int, kernel: int, stride: int = 1) -> list[Any]:
    """A convolution without bias and its batch normalisation."""
    padding = kernel // 2
    conv = nn.Conv2d(channels, filters, kernel, stride=stride, padding=padding, bias=False)
    return [conv, nn.BatchNorm2d(filters)]


def segnet(nn: Any, classes: int = 11, width: int = 64, *, basic: bool = False) -> Any:
    """SegNet, or SegNet-Basic, with the very layers of the application."""
    layers = SegNetBasicLayers if basic else SegNetLayers

    class Network(layers, nn.Module):  # type: ignore[misc, valid-type]
        def __init__(self) -> None:
            super().__init__()
            self.add_layers(nn, classes, 3, width)

    return Network()


def unet(nn: Any, functional: Any, join: Any, classes: int = 11, width: int = 32) -> Any:
    """segmentation's U-Net of four levels, from half the resolution on."""
    channels = [width * 2**level for level in range(4)]

    def convolution(before: int, after: int, kernel: int, stride: int = 1) -> Any:
        layer = nn.Conv2d(before, after, kernel, stride=stride, padding=kernel // 2, bias=False)
        return nn.Sequential(layer, nn.BatchNorm2d(after), nn.ReLU())

    class Residual(nn.Module):
        def __init__(self, before: int, after: int) -> None:
            super().__init__()
            last = nn.Conv2d(after, after, 3, padding=1, bias=False)
            self.body = nn.Sequential(*convolution(before, after, 3), last, nn.BatchNorm2d(after))
            self.shortcut = None
            if before != after:
                one = nn.Conv2d(before, after, 1, bias=False)
                self.shortcut = nn.Sequential(one, nn.BatchNorm2d(after))
            self.activation = nn.ReLU()

        def forward(self, x: Any) -> Any:
            shortcut = x if self.shortcut is None else self.shortcut(x)
            return self.activation(self.body(x) + shortcut)

    class Encoder(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.stem = convolution(3, width, 3, stride=2)
            self.pool = nn.MaxPool2d(2)
            pairs = pairwise([width, *channels])
            self.blocks = nn.ModuleList([Residual(before, after) for before, after in pairs])

        def forward(self, x: Any) -> list[Any]:
            x, maps = self.stem(x), []
            for level, block in enumerate(self.blocks):
                x = block(self.pool(x) if level else x)
                maps.append(x)
            return maps

    class UNet(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.encoder = Encoder()
            pairs = list(pairwise(reversed(channels)))
            self.reduce = nn.ModuleList([convolution(below, n, 1) for below, n in pairs])
            self.decoder = nn.ModuleList([Residual(2 * n, n) for _, n in pairs])
            self.head = nn.Conv2d(width, classes, 1)

        def forward(self, x: Any) -> Any:
            *skips, y = self.encoder(x)
            for reduce, block, skip in zip(self.reduce, self.decoder, reversed(skips), strict=True):
                y = functional.interpolate(reduce(y), size=skip.shape[2:])
                y = block(join([y, skip], 1))
            return functional.interpolate(self.head(y), size=x.shape[2:], mode="bilinear")

    return UNet()


def vgg_features(nn: Any, stages: tuple[int, ...], width: int = 64) -> list[Any]:
    """The layers of VGG's convolutional part (Simonyan and Zisserman 2015, table 1)."""
    layers: list[Any] = []
    channels = 3
    for stage, count in zip(STAGES, stages, strict=True):
        for _ in range(count):
            layers += [nn.Conv2d(channels, width * stage, 3, padding=1), nn.ReLU()]
            channels = width * stage
        layers.append(nn.MaxPool2d(2))
    return layers


def vgg19_taps(nn: Any, width: int = 64) -> Any:
    """What Gatys et al. 2016 read from VGG-19: ReLU 1_1, 2_1, 3_1, 4_1, 4_2 (content), 5_1.

    Nothing behind the last of them is computed.
    """
    layers = vgg_features(nn, VGG19, width)
    convolutions = [i for i, layer in enumerate(layers) if isinstance(layer, nn.Conv2d)]
    ends = [convolutions[i] + 2 for i in (0, 2, 4, 8, 9, 12)]

    class Taps(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            starts = [0, *ends[:-1]]
            parts = [nn.Sequential(*layers[a:b]) for a, b in zip(starts, ends, strict=True)]
            self.parts = nn.ModuleList(parts)

        def forward(self, x: Any) -> list[Any]:
            taps = []
            for part in self.parts:
                x = part(x)
                taps.append(x)
            return taps

    return Taps()


def generator(
    nn: Any, width: int = 64, *, channels: int = 3, size: int = 64, latent: int = 100
) -> Any:
    """DCGAN's generator (Radford et al. 2016): noise (N, latent, 1, 1) to pictures."""
    layers: list[Any] = []
    inputs = latent
    for i, filters in enumerate(reversed(_gan_widths(size, width))):
        stride, padding = (2, 1) if i else (1, 0)
        layers += [
            nn.ConvTranspose2d(inputs, filters, 4, stride=stride, padding=padding, bias=False),
            nn.BatchNorm2d(filters),
            nn.ReLU(),
        ]
        inputs = filters
    last = nn.ConvTranspose2d(inputs, channels, 4, stride=2, padding=1, bias=False)
    return nn.Sequential(*layers, last, nn.Tanh())


def discriminator(nn: Any, width: int = 64, *, channels: int = 3, size: int = 64) -> Any:
    """DCGAN's discriminator: pictures (N, channels, size, size) to logits (N, 1)."""
    layers: list[Any] = []
    inputs = channels
    for i, filters in enumerate(_gan_widths(size, width)):
        layers.append(nn.Conv2d(inputs, filters, 4, stride=2, padding=1, bias=False))
        if i:
            layers.append(nn.BatchNorm2d(filters))
        layers.append(nn.LeakyReLU(0.2))
        inputs = filters
    return nn.Sequential(*layers, nn.Conv2d(inputs, 1, 4, bias=False), nn.Flatten())


def _gan_widths(size: int, width: int) -> list[int]:
    return [width * 2**level for level in range(size.bit_length() - 3)]


def captioner(nn: Any, vocabulary: int = 5000, features: int = 2048, width: int = 64) -> Any:
    """NIC's language model (Vinyals et al. 2015), states and embeddings of 8 width = 512.

    From the features (N, 1, `features`) of the pictures and the words (N, T) the logits
    (N, T + 1, vocabulary): the picture is the first input of the LSTM, the words follow.
    """
    hidden = 8 * width

    class Captioner(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.picture = nn.Linear(features, hidden)
            self.words = nn.Embedding(vocabulary, hidden)
            self.lstm = nn.LSTM(hidden, hidden, batch_first=True)
            self.scores = nn.Linear(hidden, vocabulary)

        def forward(self, join: Any, pictures: Any, words: Any) -> Any:
            inputs = join([self.picture(pictures), self.words(words)], 1)
            return self.scores(self.lstm(inputs)[0])

    return Captioner()


def soft_attention(
    nn: Any, join: Any, vocabulary: int = 5000, channels: int = 512, width: int = 64
) -> Any:
    """captioning's decoder that looks at the picture for every word (Xu et al. 2015).

    From feature maps (N, channels, h, w) and words (N, T) the logits (N, T, vocabulary); states and
    embeddings of 8 width = 512.
    """
    hidden = 8 * width

    class Captioner(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embedding = nn.Embedding(vocabulary, hidden)
            self.cell = nn.LSTM(hidden + channels, hidden, batch_first=True)
            self.scores = nn.Linear(hidden, vocabulary)
            self.start = nn.Linear(channels, 2 * hidden)
            self.of_places = nn.Linear(channels, hidden // 2)
            self.of_state = nn.Linear(hidden, hidden // 2, bias=False)
            self.energy = nn.Linear(hidden // 2, 1, bias=False)
            self.gate = nn.Linear(hidden, 1)
            self.output_state = nn.Linear(hidden, hidden)
            self.output_seen = nn.Linear(channels, hidden, bias=False)

        def forward(self, features: Any, words: Any) -> Any:
            places = features.flatten(2).transpose(1, 2)
            keys, embedded = self.of_places(places), self.embedding(words)
            start = self.start(features.mean((2, 3))).tanh()
            # Parts joined lie as cuDNN wants them.
            state = join([start[None, :, :hidden]], 0), join([start[None, :, hidden:]], 0)
            outputs, seen = [], []
            for t in range(embedded.shape[1]):
                h = state[0][0]
                energy = self.energy((keys + self.of_state(h).unsqueeze(1)).tanh())
                context = (energy[:, :, 0].softmax(1).unsqueeze(1) @ places)[:, 0]
                context = self.gate(h).sigmoid() * context
                read = join([embedded[:, t], context], 1).unsqueeze(1)
                output, state = self.cell(read, state)
                outputs.append(output)
                seen.append(context.unsqueeze(1))
            deep = embedded + self.output_state(join(outputs, 1)) + self.output_seen(join(seen, 1))
            return self.scores(deep.tanh())

    return Captioner()


def q_network(nn: Any, size: int = 84, actions: int = 6, width: int = 64) -> Any:
    """The network of DQN (Mnih et al. 2015): frames (N, 4, size, size) to (N, actions)."""
    side = size
    for kernel, stride in ((8, 4), (4, 2), (3, 1)):
        side = (side - kernel) // stride + 1
    return nn.Sequential(
        nn.Conv2d(4, width // 2, 8, stride=4),
        nn.ReLU(),
        nn.Conv2d(width // 2, width, 4, stride=2),
        nn.ReLU(),
        nn.Conv2d(width, width, 3),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(width * side**2, 8 * width),
        nn.ReLU(),
        nn.Linear(8 * width, actions),
    )


def alexnet(nn: Any, width: int = 64, classes: int = 1000) -> Any:
    """AlexNet in its one-column form (Krizhevsky 2014), as torchvision has it."""
    widths = [3, *(width * n for n in (1, 3, 6, 4, 4))]
    layers: list[Any] = []
    for i, (kernel, stride, padding) in enumerate(((11, 4, 2), (5, 1, 2), *[(3, 1, 1)] * 3)):
        layers.append(nn.Conv2d(widths[i], widths[i + 1], kernel, stride=stride, padding=padding))
        layers.append(nn.ReLU())
        if i in (0, 1, 4):
            layers.append(nn.MaxPool2d(3, 2))
    hidden = 64 * width
    return nn.Sequential(
        *layers,
        nn.AdaptiveAvgPool2d(6),
        nn.Flatten(),
        nn.Dropout(),
        nn.Linear(widths[-1] * 36, hidden),
        nn.ReLU(),
        nn.Dropout(),
        nn.Linear(hidden, hidden),
        nn.ReLU(),
        nn.Linear(hidden, classes),
    )


def vgg16(nn: Any, width: int = 64, classes: int = 1000) -> Any:
    """VGG-16 (Simonyan and Zisserman 2015, table 1, column D): logits (N, classes)."""
    hidden = 64 * width
    return nn.Sequential(
        *vgg_features(nn, VGG16, width),
        nn.AdaptiveAvgPool2d(7),
        nn.Flatten(),
        nn.Linear(8 * width * 49, hidden),
        nn.ReLU(),
        nn.Dropout(),
        nn.Linear(hidden, hidden),
        nn.ReLU(),
        nn.Dropout(),
        nn.Linear(hidden, classes),
    )
