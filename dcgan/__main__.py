"""`python -m dcgan`: the verbs of dcgan, and `python -m dcgan VERB`."""

from __future__ import annotations

from core.cli import application_main

if __name__ == "__main__":
    application_main("dcgan")
