"""What each layer keeps of a picture: figure 1 of Gatys et al. 2016."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from core import viz
from core.data.images import Picture
from core.training.run import Run
from style_transfer.network import Network
from style_transfer.session import work
from style_transfer.stylise import Settings, Stylisation

LAYERS = "layers.png"


def by_layer(
    network: Network,
    run: Run,
    settings: Settings,
    names: Sequence[str],
    content: Picture,
    style: Picture | None = None,
) -> dict[str, float]:
    """Reconstruct a content from each layer alone, and a style from the layers up to each.

    All start from noise. Writes `content-LAYER.png` and `style-LAYER.png` and `layers.png` with all
    of them; returns how much of the noise's loss is left in each, by the file's stem.
    """
    rows: list[tuple[str, Picture]] = []
    left: dict[str, float] = {}
    for kind, picture in (("style", style), ("content", content)):
        if picture is None:
            continue
        for number, name in enumerate(names, start=1):
            used = {name: 1.0} if kind == "content" else dict.fromkeys(names[:number], 1 / number)
            weights = replace(
                settings.weights,
                content=used if kind == "content" else {},
                style=used if kind == "style" else {},
                content_weight=1.0,
                style_weight=1.0,
            )
            own = replace(settings, weights=weights, init="noise")
            pair = (picture, []) if kind == "content" else (None, [(picture, 1.0)])
            job = Stylisation(network, own, *pair)
            stem = f"{kind}-{name}"
            result = work(job, run, name=f"{stem}.png", resumable=False)
            left[stem] = job.compared(result)[f"{kind} loss"]["final/noise"]
            rows.append((stem, result))
    grid = viz.image_grid(
        [one for _, one in rows], [stem for stem, _ in rows], columns=len(names), size=2.2
    )
    viz.save(grid, run.picture(LAYERS))
    return left
