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
from core.training.average import update_bn
from core.training.progress import Progress
from core.training.run import Run
from dcgan.artist import Artist, noise
from dcgan.evaluate import report
from dcgan.recipes import RECIPES
from dcgan.train import NETWORK, Options, loader, pictures_of
from dcgan.training import noise_batches


def main(options: Options) -> dict[str, Any]:
    """Train, take the weights over, and measure as `dcgan.train` does; returns the summary."""
    import torch

    if options.conditional or options.spectral or options.loss != "bce":
        raise ValueError(
            f"recipe {options.recipe!r}: only the paper's networks are written for both"
        )
    torch.set_num_threads(get_num_threads())
    core.seed(options.seed)
    data = pictures_of(options)
    run = Run.create(options.out, "benchmarks", "gan", options)
    settings = options.network_options(data.images.shape[1], len(data.classes))
    artist = Artist.new(settings, classes=data.classes, data=options.data)
    assert artist.discriminator is not None
    shape = {"channels": artist.generator.channels, "size": options.size}
    g = taken_over(
        networks.generator(torch.nn, options.width, latent=options.latent, **shape),
        artist.generator,
    )
    d = taken_over(networks.discriminator(torch.nn, options.width, **shape), artist.discriminator)
    device = resolve_device(options.device)
    torch.backends.cuda.matmul.allow_tf32 = options.precision == "tf32"
    torch.backends.cudnn.allow_tf32 = options.precision == "tf32"
    g, d = g.to(device), d.to(device)
    _play(g, d, options, data, device)
    _give(g, artist.generator)
    _give(d, artist.discriminator)
    update_bn(noise_batches(options, options.seed), artist.generator)
    artist.save(run.path(NETWORK), seed=options.seed, half=True)
    artist = Artist.load(run.path(NETWORK))
    return run.finish(report(run, artist, data, options.samples, options.seed))


def _play(g: Any, d: Any, options: Options, data: Any, device: str) -> None:
    import torch

    betas = options.beta1, 0.999
    steps = {net: torch.optim.Adam(net.parameters(), options.lr, betas) for net in (g, d)}
    criterion = torch.nn.BCEWithLogitsLoss()
    averages = [parameter.detach().clone() for parameter in g.parameters()]
    batches, step = loader(data, options), 0
    with Progress(epochs=options.epochs, steps_per_epoch=len(batches), title="pytorch") as progress:
        for epoch in range(options.epochs):
            for pictures, _ in batches:
                points = noise(len(pictures), options.latent, (options.seed, step))
                made = g(torch.from_numpy(points).to(device)[:, :, None, None])
                ones = torch.ones(len(pictures), 1, device=device)
                zeros = torch.zeros_like(ones)
                real = ones - options.label_smoothing
                steps[d].zero_grad()
                d_loss = criterion(d(torch.from_numpy(pictures).to(device)), real)
                d_loss = d_loss + criterion(d(made.detach()), zeros)
                d_loss.backward()
                steps[d].step()
                steps[g].zero_grad()
                g_loss = criterion(d(made), ones)
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
