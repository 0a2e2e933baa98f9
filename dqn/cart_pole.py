"""The cart and its pole, drawn from the state, so that no graphics package is needed."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from core.data.images import Picture
from core.viz.figure import INK, PALETTE

ID = "CartPole-v1"

_WIDTH, _HEIGHT, _GROUND = 480, 240, 190
_SCALE = _WIDTH / 4.8  # pixels in a unit of the position, which ends at +-2.4
_CART, _POLE = (70, 34), 110


def picture(state: NDArray[np.float32]) -> Picture:
    """The scene, uint8 (240, 480, 3), for a state (4,): position, speed, angle (radians), turn."""
    from PIL import Image, ImageDraw

    image = Image.new("RGB", (_WIDTH, _HEIGHT), "white")
    draw = ImageDraw.Draw(image)
    x = _WIDTH / 2 + float(state[0]) * _SCALE
    width, height = _CART
    draw.line((0, _GROUND, _WIDTH, _GROUND), fill="#bbbbbb", width=2)
    cart = (x - width / 2, _GROUND - height, x + width / 2, _GROUND)
    draw.rounded_rectangle(cart, radius=6, fill=INK)
    for wheel in (x - width / 4, x + width / 4):
        draw.ellipse((wheel - 7, _GROUND - 7, wheel + 7, _GROUND + 7), fill="#888888")
    angle = float(state[2])
    top = (x + _POLE * math.sin(angle), _GROUND - height - _POLE * math.cos(angle))
    draw.line((x, _GROUND - height, *top), fill=PALETTE[1], width=12)
    draw.ellipse((x - 7, _GROUND - height - 7, x + 7, _GROUND - height + 7), fill=PALETTE[0])
    return np.asarray(image)
