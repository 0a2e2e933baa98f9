"""Training: the loop, its run folder, progress and interruption."""
