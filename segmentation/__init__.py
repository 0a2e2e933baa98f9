"""Segmentation: a class for every pixel (book, 8.4.2 and 8.5.3)."""
