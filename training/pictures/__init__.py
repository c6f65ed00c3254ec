"""What a run knows, as pictures."""
