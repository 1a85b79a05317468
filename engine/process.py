"""The execution process: the control thread around the compiled loop (``engine.loop``).

Reads: ``market``, ``signal``, ``journal``, ``control``, the lease page, the venue over REST. Writes: ``exec`` and
``stats-execution``. It registers with the watchdog for the epoch's trading key and the lease, opens the order session and hands
it to the loop, answers the loop's questions, reconciles every 10 s, maps restarted segments, and after a lapse registers
again. It never writes a table of the core once the loop runs: what it learns goes in as events, and what the life before
knew (``engine.restart``) is there before.
"""

from __future__ import annotations

import contextlib
import fcntl
import mmap
import os
import struct
import threading
import time

import numpy as np

from engine import restart
from engine import tables as et
from engine import wiring as wi
from engine.account_query import AccountQuery, InboxFullError
from engine.memory import ExecutionMemory, load_strategies
from engine.understudy import make_understudy
from fabric import jit, layout
from fabric.child import StopRequest, load_config, place
from fabric.segment import Segment, SegmentError
from fabric.stats import StatsWriter
from venue.errors import VenueError
from venue.link import Backoff
from venue.purpleflea import subscribe_text
from venue.rest import Rest
from watchdog.client import Grant, WatchdogError, register

FOR_EVER = 1 << 62
POLL_S = 0.002
RECONCILE_S = 10.0
TELL_EVERY = 100  # steps between two looks at what had to be compiled
REGISTER_AGAIN_S, UNSEEN_S, DYING_S = 0.25, 2.0, 2.0
STOP_WAIT_S = 3.0
REHEARSING = ("spin", "yield")  # a loop that sleeps when idle is meant to leave the cpu alone


