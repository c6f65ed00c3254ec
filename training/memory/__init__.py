"""What training takes of a machine's memory, and how to make it fit: see training/MEMORY.md."""
