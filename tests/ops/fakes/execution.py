"""Stands in for the execution process."""

from tests.ops.fakes.child import main

main("execution")
