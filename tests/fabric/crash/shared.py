"""The page of reports and the ledgers: an anonymous shared mapping of the parent, made before it forks.

What a child stored there is there whenever it dies. Reader's reports and ledgers of LANES generations are kept, so that the
parent can check the one before the last after the reader has moved on.
"""

from __future__ import annotations

import mmap

import numpy as np
import numpy.typing as npt

from crash import kernels as k
from fabric import layout
from fabric.segment import Segment

Words = npt.NDArray[np.int64]
LANES = 4
_WRONG_WORD, _SAW_WORD, _LEDGER_WORD = 32, 64, 512  # the reports of the writer and of its zombie come first


class Shared:
    """What parent and children have in common."""

    def __init__(self) -> None:
        self._map = mmap.mmap(-1, (_LEDGER_WORD + LANES * 2 * k.LEDGER_RECORDS) * layout.WORD)
        self.words: Words = np.frombuffer(self._map, np.int64)
        self.wrong: Words = self.words[_WRONG_WORD : _WRONG_WORD + len(k.WRONG)]

    def wrote(self, generation: int) -> Words:
        """The report of the writer of a generation; only two generations in a row have writers that live."""
        start = generation % 2 * k.REPORT_WORDS
        return self.words[start : start + k.REPORT_WORDS]

    def saw(self, generation: int) -> Words:
        """The reader's report on a generation."""
        start = _SAW_WORD + generation % LANES * k.REPORT_WORDS
        return self.words[start : start + k.REPORT_WORDS]

    def ledger(self, generation: int) -> Words:
        """For each sequence of a generation: times handed out, effect."""
        start = _LEDGER_WORD + generation % LANES * 2 * k.LEDGER_RECORDS
        return self.words[start : start + 2 * k.LEDGER_RECORDS].reshape(-1, 2)


def wiring(source: Segment, report: Words, flaw: int) -> Words:
    """What the kernels of an actor work on; the reader adds its ledger and what must stay zero."""
    words = np.zeros(8, np.int64)
    words[k.W_SOURCE], words[k.W_STAMP] = source.address, source.words[layout.H_CREATED_NS]
    words[k.W_GENERATION], words[k.W_FLAW], words[k.W_REPORT] = source.generation, flaw, report.ctypes.data
    return words