def only_one(state_dir: str) -> int:
    """Take the state directory; the descriptor holds it until this process has ended. Raises RestartError.

    One that was killed a moment ago may take a while to let go of it.
    """
    descriptor = os.open(os.path.join(state_dir, "execution.lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    deadline = time.monotonic() + DYING_S
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return descriptor
        except OSError:
            if time.monotonic() < deadline:
                time.sleep(POLL_S)
                continue
        os.close(descriptor)
        raise restart.RestartError("another execution process runs on this state directory: stop it first")


class Execution:
    """The control thread's work; ``run`` returns the exit code."""

    def __init__(self, run_dir: str) -> None:
        self.run_dir = run_dir
        self._parent = os.getppid()
        self.config = config = load_config(run_dir)
        self._alone = only_one(config["state_dir"])  # before anything of the life before is taken over
        placement = config["placement"]
        note = place(placement["house"], placement["lock_memory"])
        hashes = {"config_hash": config["config_hash"], "code_hash": config["code_hash"]}
        self.stats = StatsWriter(config["shm_dir"], "execution", **hashes)
        self.life = restart.begin(config, restart.clock())  # before the segment: the journal finds the checkpoint of this life
        self.exec = Segment.create(config["shm_dir"], "exec", "execution", **hashes)
        self.stop = StopRequest(config["shm_dir"])
        self.memory = ExecutionMemory(config, self.exec.address, self.stats.segment.address)
        self.memory.link.busy_poll_us = config["venue"]["busy_poll_us"]
        self.life.give(self.memory.core)
        load_strategies(config, self.memory)
        if placement["idle"]["execution"] in REHEARSING:
            self.memory.rehearse_on(make_understudy(config))
        idle = layout.IDLE.index(placement["idle"]["execution"])
        self.stats.status(idle=idle, generation=self.exec.generation)
        if note:
            self.stats.error(note)
        self.backoff = Backoff(first_s=0.25)
        self._segments: dict[str, Segment] = {}
        self._leases: list[mmap.mmap] = []  # old ones stay mapped: the loop may still hold their address
        self._grant: Grant | None = None
        self._rest: Rest | None = None
        self._query: AccountQuery | None = None
        self._asked = 0
        self._reconciled_at = 0.0
        self._register_at = self._ended_at = 0.0
        self._first_round = not self.life.continued
        self._steps = 0

    def _loop_thread(self) -> None:
        cpus = self.config["placement"]["execution"]
        place(cpus)
        self.stats.status(cpu=cpus[0] if cpus else -1)
        self.memory.run(FOR_EVER)

    def _map_segments(self) -> None:
        """Attach the newest generation of what we read; tell the loop when one is new."""
        fresh: dict[str, int] = {}
        for name in ("market", "signal", "journal"):
            old = self._segments.get(name)
            link = os.path.join(self.config["shm_dir"], name)
            with contextlib.suppress(SegmentError, OSError):
                if old is not None and os.readlink(link) == old.path.name:
                    continue
                segment = Segment.attach(self.config["shm_dir"], name)
                self._segments[name + str(segment.generation)] = segment  # kept: the loop may still read the old one
                self._segments[name] = segment
                fresh[f"new_{name}"] = segment.address
        if fresh:
            self.memory.remap(**fresh)

    def _register(self) -> None:
        if self._grant is not None or time.monotonic() < self._register_at:
            return
        try:
            grant = register(self.run_dir, "execution", self.config["code_hash"], self.config["config_hash"])
            if grant.lease is None:
                raise WatchdogError("no lease page came with the key")
        except WatchdogError as error:
            self._register_at = time.monotonic() + REGISTER_AGAIN_S
            self.stats.error(f"no key: {error}")
            return
        assert grant.lease is not None
        self._grant, self._ended_at = grant, time.monotonic()
        self._leases.append(grant.lease)
        lease = np.frombuffer(grant.lease, np.uint8).ctypes.data
        self.memory.remap(new_lease=lease, new_epoch=grant.epoch)
        if self._rest is not None:
            self._rest.close()
        self._rest = Rest(self.config["venue"]["rest_url"], grant.api_key)
        last_trade = self._query.last_trade_id if self._query else self.life.trades_complete
        self._query = AccountQuery(self._rest, self.config["instruments"])
        self._query.last_trade_id = last_trade
        self._reconciled_at = 0.0
        self.stats.status(epoch=grant.epoch)
        self.stats.add("epoch_changes")
        print(f"execution: epoch {grant.epoch}", flush=True)

    def _leave_unseen(self) -> None:
        """An epoch that ended before the loop had seen its lease is closed by nobody: ask for the next one.

        The loop closes the session of a lease that it has held, long before ``UNSEEN_S``; what it never held it waits for.
        """
        if self._grant is None or self._grant.lease is None:
            return
        words = struct.unpack_from(f"{len(layout.LEASE_PAGE)}q", self._grant.lease)
        held = words[layout.L_STATE] == layout.LEASE_GRANTED and time.monotonic_ns() < words[layout.L_DEADLINE_NS]
        if held or words[layout.L_STATE] == layout.LEASE_WITHHELD:
            self._ended_at = time.monotonic()
        elif time.monotonic() - self._ended_at > UNSEEN_S:
            print("execution: the lease ended before it was used", flush=True)
            self._grant = None

    def _connect(self) -> None:
        link, grant, now_ns = self.memory.link, self._grant, time.monotonic_ns()
        reason = link.reap()
        if reason is not None:
            self.backoff.failed(now_ns)
            self.stats.add("reconnects")
            self.stats.status(session=layout.SESSION_DOWN)
            self.stats.error(f"order session ended: {reason}")
            print(f"execution: order session ended ({reason})", flush=True)
            if reason == "lapse":
                self._grant = None
                return
        if grant is None or link.state != layout.SESSION_DOWN or not self.backoff.ready(now_ns) or self._stopping():
            return
        symbols = [i["symbol"] for i in self.config["instruments"]]
        try:
            link.open(self.config["venue"]["ws_url"], grant.api_key, [subscribe_text(["fills"], symbols)])
        except (VenueError, OSError) as error:
            self.backoff.failed(now_ns)
            self.stats.error(str(error))
            if "401" in str(error):
                self._grant = None  # the epoch's key is gone: ask for the next one
        else:
            self.backoff.opened(now_ns)
            self.stats.status(session=layout.SESSION_LOOP)
            self._reconciled_at = 0.0

    def _stopping(self) -> bool:
        return self.stop.requested

    def _scalar(self, index: int) -> int:
        return int(self.memory.core.scalars[index])

    def _reconcile(self) -> None:
        wanted = self._scalar(et.K_RECONCILE_WANTED) != 0
        due = time.monotonic() - self._reconciled_at > (0.5 if wanted else RECONCILE_S)
        if self._query is None or self.memory.link.state != layout.SESSION_LOOP or not due:
            return
        self._reconciled_at = time.monotonic()
        try:
            for event in list(self._query.round(self._first_round)):
                self.memory.inbox.put(event)
            self._first_round = False
            self.stats.add("reconciles")
        except (VenueError, InboxFullError, KeyError, ValueError, ArithmeticError) as error:
            self.stats.error(f"reconcile: {type(error).__name__}: {error}")

    def _answer_queries(self) -> None:
        outbox = self.memory.arrays["outbox"]
        rows = outbox[layout.LINE // 8 :].reshape(wi.OUTBOX, len(et.COMMAND))
        while self._asked < int(outbox[0]) and self._query is not None:
            order_id = int(rows[self._asked & (wi.OUTBOX - 1), et.CM_ORDER_ID])
            self._asked += 1
            try:
                self.memory.inbox.put(self._query.order(order_id))
            except (VenueError, InboxFullError, KeyError, ValueError, ArithmeticError) as error:
                self.stats.error(f"query: {type(error).__name__}: {error}")

    def _step(self) -> None:
        self._steps += 1
        if self._steps % TELL_EVERY == 0:
            self.stats.status(cache_misses=jit.cache_misses())
        self._map_segments()
        self._leave_unseen()
        if not self._stopping():
            self._register()
        self._connect()
        self._answer_queries()
        self._reconcile()

    def _finish(self) -> int:
        """Cancel and verify: the loop has been told by the stop word; the venue's own list is the proof."""
        deadline = time.monotonic() + STOP_WAIT_S
        while self._scalar(et.K_LIVE_COUNT) > 0 and time.monotonic() < deadline:
            self._step()
            time.sleep(POLL_S)
        left = -1
        if self._rest is not None:
            try:
                left = len(self._rest.get("/v1/orders/open")["orders"])
                if left:
                    self._rest.call("DELETE", "/v1/orders")
                    left = len(self._rest.get("/v1/orders/open")["orders"])
            except (VenueError, KeyError) as error:
                self.stats.error(f"at exit: {error}")
        print(f"execution: stopped, {left if left >= 0 else 'unknown'} orders open at the venue", flush=True)
        return 0 if left == 0 or self._grant is None else 1

    def run(self) -> int:
        self._map_segments()
        if self.stop.control is None:
            print("execution: there is no control page; start it through `pulex run`", flush=True)
            return 1
        self.memory.table[0, wi.WI_CONTROL] = self.stop.control.address + layout.CONTROL_OFFSET
        thread = threading.Thread(target=self._loop_thread, name="exec-loop", daemon=True)
        thread.start()
        self.stats.status(state=layout.PROCESS_RUNNING, cache_misses=jit.cache_misses())
        while thread.is_alive() and not self._stopping() and os.getppid() == self._parent:
            self._step()
            time.sleep(POLL_S)
        self.stats.status(state=layout.PROCESS_STOPPING)
        code = self._finish()
        time.sleep(2 * 0.005)  # one page interval: the last counters reach the stats page
        self.memory.arrays["stop"][0] = 1
        thread.join(2.0)
        if not thread.is_alive():
            self.exec.enter(layout.SEGMENT_STATE_CLOSED)  # the journal ring has its last record
        self.memory.link.close()
        self.stats.status(state=layout.PROCESS_STOPPED, cache_misses=jit.cache_misses())
        return code
