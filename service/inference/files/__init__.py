"""Model files: their content, and the inputs and outputs of their graphs."""
