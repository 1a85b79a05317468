"""Floor 1: shared memory. This file imports nothing, so that ``fabric.layout`` stays free for the watchdog."""
