"""From scores to what the client asked for."""
