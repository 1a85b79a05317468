"""Revokers: independent ways to end trading at the level of the infrastructure; ``[[kill.revokers]]`` chooses them.

The contract of one revoker, the class ``Revoker`` below. Every verb may be called at any time and any number of times, takes
at most about ``deadline_s``, and either returns one line for people or raises (``RevokerError``, ``Unreachable``, ``OSError``):

``arm``      trading may begin: undo what an earlier ``revoke`` left, and make sure that the next one would work now
``refresh``  every ``refresh_s`` seconds while a lease is granted (0: never)
``revoke``   end trading
``prove``    evidence that it has ended; without evidence it raises
``release``  the orderly end, after the orders are proven gone: leave nothing behind that acts later

The constructor does no network call and raises ``RevokerError``, with what to do, when this host can never do it.
No text that a revoker returns or raises holds a key: it goes to the log and to the latch record.

``crew.Crew`` gives each revoker a thread of its own: verbs of one revoker never overlap, so a refresh in flight is over
before its ``revoke`` begins, and one that hangs or fails delays no other. A failed ``revoke`` or ``prove`` is an alarm, is
counted, and is tried again with a longer deadline until an operator resumes; a kill is not proven before all of them are.

The venue's own key is revoked by the ladder (``watchdog.kill``): what must be cancelled, probed and proven hangs on it.
"""

from __future__ import annotations

from typing import Protocol


class RevokerError(Exception):
    """It did not work; one line with what is wrong and, where an operator can help, what to do."""


class Revoker(Protocol):
    """See the package's docstring."""

    name: str
    refresh_s: float
    deadline_s: float  # of a first try; later tries get more

    def arm(self, deadline_s: float) -> str: ...

    def refresh(self, deadline_s: float) -> str: ...

    def revoke(self, deadline_s: float) -> str: ...

    def prove(self, deadline_s: float) -> str: ...

    def release(self, deadline_s: float) -> str: ...
