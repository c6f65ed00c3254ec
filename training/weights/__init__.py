"""Published VGG-16 weights: one reader per file format, each to tensors by the network's well-known layer names."""
