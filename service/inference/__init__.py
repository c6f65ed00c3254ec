"""Running models: their files, sessions and tiles, and the scheduling of work on them."""
