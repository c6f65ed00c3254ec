"""Loaded models, and the folder that they come from."""
