"""From scores to the answer that the client asked for."""
