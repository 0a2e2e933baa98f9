"""Looking at what a network costs: size and arithmetic by layer, and where the time goes."""

from core.inspect.layer_sizes import Layer, Summary, summary
from core.inspect.layer_times import LayerTime, Profile, profile

__all__ = ["Layer", "LayerTime", "Profile", "Summary", "profile", "summary"]
