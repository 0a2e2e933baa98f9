"""`python -m dqn`: the verbs of the DQN agent, and `python -m dqn VERB`."""

from __future__ import annotations

from core.cli import application_main

if __name__ == "__main__":
    application_main("dqn")
