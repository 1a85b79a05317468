"""`python -m sim RUN_DIR`: the paper exchange as a process. Reads RUN_DIR/config.json, serves until SIGTERM or SIGINT.

Exit codes: 0 stopped, 1 the market source failed, 2 wrong use, config, or key file, 3 a port is in use.
"""

from __future__ import annotations

import asyncio
import errno
import signal
import sys
import time
from pathlib import Path
from typing import Any

import orjson

from sim.exchange import Exchange
from sim.http import HttpServer
from sim.keys import KeyFileError, KeyStore, read_management_key
from sim.limits import RateLimit
from sim.market import Instrument, Market, exact
from sim.rest import RestApi
from sim.server import PATH, VenueServer

HOST = "127.0.0.1"


def now_us() -> int:
    return time.time_ns() // 1_000


def make_market(paper: dict[str, Any], instruments: list[Instrument]) -> Market:
    """The recorded market when the config names a recording, else the synthetic one."""
    if paper.get("data"):
        from sim.recorded_market import RecordedMarket

        if len(instruments) != 1:
            raise ValueError("a recording holds one instrument: name exactly one")
        return RecordedMarket(Path(paper["data"]), instruments[0])
    from sim.synthetic import SyntheticMarket

    return SyntheticMarket(instruments, int(paper.get("seed", 0)))


def account_budget(venue: dict[str, Any]) -> RateLimit | None:
    """The account's budget of messages and calls as the config states it, enforced as stated; None when it states none."""
    messages = int(venue.get("budget_messages") or 0)
    per_s = messages * 1_000 // int(venue.get("budget_window_ms") or 1_000)
    return RateLimit(per_s=max(per_s, 1), burst=messages) if messages else None


def build(config: dict[str, Any]) -> VenueServer:
    """The exchange that `config` describes; KeyError, ValueError or KeyFileError when it cannot be."""
    paper = config["paper"]
    instruments = [Instrument.from_config(row) for row in config["instruments"]]
    if not instruments:
        raise ValueError("config.json names no instrument")
    exchange = Exchange(
        instruments,
        make_market(paper, instruments),
        KeyStore(read_management_key(Path(config["venue"]["management_key_file"])), now_us()),
        exact(paper["balance"]),
        now_us,
        rate=RateLimit(**paper.get("rate_limit", {})),
        budget=account_budget(config["venue"]),
    )
    server = VenueServer(exchange, speed=exact(paper.get("speed", 1)), start=paper.get("start", "on_subscribe"))
    server.set_faults(paper.get("faults") or {})
    return server


async def serve(server: VenueServer, ws_port: int, rest_port: int) -> int:
    """Listen, say so in one line, and run until a signal or until the market source fails; answers the exit code."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    http = HttpServer(RestApi(server).handle)
    port = ws_port
    try:
        ws = await server.listen(HOST, ws_port)
        port = rest_port
        rest = await http.listen(HOST, rest_port)
    except OSError as error:
        if error.errno != errno.EADDRINUSE:
            raise
        print(f"venue: port {port} is in use: stop what listens there, or choose another paper port", file=sys.stderr)
        return 3
    ports = [ws.sockets[0].getsockname()[1], rest.sockets[0].getsockname()[1]]
    print(f"venue ready ws=ws://{HOST}:{ports[0]}{PATH} rest=http://{HOST}:{ports[1]}", flush=True)
    pacer = asyncio.create_task(server.pacer.run())
    stopped = asyncio.create_task(stop.wait())
    await asyncio.wait({pacer, stopped}, return_when=asyncio.FIRST_COMPLETED)
    ws.close()
    rest.close()
    await http.stop()
    await ws.wait_closed()
    if pacer.done():
        loop.call_exception_handler({"message": "the market source failed", "exception": pacer.exception()})
        return 1
    pacer.cancel()
    return 0


def main(arguments: list[str]) -> int:
    if len(arguments) != 1:
        print("usage: python -m sim RUN_DIR", file=sys.stderr)
        return 2
    try:
        config = orjson.loads((Path(arguments[0]) / "config.json").read_bytes())
        server = build(config)
        ports = int(config["paper"]["ws_port"]), int(config["paper"]["rest_port"])
    except KeyError as error:
        print(f"venue: config.json lacks {error}", file=sys.stderr)
        return 2
    except (OSError, ValueError, TypeError, KeyFileError) as error:
        print(f"venue: {error}", file=sys.stderr)
        return 2
    return asyncio.run(serve(server, *ports))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
