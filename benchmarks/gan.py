"""Train DCGAN on PyTorch: the same start, batches, noise and schedule as `dcgan.train`.

    python -m dcgan.train --recipe mnist --seed 0
    python -m benchmarks.gan --recipe mnist --seed 0

Both runs are measured by the same code, on the same noise. The two differ in how sums are rounded
and in nothing else; what they reach should differ by no more than seeds do.
"""

from __future__ import annotations

from typing import Any

import core
from benchmarks import networks
from benchmarks.accuracy import taken_over
from core import recipes
from core.cli import resolve_device, run_command
from core.kernels.threads import get_num_threads
from core.training.progress import Progress
from core.training.run import Run
from dcgan.artist import Artist, noise
from dcgan.evaluate import report
from dcgan.recipes import RECIPES
from dcgan.train import NETWORK, Options, loader, pictures_of
from dcgan.training import take_statistics


def main(options: Options) -> dict[str, Any]:
    """Train, take the weights over, and measure as `dcgan.train` does; returns the summary."""
    import torch

    if options.spectral or options.loss != "bce":
        raise ValueError(f"recipe {options.recipe!r}: only the paper's game is written for both")
    if options.resume:
        raise ValueError("--resume: PyTorch's side keeps no checkpoint; start it again")
    torch.set_num_threads(get_num_threads())
    core.seed(options.seed)
    data = pictures_of(options)
    run = Run.create(options.out, "benchmarks", "gan", options)
    settings = options.network_options(data.images.shape[1], len(data.classes))
    artist = Artist.new(settings, classes=data.classes, data=options.data)
    assert artist.discriminator is not None
    # Classes are further numbers beside the noise, and further planes beside the colours.
    made, told, size = artist.generator.channels, artist.generator.classes, options.size
    g = taken_over(
        networks.generator(
            torch.nn, options.width, latent=options.latent + told, channels=made, size=size
        ),
        artist.generator,
    )
    d = taken_over(
        networks.discriminator(torch.nn, options.width, channels=made + told, size=size),
        artist.discriminator,
    )
    device = resolve_device(options.device)
    torch.backends.cuda.matmul.allow_tf32 = options.precision == "tf32"
    torch.backends.cudnn.allow_tf32 = options.precision == "tf32"
    g, d = g.to(device), d.to(device)
    _play(g, d, options, data, told, device)
    _give(g, artist.generator)
    _give(d, artist.discriminator)
    take_statistics(artist, options, options.seed)
    artist.save(run.path(NETWORK), seed=options.seed, half=True)
    artist = Artist.load(run.path(NETWORK))
    return run.finish(report(run, artist, data, options.data, options.samples, options.seed))


def _play(g: Any, d: Any, options: Options, data: Any, classes: int, device: str) -> None:
    import torch

    def told(values: Any, labels: Any) -> Any:
        """Values (N, C, h, w) with a plane of ones or zeros for each class."""
        if not classes:
            return values
        planes = torch.nn.functional.one_hot(labels, classes).to(values.dtype)[:, :, None, None]
        return torch.cat([values, planes.expand(-1, -1, *values.shape[2:])], 1)

    betas = options.beta1, 0.999
    steps = {net: torch.optim.Adam(net.parameters(), options.lr, betas) for net in (g, d)}
    criterion = torch.nn.BCEWithLogitsLoss()
    averages = [parameter.detach().clone() for parameter in g.parameters()]
    batches, step = loader(data, options), 0
    with Progress(epochs=options.epochs, steps_per_epoch=len(batches), title="pytorch") as progress:
        for epoch in range(options.epochs):
            for pictures, labels in batches:
                labels = torch.from_numpy(labels).to(device)
                points = noise(len(pictures), options.latent, (options.seed, step))
                made = g(told(torch.from_numpy(points).to(device)[:, :, None, None], labels))
                ones = torch.ones(len(pictures), 1, device=device)
                zeros = torch.zeros_like(ones)
                real = ones - options.label_smoothing
                steps[d].zero_grad()
                d_loss = criterion(d(told(torch.from_numpy(pictures).to(device), labels)), real)
                d_loss = d_loss + criterion(d(told(made.detach(), labels)), zeros)
                d_loss.backward()
                steps[d].step()
                steps[g].zero_grad()
                g_loss = criterion(d(told(made, labels)), ones)
                g_loss.backward()
                steps[g].step()
                step += 1
                if options.average is not None:
                    # As core.training.average.MovingAverage.
                    share = 1 - min(options.average, step / (step + 9))
                    torch._foreach_lerp_(averages, [p.detach() for p in g.parameters()], share)
                progress.step({"d_loss": d_loss.item(), "g_loss": g_loss.item()})
            progress.epoch(epoch + 1, {"d_loss": d_loss.item(), "g_loss": g_loss.item()})
    if options.average is not None:
        for parameter, average in zip(g.parameters(), averages, strict=True):
            parameter.data.copy_(average)


def _give(peer: Any, ours: core.nn.Module) -> None:
    values = [tensor.detach().cpu().numpy() for tensor in peer.state_dict().values()]
    ours.load_state_dict(dict(zip(ours.state_dict(), values, strict=True)))


if __name__ == "__main__":
    run_command(main, Options, defaults=recipes.defaults(Options, "mnist", RECIPES))
