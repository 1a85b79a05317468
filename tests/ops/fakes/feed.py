"""Stands in for the feed process."""

from tests.ops.fakes.child import main

main("feed")
