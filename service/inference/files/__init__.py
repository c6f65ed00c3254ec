"""Model files: what is in them, and how they take images and give scores."""
