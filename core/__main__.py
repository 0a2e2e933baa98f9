"""`python -m core`: the verbs of the core, and `python -m core VERB`."""

from __future__ import annotations

from core.cli import application_main

if __name__ == "__main__":
    application_main("core")
