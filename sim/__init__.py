"""The paper exchange: a venue speaking docs/wire-protocol.md in a process of its own.

It is the judge of the other rooms and therefore imports none of them.
"""
