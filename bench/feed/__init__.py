"""What the parts of the feed cost."""
