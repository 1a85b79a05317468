"""Latency measured from the venue's side: a compiled load generator, the floor, the asyncio baseline, and Pulex."""
