"""`python -m detection`: the verbs of detection, and `python -m detection VERB`."""

from __future__ import annotations

from core.cli import application_main

if __name__ == "__main__":
    application_main("detection")
