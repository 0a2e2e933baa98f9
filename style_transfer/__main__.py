"""`python -m style_transfer`: the verbs of style transfer, and `python -m style_transfer VERB`."""

from __future__ import annotations

from core.cli import application_main

if __name__ == "__main__":
    application_main("style_transfer")
