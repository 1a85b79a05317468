"""The feed process: the control thread around the compiled loop (``feed.loop``).

Reads: the market session, the supervisor's stop word. Writes: ``market`` and ``stats-feed``. It registers with the
watchdog for a read-only key, opens the session, hands it to the loop and takes it back when it ends; the loop beats on.
With ``feed.hash_every`` set it also writes one hash of the top book levels per so many source frames to
``state/book_hashes.txt`` (the text hashed is described in ``sim.reconstruct``, which computes the same independently).
"""

from __future__ import annotations

import hashlib
import os
import pathlib
import threading
import time
from typing import Any

import numpy as np
import numpy.typing as npt

from fabric import duty, jit, layout
from fabric.child import StopRequest, load_config, place
from fabric.segment import Segment
from fabric.stats import StatsWriter
from feed import book, loop
from feed import tables as ft
from venue import masks
from venue import tables as vt
from venue.errors import VenueError
from venue.grids import grids_of, symbols_of
from venue.link import Backoff, Link
from venue.purpleflea import resync_text, sample_tick, subscribe_text
from watchdog.client import WatchdogError, register

RECEIVE_BYTES = 4 * 1024 * 1024
SEND_BYTES = 16 * 1024
FOR_EVER = 1 << 62
POLL_S = 0.004
REHEARSING = ("spin", "yield")  # a loop that sleeps when idle is meant to leave the cpu alone
HANDS_OVER = 4
TURN_NS = 10_000  # on a shared cpu: so long the socket is watched without a break, so long an answer to an order may wait
TELL_EVERY = 50  # steps between two looks at what had to be compiled


