"""The core beside its peers: what is measured, and the commands that measure it."""
