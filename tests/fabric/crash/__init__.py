"""Crash sweep: a writer and a reader on real segments, killed and stopped at random points, checked after each fault.

``kernels`` what both do in compiled code · ``shared`` where they put it, and what they report · ``actors`` the two processes ·
``stage`` starting, stopping and killing them · ``checks`` what must hold · ``sweep`` the faults · ``__main__`` the long form.

The lossless contract. A record is *taken* when the reader was handed it and *done* when the count in the reader's own segment
has passed it. A reader that restarts goes on right after what was done:

- done: never handed out again;
- taken and not done (at most BATCH records): handed out once more by each restart that reaches it, first, in order, the same;
- published and not taken: handed out later; never overwritten, because slots are reused after *done* alone.

So a record is handed out at least once and has its effect exactly once when the effect is keyed by the sequence, as the
journal does it (the place in the file is the sequence). A superseded writer is told that nobody reads it. What is outside of
the contract: a writer restarted before the dead reader of its predecessor. ``Segment.create`` removes a dead predecessor, and
what was published and not done goes with it; here the reader is always restarted first.
"""

import os

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # before numpy comes: the parent that forks has one thread
