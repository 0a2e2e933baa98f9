"""`python -m segmentation`: the verbs of segmentation, and `python -m segmentation VERB`."""

from __future__ import annotations

from core.cli import application_main

if __name__ == "__main__":
    application_main("segmentation")
