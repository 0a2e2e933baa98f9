"""`python -m captioning`: the verbs of captioning, and `python -m captioning VERB`."""

from __future__ import annotations

from core.cli import application_main

if __name__ == "__main__":
    application_main("captioning")
