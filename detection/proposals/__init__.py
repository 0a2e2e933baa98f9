"""Region proposals by selective search, one picture at a time or a data set over processes."""

from detection.proposals.batch import SearchOptions, proposal_cache, proposals_for
from detection.proposals.search import selective_search

__all__ = ["SearchOptions", "proposal_cache", "proposals_for", "selective_search"]
