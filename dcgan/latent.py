"""Points of the latent space: on the way between two, and their arithmetic."""

from __future__ import annotations

import numpy as np

from dcgan.artist import Noise


def slerp(a: Noise, b: Noise, shares: np.ndarray) -> Noise:
    """Points (len(shares), latent) from a to b along the great circle: share 0 is a, 1 is b.

    Points of a normal distribution lie near a sphere, which the straight line leaves (White 2016,
    section 2.1); lengths in between go evenly from one's to the other's.
    """
    lengths = np.linalg.norm(a), np.linalg.norm(b)
    cosine = float(a @ b) / float(lengths[0] * lengths[1])
    angle = np.arccos(np.clip(cosine, -1, 1))
    t = np.asarray(shares, np.float64)[:, None]
    if np.sin(angle) < 1e-6:
        return ((1 - t) * a + t * b).astype(np.float32)
    direction = (
        np.sin((1 - t) * angle) * (a / lengths[0]) + np.sin(t * angle) * (b / lengths[1])
    ) / np.sin(angle)
    return (direction * ((1 - t) * lengths[0] + t * lengths[1])).astype(np.float32)


def walk(points: Noise, steps: int) -> Noise:
    """A round trip (len(points) * steps, latent) past all points and back to the first."""
    shares = np.arange(steps) / steps
    legs = [slerp(a, b, shares) for a, b in zip(points, np.roll(points, -1, axis=0), strict=True)]
    return np.concatenate(legs)


def arithmetic(first: Noise, less: Noise, more: Noise) -> Noise:
    """mean(first) - mean(less) + mean(more), each (N, latent) (Radford et al. 2016, section 6.3.2).

    Brought to the length that points of the distribution have.
    """
    return _at_length(first.mean(axis=0) - less.mean(axis=0) + more.mean(axis=0))


def centre(points: Noise) -> Noise:
    """The mean of points (N, latent), brought to the length that points have."""
    return _at_length(points.mean(axis=0))


def _at_length(point: Noise) -> Noise:
    return (point * np.sqrt(len(point)) / np.linalg.norm(point)).astype(np.float32)
