"""Data sets, pictures and the loader, on NumPy arrays only.

Scenes and augmentation are modules of their own: ``from core.data import scenes, augment``.
"""

from core.data.cifar import cifar10
from core.data.dataset import ArrayDataset, BatchDataset, Dataset, stratified
from core.data.digits import embedded_digits
from core.data.flowers import flowers
from core.data.folder import ImageFolder
from core.data.idx import fashion_mnist, mnist, read_idx
from core.data.images import read_image, resize, save_image
from core.data.loader import DataLoader, default_collate
from core.data.rng import Draws
from core.data.roots import find

__all__ = [
    "ArrayDataset",
    "BatchDataset",
    "DataLoader",
    "Dataset",
    "Draws",
    "ImageFolder",
    "cifar10",
    "default_collate",
    "embedded_digits",
    "fashion_mnist",
    "find",
    "flowers",
    "mnist",
    "read_idx",
    "read_image",
    "resize",
    "save_image",
    "stratified",
]
