# mypy: disable-error-code="no-untyped-def,no-untyped-call"
"""Keeping the feed's own memory near while nothing comes: called by an idle loop beside its rehearsal; reads only."""

from __future__ import annotations

from fabric import duty
from fabric import layout as lay
from fabric.atomics import load_relaxed
from fabric.jit import kernel
from fabric.rings import SLOT_BYTES
from feed import tables as ft
from venue import tables as vt

TOUCHED_BYTES, TOUCHED_INSTRUMENTS, TOUCHED_SLOTS = 512, 4, 4  # more would push out the rest


@kernel
def touch(t):
    """Read the lines that the next message will need: tables, state rows, the next slots of the ring. Changes nothing."""
    seen = duty.touch_lines(t[ft.FD_DECODED], len(vt.DECODED) * 8) + duty.touch_lines(t[ft.FD_SLOTS], vt.SLOTS * 8)
    seen += duty.touch_lines(t[ft.FD_LEVELS], TOUCHED_BYTES) + duty.touch_lines(t[ft.FD_RECORD], 128)
    instruments = min(t[ft.FD_INSTRUMENTS], TOUCHED_INSTRUMENTS)
    seen += duty.touch_lines(t[ft.FD_GRIDS], instruments * len(vt.GRID) * 8)
    seen += duty.touch_lines(t[ft.FD_SYMBOLS], instruments * vt.SYMBOL_BYTES)
    seen += duty.touch_lines(t[ft.FD_STATE_ROW], instruments * lay.STATE_ROW_WORDS * 8)
    seen += duty.touch_lines(t[ft.FD_MARKET] + lay.STATE_OFFSET, instruments * lay.STATE_ROW_WORDS * 8)
    ring = t[ft.FD_MARKET] + lay.MARKET_RING_OFFSET
    following = load_relaxed(t[ft.FD_MARKET] + lay.MARKET_CURSOR_OFFSET) + 1
    for k in range(TOUCHED_SLOTS):
        seen += duty.touch_lines(ring + ((following + k) & (lay.MARKET_SLOTS - 1)) * SLOT_BYTES, SLOT_BYTES)
    return seen
