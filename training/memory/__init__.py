"""How much memory training needs, and how to make a run fit: see docs/memory.md."""
