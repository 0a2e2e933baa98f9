"""What selective search begins with: colour spaces, small regions, and their descriptors."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

COLOUR_BINS = 25
TEXTURE_BINS = 10
ORIENTATIONS = 8

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Regions:
    """The n regions of a segmentation, described for grouping.

    ``sizes`` (n,) in pixels; ``boxes`` (n, 4) x1, y1, x2, y2; ``colour`` and ``texture`` (n, bins),
    each row adds up to 1; ``adjacent`` (n, n), True where two regions share an edge; ``area`` is
    that of the picture.
    """

    sizes: Floats
    boxes: Floats
    colour: Floats
    texture: Floats
    adjacent: NDArray[np.bool_]
    area: int


def to_colour_space(picture: NDArray[np.uint8], name: str) -> Floats:
    """Return a picture (H, W, 3) uint8 RGB as float32 (H, W, C) in another space, all in [0, 1].

    ``name`` is one of ``rgb``, ``hsv``, ``lab``, ``rgi`` (normalised red and green, intensity),
    ``hue`` and ``grey``. Source: Uijlings et al. 2013, section 3.2 and table 2.
    """
    from skimage import color

    rgb: Floats = np.multiply(picture, np.float32(1 / 255), dtype=np.float32)
    if name == "rgb":
        return rgb
    if name == "hsv":
        return color.rgb2hsv(rgb).astype(np.float32)
    if name == "hue":
        return color.rgb2hsv(rgb)[:, :, :1].astype(np.float32)
    if name == "lab":
        return ((color.rgb2lab(rgb) + np.array([0, 128, 128])) / np.array([100, 255, 255])).astype(
            np.float32
        )
    if name == "grey":
        return color.rgb2gray(rgb)[:, :, None].astype(np.float32)
    if name == "rgi":
        chroma = rgb[:, :, :2] / np.maximum(rgb.sum(axis=2, keepdims=True), 1e-3)
        joined = np.concatenate([chroma, color.rgb2gray(rgb)[:, :, None]], axis=2)
        return joined.astype(np.float32)
    raise ValueError(f"colour space: expected rgb, hsv, lab, rgi, hue or grey, got {name!r}")


def initial_regions(
    image: Floats, scale: float, sigma: float, min_size: int, max_regions: int
) -> NDArray[np.int64]:
    """Return a label map (H, W), 0..n-1, of Felzenszwalb and Huttenlocher's regions (2004).

    ``scale`` is their k for values of 0 to 255. A picture that falls into more than
    ``max_regions`` parts is segmented again with a larger ``min_size``: grouping takes time
    that grows with the square of their number.
    """
    from skimage.segmentation import felzenszwalb

    while True:
        labels = felzenszwalb(image, scale=scale, sigma=sigma, min_size=min_size, channel_axis=2)
        if labels.max() < max_regions:
            return labels.astype(np.int64)
        min_size *= 2


def superpixels(picture: NDArray[np.uint8], count: int, compactness: float) -> NDArray[np.int64]:
    """Return a label map (H, W), 0..n-1, of about ``count`` compact regions (SLIC).

    Felzenszwalb's regions follow edges and so join two objects that touch without one; regions of
    bounded extent cut them. Source: Achanta et al. 2012.
    """
    from skimage.segmentation import slic

    count = max(1, min(count, picture.shape[0] * picture.shape[1] // 16))
    labels = slic(picture, n_segments=count, compactness=compactness, max_num_iter=5, start_label=0)
    return np.unique(labels, return_inverse=True)[1].reshape(labels.shape).astype(np.int64)


def colour_codes(image: Floats) -> NDArray[np.int64]:
    """Return the histogram bin (H, W, C) of every value, each channel over its own range."""
    return _quantise(image, image.min(axis=(0, 1)), image.max(axis=(0, 1)), COLOUR_BINS)


def texture_codes(image: Floats) -> NDArray[np.int64]:
    """Return the bins (H, W, C * 8) of Gaussian derivatives (sigma 1) in eight directions.

    A derivative in one direction is a combination of those along x and y; its negative half is
    the positive half of the opposite direction. Source: Uijlings et al. 2013, section 3.2.
    """
    from scipy.ndimage import gaussian_filter1d

    smooth_y = gaussian_filter1d(image, 1.0, axis=0)
    smooth_x = gaussian_filter1d(image, 1.0, axis=1)
    gx = gaussian_filter1d(smooth_y, 1.0, axis=1, order=1)
    gy = gaussian_filter1d(smooth_x, 1.0, axis=0, order=1)
    angles = np.arange(ORIENTATIONS) * (2 * np.pi / ORIENTATIONS)
    cos, sin = np.cos(angles).astype(np.float32), np.sin(angles).astype(np.float32)
    slopes = np.maximum(gx[..., None] * cos + gy[..., None] * sin, 0)
    strongest = slopes.max(axis=(0, 1, 3))[:, None]
    codes = _quantise(slopes, np.zeros_like(strongest), strongest, TEXTURE_BINS)
    return codes.reshape(*image.shape[:2], -1)


def _quantise(values: Floats, low: Floats, high: Floats, bins: int) -> NDArray[np.int64]:
    span = np.maximum(high - low, 1e-6)
    return np.minimum((values - low) * (bins / span), bins - 1).astype(np.int64)


def describe(
    labels: NDArray[np.int64], colour: NDArray[np.int64], texture: NDArray[np.int64]
) -> Regions:
    """Measure the regions of a label map (H, W), given the pixels' colour and texture codes."""
    count = int(labels.max()) + 1
    return Regions(
        sizes=np.bincount(labels.ravel(), minlength=count).astype(np.float32),
        boxes=_bounding_boxes(labels, count),
        colour=_histograms(labels, colour, COLOUR_BINS, count),
        texture=_histograms(labels, texture, TEXTURE_BINS, count),
        adjacent=_adjacency(labels, count),
        area=labels.size,
    )


def _bounding_boxes(labels: NDArray[np.int64], count: int) -> Floats:
    from scipy.ndimage import find_objects

    slices = find_objects(labels + 1, max_label=count)
    return np.array([(x.start, y.start, x.stop, y.stop) for y, x in slices], dtype=np.float32)


def _histograms(
    labels: NDArray[np.int64], codes: NDArray[np.int64], bins: int, count: int
) -> Floats:
    channels = codes.shape[2]
    cells = (labels[:, :, None] * channels + np.arange(channels)) * bins + codes
    counts = np.bincount(cells.ravel(), minlength=count * channels * bins)
    counts = counts.reshape(count, channels * bins).astype(np.float32)
    return counts / counts.sum(axis=1, keepdims=True)


def _adjacency(labels: NDArray[np.int64], count: int) -> NDArray[np.bool_]:
    adjacent = np.zeros((count, count), dtype=bool)
    adjacent[labels[:, :-1], labels[:, 1:]] = True
    adjacent[labels[:-1], labels[1:]] = True
    adjacent |= adjacent.T
    np.fill_diagonal(adjacent, False)
    return adjacent
