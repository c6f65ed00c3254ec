"""Labelled data: one reader per layout, one entry per data set."""