class FeedMemory:
    """Every private array of the loop, and the address table over them. ``warm`` builds the same with stand-in pages."""

    def __init__(self, instruments: list[dict[str, Any]], market: int, stats: int, idle: str, hash_every: int) -> None:
        n = len(instruments)
        self.link = Link(RECEIVE_BYTES)
        symbols = symbols_of(instruments)
        self.arrays: dict[str, npt.NDArray[Any]] = {
            "stop": np.zeros(8, np.int64),
            "scratch": np.zeros(8, np.int64),
            "frame": np.zeros(len(vt.FRAME_WORDS), np.int64),
            "decoded": np.zeros(len(vt.DECODED), np.int64),
            "levels": np.full((vt.LEVELS_CAPACITY, len(vt.LEVEL)), 0, np.int64),
            "symbols": symbols,
            "grids": grids_of(instruments),
            "send": np.zeros(SEND_BYTES, np.uint8),
            "resync": np.zeros((layout.INSTRUMENTS_MAX, ft.RESYNC_BYTES), np.uint8),
            "resync_lengths": np.zeros(layout.INSTRUMENTS_MAX, np.int64),
            "books": book.make_books(n),
            "record": np.zeros(16, np.int64),
            "state_row": np.zeros((n, layout.STATE_ROW_WORDS), np.int64),
            "samples": np.zeros(8 + ft.SAMPLES * ft.SAMPLE_WORDS, np.int64),
            "slots": np.zeros(vt.SLOTS, np.int64),
            "mask": masks.fresh(),
            "duty": duty.duty_row(idle, TURN_NS, HANDS_OVER),
        }
        for i, instrument in enumerate(instruments):
            text = resync_text(instrument["symbol"])
            self.arrays["resync"][i, : len(text)] = np.frombuffer(text, np.uint8)
            self.arrays["resync_lengths"][i] = len(text)
        self.table: npt.NDArray[np.int64] = np.zeros(len(ft.FEED), np.int64)
        for name, array in self.arrays.items():
            self.table[ft.FEED.index(name)] = array.ctypes.data
        self.table[ft.FD_MARKET], self.table[ft.FD_STATS] = market, stats
        self.table[ft.FD_SESSION] = self.link.address
        self.table[ft.FD_INSTRUMENTS], self.table[ft.FD_SEND_CAPACITY] = n, SEND_BYTES
        self.table[ft.FD_HASH_EVERY] = hash_every
        self.table[ft.FD_SOURCE_LAST] = -1

        self.private: list[Any] = []  # what must live as long as this

    def rehearse_on(self, instrument: dict[str, Any]) -> None:
        """Give the idle loop an understudy: the same on private pages, with a sample tick of one instrument to read."""
        market = np.full(layout.MARKET_BYTES // layout.WORD, 0, np.int64)
        stats = np.full(layout.STATS_BYTES // layout.WORD, 0, np.int64)
        other = FeedMemory([instrument], market.ctypes.data, stats.ctypes.data, "spin", 0)
        sample = sample_tick(instrument["symbol"], instrument["tick_size"], instrument["lot_size"])
        other.link.hold(bytes((0x81, 126)) + len(sample).to_bytes(2, "big") + sample)
        other.table[ft.FD_SAMPLE_BYTES] = len(sample) + 4
        self.private += [market, stats, other]
        self.table[ft.FD_UNDERSTUDY] = other.table.ctypes.data

    def run(self, passes: int) -> int:
        return int(loop.feed_loop(self.table.ctypes.data, passes))


class Feed:
    """The control thread's work; ``run`` returns the exit code."""

    def __init__(self, run_dir: str) -> None:
        self.run_dir = run_dir
        self._parent = os.getppid()
        self.config = config = load_config(run_dir)
        placement = config["placement"]
        self.note = place(placement["house"], placement["lock_memory"])
        hashes = {"config_hash": config["config_hash"], "code_hash": config["code_hash"]}
        self.stats = StatsWriter(config["shm_dir"], "feed", **hashes)
        self.market = Segment.create(config["shm_dir"], "market", "feed", **hashes)
        self.stop = StopRequest(config["shm_dir"])
        self.hash_every = int(config.get("feed", {}).get("hash_every", 0))
        idle = placement["idle"]["feed"]
        self.memory = FeedMemory(config["instruments"], self.market.address, self.stats.segment.address, idle, self.hash_every)
        self.memory.link.busy_poll_us = config["venue"]["busy_poll_us"]
        if idle in REHEARSING:
            self.memory.rehearse_on(config["instruments"][0])
        self.stats.status(idle=layout.IDLE.index(idle), generation=self.market.generation)
        self.backoff = Backoff()
        self._hashes = pathlib.Path(config["state_dir"]) / "book_hashes.txt"
        self._hashed = 0
        if self.hash_every:
            self._hashes.write_text("")

    def _loop_thread(self) -> None:
        cpus = self.config["placement"]["feed"]
        place(cpus)
        self.stats.status(cpu=cpus[0] if cpus else -1)
        self.memory.run(FOR_EVER)

    def _connect(self, api_key: str) -> None:
        now_ns = time.monotonic_ns()
        if not self.backoff.ready(now_ns):
            return
        symbols = [i["symbol"] for i in self.config["instruments"]]
        try:
            self.memory.link.open(self.config["venue"]["ws_url"], api_key, [subscribe_text(["ticker", "orderbook"], symbols)])
        except (VenueError, OSError) as error:
            wait_s = self.backoff.failed(now_ns)
            self.stats.error(str(error))
            print(f"feed: {error}; next try in {wait_s:g} s", flush=True)
        else:
            self.backoff.opened(now_ns)
            self.stats.status(session=layout.SESSION_LOOP)

    def _reap(self) -> None:
        reason = self.memory.link.reap()
        if reason is None:
            return
        wait_s = self.backoff.failed(time.monotonic_ns())
        self.stats.add("reconnects")
        self.stats.status(session=layout.SESSION_DOWN)
        self.stats.error(f"market session ended: {reason}")
        print(f"feed: market session ended ({reason}); next try in {wait_s:g} s", flush=True)

    def _write_hashes(self) -> None:
        samples = self.memory.arrays["samples"]
        available = int(samples[0])
        if available == self._hashed:
            return
        first = max(self._hashed, available - ft.SAMPLES + 2)  # what was overwritten shows as a missing line
        with self._hashes.open("a") as out:
            for number in range(first, available):
                start = 8 + (number & (ft.SAMPLES - 1)) * ft.SAMPLE_WORDS
                sample = samples[start : start + ft.SAMPLE_WORDS]
                out.write(f"{sample[0]} {hash_levels(sample[2 : 2 + 4 * layout.LEVELS])}\n")
        self._hashed = available

    def run(self) -> int:
        config = self.config
        try:
            grant = register(self.run_dir, "feed", config["code_hash"], config["config_hash"])
        except WatchdogError as error:
            print(f"feed: no key: {error}", flush=True)
            return 1
        api_key = grant.api_key
        thread = threading.Thread(target=self._loop_thread, name="feed-loop", daemon=True)
        thread.start()
        self.stats.status(state=layout.PROCESS_RUNNING, epoch=grant.epoch, cache_misses=jit.cache_misses())
        if self.note:
            self.stats.error(self.note)
        steps = 0
        while thread.is_alive() and not self._ends():
            steps += 1
            if steps % TELL_EVERY == 0:
                self.stats.status(cache_misses=jit.cache_misses())
            if self.memory.link.state == layout.SESSION_DOWN:
                self._connect(api_key)
            self._reap()
            if self.hash_every:
                self._write_hashes()
            time.sleep(POLL_S)
        self.memory.arrays["stop"][0] = 1
        thread.join(2.0)
        if self.hash_every:
            self._write_hashes()
        self.memory.link.close()
        self.stats.status(state=layout.PROCESS_STOPPED, cache_misses=jit.cache_misses())
        return 0

    def _ends(self) -> bool:
        """SIGTERM ends the feed; the stop word does not, as execution needs the market until it has cancelled."""
        return self.stop.terminated or os.getppid() != self._parent


def hash_levels(words: npt.NDArray[np.int64]) -> str:
    """sha256 of the top levels, as ``sim.reconstruct`` words it."""
    lines = [":".join(str(int(v)) for v in words[k : k + 4]) for k in range(0, len(words), 4)]
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()
