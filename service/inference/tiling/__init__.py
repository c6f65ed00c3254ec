"""Tiling: how images that are too large for one run are run in parts."""
