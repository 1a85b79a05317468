"""Floor 3: the feed process: decode, book, market ring."""
