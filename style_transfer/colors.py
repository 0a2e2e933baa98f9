"""Keeping the content's colours (Gatys et al. 2017, section 5: "Colour control")."""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from style_transfer.objective import FloatPicture, Losses, Objective

Colors = Literal["style", "luminance", "histogram"]

_LUMA = np.array([0.299, 0.587, 0.114], np.float32)  # ITU-R BT.601


def luminance(picture: FloatPicture) -> FloatPicture:
    """The picture in grey, three channels of it."""
    return np.repeat((picture @ _LUMA)[:, :, None], 3, axis=2)


class InGrey:
    """The loss of grey pictures, whose slope keeps them grey: the same in all three channels.

    Otherwise each channel goes its own way, and the luminance of what they become is none that the
    loss has seen.
    """

    def __init__(self, objective: Objective) -> None:
        self._objective = objective

    def evaluate(self, picture: FloatPicture) -> tuple[Losses, FloatPicture]:
        """The losses of a picture (H, W, 3), and the gradient of their sum among grey ones."""
        losses, gradient = self._objective.evaluate(picture)
        return losses, np.repeat(gradient.mean(axis=2, keepdims=True), 3, axis=2)


def match_luminance(style: FloatPicture, content: FloatPicture) -> FloatPicture:
    """The style in grey, with the mean and the deviation of the content's luminance."""
    grey, wanted = luminance(style), luminance(content)
    spread = float(wanted.std()) / max(float(grey.std()), 1e-6)
    return ((grey - grey.mean()) * np.float32(spread) + wanted.mean()).clip(0, 1)


def with_colors_of(result: FloatPicture, content: FloatPicture) -> FloatPicture:
    """The result's luminance with the content's colours; both (H, W, 3).

    Where such a colour would leave 0..1 it gets as much paler as it must: cut off, it would have
    another luminance than the one that was optimised.
    """
    grey = luminance(result).clip(0, 1)
    color = content - luminance(content)
    room = np.where(color > 0, 1 - grey, grey) / np.maximum(np.abs(color), 1e-6)
    return (grey + room.min(axis=2, keepdims=True).clip(0, 1) * color).clip(0, 1)


def match_colors(style: FloatPicture, content: FloatPicture) -> FloatPicture:
    """The style with the mean and covariance of the content's colours, by a linear map.

    x -> L_c L_s^-1 (x - m_s) + m_c for symmetric roots L of the covariances (section 5.2 calls
    it the image analogies' form, and matching the histogram).
    """
    source, target = (part.reshape(-1, 3).astype(np.float64) for part in (style, content))
    change = _root(np.cov(target.T)) @ np.linalg.inv(_root(np.cov(source.T)))
    moved = (source - source.mean(0)) @ change.T + target.mean(0)
    return moved.reshape(style.shape).clip(0, 1).astype(np.float32)


def _root(covariance: NDArray[np.float64]) -> NDArray[np.float64]:
    values, vectors = np.linalg.eigh(np.nan_to_num(covariance) + 1e-5 * np.eye(3))
    return (vectors * np.sqrt(values)) @ vectors.T
