# mypy: disable-error-code="no-untyped-call"
"""The execution loop's shell on the fake clock: the steps of ``engine.loop``, ``inbound`` and ``outbound`` in their order.

What decides is the real thing, compiled: the core, the lease check, the journal ring, the decoder and the encoder of the
dialect. What is rewritten here is what reads clocks and sockets: when a pass happens, where bytes come from and go to.
A pass happens when something has arrived, and every ``timer_ns`` otherwise.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from engine import core as cores
from engine import inbound, journaling
from engine import tables as et
from engine import wiring as wi
from engine.account_query import Inbox
from engine.tables import Core
from fabric import layout as lay
from risk import tables as rt
from tests.simulation.net import Pipe, VenueHouse
from tests.simulation.world import MS, Died, World
from venue import purpleflea as pf
from venue import purpleflea_encode as encode
from venue import tables as vt
from venue.grids import grids_of, symbols_of

Slot = npt.NDArray[np.int64]
LAPSE_CLOSE_NS = wi.LAPSE_CLOSE_NS
PLACED = (et.CM_ORDER_ID, et.CM_INSTRUMENT, et.CM_SIDE, et.CM_TYPE, et.CM_PRICE_TICKS, et.CM_LOTS)


class Watcher:
    """What the oracle wants to hear of a loop; each method is called before the core is."""

    def message(self, payload: bytes) -> None: ...
    def row(self, event: Slot) -> None: ...
    def sending(self, frame: bytes, row: int) -> None: ...
    def cancelling(self, frame: bytes) -> None: ...
    def amending(self, frame: bytes) -> None: ...
    def unsent(self, row: int) -> None: ...


class Loop:
    """One execution loop. ``numbers`` and ``wiring`` are the rows of ``engine.wiring`` as far as the kernels read them."""

    def __init__(self, world: World, config: dict[str, Any], core: Core, venue: VenueHouse, watcher: Watcher) -> None:
        self.world, self.core, self.venue, self.watcher = world, core, venue, watcher
        self.segment: Slot = np.zeros(lay.EXEC_BYTES // 8, np.int64)
        self.progress: Slot = np.zeros(lay.JOURNAL_BYTES // 8, np.int64)
        self.progress[lay.JOURNAL_PROGRESS_OFFSET // 8 + lay.JP_EXEC_GENERATION] = self.segment[lay.H_GENERATION] = 1
        self.table: Slot = np.zeros((2, wi.ROWS), np.int64)
        self.w, self.n = self.table[0], self.table[1]
        self._cached: Slot = np.zeros(1, np.int64)
        self._record: Slot = np.zeros(16, np.int64)
        for word, array in (
            (wi.WI_EXEC, self.segment),
            (wi.WI_JOURNAL, self.progress),
            (wi.WI_JOURNAL_CACHED, self._cached),
            (wi.WI_RECORD, self._record),
        ):
            self.w[word] = array.ctypes.data
        self.n[wi.WN_JOURNAL_OK] = 1
        self.ttl_ns = int(config["lease"]["ttl_ns"])
        self.window_ms = max(1, self.ttl_ns // MS)
        self.symbols, self.grids = symbols_of(config["instruments"]), grids_of(config["instruments"])
        self._send: npt.NDArray[np.uint8] = np.zeros(65536, np.uint8)
        self._slots: Slot = np.zeros(vt.SLOTS, np.int64)
        self._event: Slot = np.zeros(len(et.EVENT), np.int64)
        self.market: deque[Slot | list[Slot]] = deque()  # a list: the ring was lapped here, and this is the state table
        self.signals: deque[Slot] = deque()
        self.inbox = Inbox()
        self.outbox: Slot = np.zeros(lay.LINE // 8 + wi.OUTBOX * len(et.COMMAND), np.int64)
        self._asked = self.outbox[lay.LINE // 8 :].reshape(wi.OUTBOX, len(et.COMMAND))
        self._told = self.inbox.words[lay.LINE // 8 :].reshape(wi.INBOX, len(et.EVENT))
        self.pipe: Pipe | None = None
        self.close_code = 0
        self.new_lease: tuple[int, int] | None = None  # (address, epoch) that the control thread handed over
        self.armed = self.was_armed = False
        self.last_ns = world.mono
        self.timer_ns = 0
        self.die_at = ""
        self.die: Callable[[str], None] = lambda point: None
        self.passes = self.market_seq = self.orders_sent = 0

    # One pass

    def run(self) -> None:
        """Passes until there is nothing to do, as the loop makes them."""
        for _ in range(64):
            if not self._pass(self.world.mono):
                return

    def _pass(self, now: int) -> int:
        gap, self.last_ns = now - self.last_ns, now
        self._take_lease(now)
        self._check_permission(now, gap)
        work = self._read_market(now)
        if not work:
            work = self._read_signals(now) + self._read_inbox(now)
        work += self._read_session(now)
        if now - self.timer_ns > wi.TIMER_NS and self.core.scalars[et.K_COMMANDS] == 0:
            self.timer_ns = now
            self.core.scalars[et.K_WALL_OFFSET_NS] = self.world.wall - self.world.mono
            cores.on_timer(self.core, now)
        self._drain(now)
        self.passes += 1
        return work

    def _take_lease(self, now: int) -> None:
        if self.new_lease is not None and self.new_lease[1] != self.core.scalars[et.K_EPOCH]:
            self.w[wi.WI_LEASE], epoch = self.new_lease
            self.n[wi.WN_LEASE_SEEN] = 0
            cores.new_epoch(self.core, epoch, now)

    def lease_holds(self, now: int) -> bool:
        return bool(inbound.lease_valid(self.w, int(self.core.scalars[et.K_EPOCH]), now))

    def _check_permission(self, now: int, gap: int) -> None:
        n, c = self.n, self.core
        ok = int(self.lease_holds(now) and gap <= self.ttl_ns)
        if ok != n[wi.WN_LEASE_OK]:
            n[wi.WN_LEASE_OK] = ok
            n[wi.WN_LEASE_SEEN] |= ok
            n[wi.WN_LAPSED_NS] = now
            self.world.note(f"loop: lease {'held' if ok else 'gone'}")
            cores.on_lease(c, ok, now)
        if not ok and n[wi.WN_LEASE_SEEN] and n[wi.WN_SESSION_UP]:
            if now - n[wi.WN_LAPSED_NS] > LAPSE_CLOSE_NS or c.scalars[et.K_LIVE_COUNT] == 0:
                self._close(vt.CLOSE_LAPSE, now)
        if self.armed != self.was_armed:
            self.was_armed = self.armed
            cores.arm(c, int(self.armed), now)

    # In

    def _read_market(self, now: int) -> int:
        done = 0
        while self.market and done < wi.MARKET_PER_PASS:
            slot = self.market.popleft()
            self.market_seq += 1
            done += 1
            if isinstance(slot, list):
                self._lapped(slot, now)
                continue
            journaling.market(self.w, self.n, self.core, slot, now)
            cores.on_market(self.core, slot, now)
            if self.core.scalars[et.K_COMMANDS] > 0:
                break
        return done

    def _lapped(self, newest: list[Slot], now: int) -> None:
        """As ``inbound.replay_state``: the newest state of each instrument, as the events that would have told it."""
        cores.on_lost(self.core, now)
        for slot in newest:
            slot[lay.M_SOURCE_INDEX] = -1
            for kind in (lay.MARKET_BOOK, lay.MARKET_TICK):
                slot[lay.M_KIND] = kind
                journaling.market(self.w, self.n, self.core, slot, now)
                cores.on_market(self.core, slot, now)

    def _read_signals(self, now: int) -> int:
        done = 0
        while self.signals and done < wi.SIGNALS_PER_PASS:
            slot = self.signals.popleft()
            journaling.signal(self.w, self.n, self.core, slot, now)
            reason = cores.on_signal(self.core, slot, now)
            if reason:
                self.world.note(f"signal refused: {lay.REASON[reason]}")
            done += 1
        return done

    def _read_inbox(self, now: int) -> int:
        done = 0
        while self.n[wi.WN_INBOX_DONE] < self.inbox.words[0]:
            event = self._told[self.n[wi.WN_INBOX_DONE] & (wi.INBOX - 1)]
            self._apply(event, now)
            self.n[wi.WN_INBOX_DONE] += 1
            done += 1
        self.inbox.words[1] = self.n[wi.WN_INBOX_DONE]
        return done

    def _apply(self, event: Slot, now: int) -> None:
        self.watcher.row(event)
        self.world.note(f"asked: {lay.EVENT_KIND[event[et.EV_KIND]]} {event[1:9].tolist()}")
        journaling.event(self.w, self.n, self.core, event, now)
        cores.on_event(self.core, event, now)

    def _read_session(self, now: int) -> int:
        pipe = self.pipe
        if pipe is None:
            return 0
        if not self.n[wi.WN_SESSION_UP]:
            self.n[wi.WN_SESSION_UP] = 1
            cores.on_session(self.core, 1, now)
        if pipe.seen_cut:
            self._close(vt.CLOSE_PEER, now)
            return 1
        done = 0
        while pipe.arrived and done < wi.FRAMES_PER_PASS:
            self._message(pipe.arrived.popleft(), now)
            done += 1
        return done

    def _message(self, payload: bytes, now: int) -> None:
        c, event = self.core, self._event
        raw = np.frombuffer(payload + b"}", np.uint8).copy()
        status = pf.decode_private(raw, 0, len(payload), self.symbols, self.grids, self._slots, event)
        if status != vt.SCAN_OK:
            if status != vt.SCAN_UNKNOWN_TYPE:
                c.scalars[et.K_RECONCILE_WANTED] = 1
            return
        if event[et.EV_KIND] in (lay.EVENT_NONE, lay.EVENT_OTHER):
            return
        self.watcher.message(payload)
        self.world.note(f"told: {payload.decode()}")
        event[et.EV_RECV_NS] = now
        journaling.event(self.w, self.n, c, event, now)
        cores.on_event(c, event, now)

    def _close(self, code: int, now: int) -> None:
        """Give the session back; everything that waits for an answer is unknown from here."""
        pipe, self.pipe = self.pipe, None
        self.n[wi.WN_SESSION_UP] = 0
        self.close_code = code
        if pipe is not None:
            pipe.arrived.clear()
            self.venue.cut(pipe, f"we close: {vt.CLOSE[code]}")
        cores.on_session(self.core, 0, now)

    # Out

    def _drain(self, now: int) -> None:
        c = self.core
        count = int(c.scalars[et.K_COMMANDS])
        if c.journal_count[0] == 0 and count == 0:
            return
        journaled = bool(journaling.flush(self.w, self.n, c))
        commands = c.commands[:count].copy()
        wall_ms = (now + int(c.scalars[et.K_WALL_OFFSET_NS])) // MS
        frames: list[bytes] = []
        if self.pipe is not None:
            frames = self._encode_cancels(commands, wall_ms)
        cancels = len(frames)
        refusal = self._refusal(journaled, now) if count else lay.REASON_NONE
        amends = self._encode_amends(commands, wall_ms, refusal, frames, now)
        places = self._encode_places(commands, wall_ms, refusal, frames, now)
        code = vt.CLOSE_NONE
        if self.pipe is not None and frames:
            code = self._send_all(commands, places, amends, frames, cancels, now)
        else:
            self._report_cancels(commands, False, now)
        c.scalars[et.K_COMMANDS] = 0
        journaling.flush(self.w, self.n, c)
        if code != vt.CLOSE_NONE:
            self._close(code, now)

    def _encode_cancels(self, commands: Slot, wall_ms: int) -> list[bytes]:
        frames = []
        for m in commands:
            end = 0
            if m[et.CM_KIND] == et.COMMAND_CANCEL:
                end = encode.encode_cancel(self._send, 0, int(m[et.CM_ORDER_ID]), wall_ms, self.window_ms)
                m[et.CM_REASON] = 1
            elif m[et.CM_KIND] == et.COMMAND_CANCEL_ALL:
                end = encode.encode_cancel_all(self._send, 0, int(m[et.CM_INSTRUMENT]), self.symbols, wall_ms)
            elif m[et.CM_KIND] == et.COMMAND_QUERY:
                self._asked[self.outbox[0] & (wi.OUTBOX - 1)] = m
                self.outbox[0] += 1
            if end > 0:
                frames.append(self._send[:end].tobytes())
        return frames

    def _refusal(self, journaled: bool, now: int) -> int:
        if not self.lease_holds(now):
            return int(lay.REASON_LEASE_LAPSED)
        if not journaled or not self.n[wi.WN_JOURNAL_OK]:
            return int(lay.REASON_JOURNAL_FULL)
        return int(lay.REASON_NONE if self.pipe is not None else lay.REASON_SESSION_DOWN)

    def _encode_amends(self, commands: Slot, wall_ms: int, refusal: int, frames: list[bytes], now: int) -> list[int]:
        amends = []
        for m in commands[commands[:, et.CM_KIND] == et.COMMAND_AMEND]:
            row, end = int(m[et.CM_ROW]), -1
            if refusal == lay.REASON_NONE and not self.core.orders[row, et.OR_CANCEL_WANTED]:
                words: list[Any] = [int(m[k]) for k in (et.CM_ORDER_ID, et.CM_INSTRUMENT, et.CM_LOTS)]
                end = encode.encode_amend(self._send, 0, *words, self.grids, wall_ms, self.window_ms)
            if end > 0:
                frames.append(self._send[:end].tobytes())
                amends.append(row)
            else:
                cores.amend_said(self.core, row, cores.NOT_SENT, now)
        return amends

    def _encode_places(self, commands: Slot, wall_ms: int, refusal: int, frames: list[bytes], now: int) -> list[int]:
        places = []
        for m in commands:
            if m[et.CM_KIND] != et.COMMAND_PLACE:
                continue
            row, why = int(m[et.CM_ROW]), refusal
            if why == lay.REASON_NONE and self.core.orders[row, et.OR_CANCEL_WANTED]:
                why = int(self.core.orders[row, et.OR_REASON])
            if why == lay.REASON_NONE:
                words: list[Any] = [int(m[k]) for k in PLACED]
                words += [self.symbols, self.grids, wall_ms, self.window_ms, 0]
                end = encode.encode_place(self._send, 0, *words)
                why = lay.REASON_NONE if end > 0 else lay.REASON_SEND_FAILED
            if why == lay.REASON_NONE:
                frames.append(self._send[:end].tobytes())
                places.append(row)
            else:
                self.watcher.unsent(row)
                cores.placed(self.core, row, cores.NOT_SENT, why, now)
        return places

    def _send_all(
        self, commands: Slot, places: list[int], amends: list[int], frames: list[bytes], cancels: int, now: int
    ) -> int:
        """The one call. 0, or a close code when the socket took only a part."""
        assert self.pipe is not None
        if places + amends and not self.lease_holds(now):  # the last step before send
            self._report_places(places, amends, cores.NOT_SENT, lay.REASON_LEASE_LAPSED, now)
            places, amends, frames = [], [], frames[:cancels]
        weather = self.venue.weather
        partly = bool(places) and weather.partly()
        for frame in frames:
            self.world.note(f"says: {frame.decode()}")
        for frame in frames[:cancels]:
            self.watcher.cancelling(frame)
        orders = cancels + len(amends)
        for frame in frames[cancels:orders]:
            self.watcher.amending(frame)
        for row, frame in zip(places, frames[orders:], strict=True):
            self.watcher.sending(frame, row)
        self.killed_at("intent", places)
        self.venue.send(self.pipe, frames[:-1] if partly else frames, weather.late_send())
        self.killed_at("sent", places)
        self.orders_sent += len(places)
        self._report_places(places, amends, cores.IN_DOUBT if partly else cores.SENT, lay.REASON_NONE, now)
        self._report_cancels(commands, True, now)
        return int(vt.CLOSE_PARTIAL if partly else vt.CLOSE_NONE)

    def killed_at(self, point: str, places: list[int]) -> None:
        """A fault: the process ends here, between two of its own steps."""
        if places and self.die_at == point:
            self.die(point)
            raise Died

    def _report_places(self, places: list[int], amends: list[int], outcome: int, reason: int, now: int) -> None:
        for row in amends:
            cores.amend_said(self.core, row, outcome, now)
        for row in places:
            cores.placed(self.core, row, outcome, reason, now)

    def _report_cancels(self, commands: Slot, sent: bool, now: int) -> None:
        for m in commands:
            if m[et.CM_KIND] == et.COMMAND_CANCEL:
                left = sent and m[et.CM_REASON] == 1
                cores.cancel_said(self.core, int(m[et.CM_ROW]), cores.SENT if left else cores.NOT_SENT, now)

    def position(self, instrument: int) -> int:
        return int(self.core.positions[instrument, rt.PO_LOTS])
