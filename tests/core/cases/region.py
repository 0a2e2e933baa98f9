"""Regions of pictures, and textures. Boxes are small and stay on the host."""

from typing import Any

import numpy as np

from tests.core.bench import apart, case, normal

# The picture's number, then x1, y1, x2, y2 in its pixels: inside, tiny, and partly outside.
BOXES = np.array(
    [[0, 1, 2, 9, 11], [1, 3.3, 0.6, 4.1, 7.7], [1, -3, -2, 5.5, 6], [0, 6, 6, 6, 6]], np.float32
)
# The same for each picture apart.
EACH = [BOXES[BOXES[:, 0] == n, 1:] for n in range(2)]


def gram_of(F: Any, x: Any) -> Any:
    rows = F.flatten(x, 2)
    return F.matmul(rows, F.transpose(rows, 1, 2)) / (x.shape[1] * x.shape[2] * x.shape[3])


CASES = [
    case("roi_pool", lambda F, x: F.roi_pool(x, BOXES, (2, 3), 0.5), apart(2, 3, 7, 6), peer=None),
    case(
        "roi_pool", lambda F, x: F.roi_pool(x, EACH, 2), apart(2, 1, 9, 8), label="each", peer=None
    ),
    case(
        "roi_align", lambda F, x: F.roi_align(x, BOXES, (2, 3), 0.5), normal(2, 3, 7, 6), peer=None
    ),
    case(
        "roi_align",
        lambda F, x: F.roi_align(x, EACH, 3, 1.0, sampling_ratio=2, aligned=True),
        normal(2, 2, 9, 8),
        label="aligned",
        peer=None,
    ),
    case("gram_matrix", lambda F, x: F.gram_matrix(x), normal(2, 3, 5, 4), peer=gram_of),
    case(
        "gram_matrix", lambda F, x: F.gram_matrix(x), normal(1, 1, 2, 2), label="one", peer=gram_of
    ),
]
