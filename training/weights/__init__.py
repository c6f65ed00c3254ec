"""Published VGG-16 weights: one reader per file format; all return tensors by VGG-16's well-known layer names."""
