"""Stands in for the journal process."""

from tests.ops.fakes.child import main

main("journal")
