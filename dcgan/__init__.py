"""Pictures out of noise: DCGAN; see `python -m dcgan`."""
