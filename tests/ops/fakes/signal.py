"""Stands in for the signal process."""

from tests.ops.fakes.child import main

main("signal")
