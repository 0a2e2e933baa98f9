"""Every picture that the project makes: figures, and pictures with drawings on them.

Figures belong to nobody: they are made without pyplot, so there is no window and no state
between calls, and any number of threads may draw.
"""

from core.viz.animation import save_animation
from core.viz.boxes import draw_boxes
from core.viz.comparisons import histograms, lines, paths, scatter
from core.viz.figure import save
from core.viz.grid import filters, image_grid
from core.viz.inside import feature_maps, graph, heat
from core.viz.masks import mask_grid, overlay
from core.viz.mistakes import mistakes
from core.viz.plots import confusion_matrix, curves, precision_recall
from core.viz.search import search_curves, search_map
from core.viz.shares import shares

__all__ = [
    "confusion_matrix",
    "curves",
    "draw_boxes",
    "feature_maps",
    "filters",
    "graph",
    "heat",
    "histograms",
    "image_grid",
    "lines",
    "mask_grid",
    "mistakes",
    "overlay",
    "paths",
    "precision_recall",
    "save",
    "save_animation",
    "scatter",
    "search_curves",
    "search_map",
    "shares",
]
