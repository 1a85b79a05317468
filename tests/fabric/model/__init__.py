"""The model check of shared memory: every interleaving of the rings' own source, under three memory models."""
