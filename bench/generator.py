# mypy: disable-error-code="no-untyped-def,no-untyped-call"
"""The compiled load generator: a venue with one market session and one order session, driven in a closed loop.

A sample is: read the clock, send one tick whose touch has moved, spin on the order session until a whole order frame is
there, read the clock. Both times are CLOCK_MONOTONIC of this thread, so no clock is compared with another. Everything
else (writing the tick, reading the order's id, its ack and its end, the gap before the next tick) lies outside.

Closed loop: the next tick waits for the last order, so this is service time; a stall costs one sample, not a queue of them.
"""

from __future__ import annotations

import numpy as np

from bench import tables as bt
from fabric.clock import monotonic_ns, wall_ns
from fabric.jit import kernel
from venue import sockets
from venue import tables as t
from venue.write import ascii_words, put, put_decimal, put_integer

BUFFER_BYTES = 64 * 1024
SEND_BYTES = 2048
OP_TEXT, OP_PING, OP_PONG = 1, 9, 10
CLOSED = -1
PRICE_CENTS = 6_400_000  # the touch walks over STEPS prices above this one, so that no two ticks in a row are alike
STEPS = 64
GIVE_UP = 3  # samples without an answer in a row
BROKEN_SOCKET, BROKEN_FRAME, BROKEN_SILENCE = 1, 2, 3

_TICK_PRICE = ascii_words('{"type":"tick","symbol":"BTC-USDC","price":"')
_TICK_BID = ascii_words('","bid":"')
_TICK_ASK = ascii_words('","bid_size":"1.50000","ask":"')
_TICK_SEQUENCE = ascii_words('","ask_size":"0.75000","sequence":')
_EXCHANGE_TS = ascii_words(',"exchange_ts":')
_INDEX = ascii_words(',"index":')
_ACK = ascii_words('{"type":"ack","client_order_id":"')
_ACK_END = ascii_words('","symbol":"BTC-USDC","status":"open","order_id":')
_CANCELLED = ascii_words('{"type":"cancelled","client_order_id":"')
_CANCELLED_END = ascii_words('","symbol":"BTC-USDC","cumulative":"0","reason":"unfilled","order_id":')
_PLACE = np.frombuffer(b'"place_order"', np.uint8)  # looked for, not written
_ID = np.frombuffer(b'"client_order_id":', np.uint8)


@kernel
def client_frame(buffer, start, end, out):
    """A client's frame at ``start``: like ``frames.next_frame`` but masked; a complete one is unmasked in place."""
    if end - start < 6:
        return t.FRAME_NEED
    if not buffer[start + 1] & 0x80 or buffer[start] & 0x70:
        return t.FRAME_VIOLATION
    length = np.int64(buffer[start + 1]) & 127
    at = start + 2
    if length == 126:
        length = np.int64(buffer[at]) << 8 | np.int64(buffer[at + 1])
        at += 2
    elif length == 127:
        return t.FRAME_OVERSIZE
    at += 4
    if end - at < length:
        return t.FRAME_NEED
    for k in range(length):
        buffer[at + k] ^= buffer[at - 4 + (k & 3)]
    out[t.FR_OPCODE] = np.int64(buffer[start]) & 15
    out[t.FR_AT] = at
    out[t.FR_LENGTH] = length
    out[t.FR_NEXT] = at + length
    return t.FRAME_COMPLETE


@kernel
def server_frame(out, at, end, opcode):
    """Put the header before the payload at ``out[at + 4:end]``; returns the frame's end. Payloads below 64 KiB."""
    length = end - at - 4
    out[at] = 0x80 | opcode
    if length >= 126:
        out[at + 1] = 126
        out[at + 2] = length >> 8
        out[at + 3] = length & 255
        return end
    out[at + 1] = length
    for k in range(length):
        out[at + 2 + k] = out[at + 4 + k]
    return end - 2


@kernel
def find(buffer, at, end, text):
    """Offset just behind ``text`` in ``buffer[at:end]``, or -1."""
    for start in range(at, end - len(text) + 1):
        k = 0
        while k < len(text) and buffer[start + k] == text[k]:
            k += 1
        if k == len(text):
            return start + len(text)
    return -1


@kernel
def read_order(g, buffer, at, end):
    """1 when this text is an order; its client id (digits, none if it has none) is noted."""
    if find(buffer, at, end, _PLACE) < 0:
        return 0
    g[bt.G_ID_AT], g[bt.G_ID_LENGTH] = 0, 0
    start = find(buffer, at, end, _ID)
    if start > 0:
        while start < end and (buffer[start] == 34 or buffer[start] == 32):
            start += 1
        g[bt.G_ID_AT] = start
        while start < end and 48 <= buffer[start] <= 57:
            start += 1
        g[bt.G_ID_LENGTH] = start - g[bt.G_ID_AT]
    return 1


@kernel
def write_tick(g, out, wall_us):
    """The next tick as a whole frame; returns its end."""
    price = PRICE_CENTS + g[bt.G_INDEX] % STEPS
    at = put_decimal(out, put(out, 4, _TICK_PRICE), price, 2)
    at = put_decimal(out, put(out, at, _TICK_BID), price - 1, 2)
    at = put_decimal(out, put(out, at, _TICK_ASK), price + 1, 2)
    at = put_integer(out, put(out, at, _TICK_SEQUENCE), g[bt.G_INDEX] + 1)
    at = put_integer(out, put(out, at, _EXCHANGE_TS), wall_us)
    at = put_integer(out, put(out, at, _INDEX), g[bt.G_INDEX])
    out[at] = 125
    g[bt.G_INDEX] += 1
    return server_frame(out, 0, at + 1, OP_TEXT)


@kernel
def write_answer(g, orders, out, wall_us):
    """Ack and end of the order just read, two frames; returns the end."""
    at = 0
    for part in range(2):
        begin = at
        at = put(out, begin + 4, _ACK) if part == 0 else put(out, begin + 4, _CANCELLED)
        for k in range(g[bt.G_ID_LENGTH]):
            out[at + k] = orders[g[bt.G_ID_AT] + k]
        at += g[bt.G_ID_LENGTH]
        at = put(out, at, _ACK_END) if part == 0 else put(out, at, _CANCELLED_END)
        at = put_integer(out, put(out, put_integer(out, at, g[bt.G_ORDERS]), _EXCHANGE_TS), wall_us)
        out[at] = 125
        at = server_frame(out, begin, at + 1, OP_TEXT)
    return at


@kernel
def send_all(fd, address, count):
    """1 when everything is with the kernel, 0 when the peer is gone."""
    done = 0
    while done < count:
        sent = sockets.transmit(fd, address + done, count - done)
        if sent < 0:
            return 0
        done += sent
    return 1


@kernel
def answer(g, orders, send, send_address, scratch):
    """Tell the client the fate of the order just read."""
    end = write_answer(g, orders, send, wall_ns(scratch) // 1000)
    g[bt.G_ACKED] += 1
    if not send_all(g[bt.G_ORDER_FD], send_address, end):
        g[bt.G_BROKEN] = BROKEN_SOCKET


@kernel
def pong(g, fd, buffer, frame, send, send_address):
    """Answer a ping."""
    length = frame[t.FR_LENGTH]
    for k in range(length):
        send[4 + k] = buffer[frame[t.FR_AT] + k]
    g[bt.G_PINGS] += 1
    if not send_all(fd, send_address, server_frame(send, 0, 4 + length, OP_PONG)):
        g[bt.G_BROKEN] = BROKEN_SOCKET


@kernel
def next_order(g, buffer, frame, send, send_address):
    """Look through what the order session has received; 1 when an order was found (the rest stays)."""
    while g[bt.G_BROKEN] == 0:
        status = client_frame(buffer, g[bt.G_ORDER_START], g[bt.G_ORDER_END], frame)
        if status == t.FRAME_NEED:
            return 0
        if status != t.FRAME_COMPLETE:
            g[bt.G_BROKEN] = BROKEN_FRAME
            return 0
        g[bt.G_ORDER_START] = frame[t.FR_NEXT]
        if frame[t.FR_OPCODE] == OP_PING:
            pong(g, g[bt.G_ORDER_FD], buffer, frame, send, send_address)
        elif frame[t.FR_OPCODE] == OP_TEXT and read_order(g, buffer, frame[t.FR_AT], frame[t.FR_NEXT]):
            g[bt.G_ORDERS] += 1
            return 1
    return 0


@kernel
def fill_orders(g, buffer, address):
    """Receive once on the order session; bytes read, 0 for none."""
    if g[bt.G_ORDER_START] == g[bt.G_ORDER_END]:
        g[bt.G_ORDER_START] = g[bt.G_ORDER_END] = 0
    count = sockets.receive(g[bt.G_ORDER_FD], address + g[bt.G_ORDER_END], BUFFER_BYTES - g[bt.G_ORDER_END])
    if count < 0:
        g[bt.G_BROKEN] = BROKEN_SOCKET
        return 0
    g[bt.G_ORDER_END] += count
    return count


@kernel
def serve(g, market, market_address, orders, orders_address, frame, send, send_address, scratch):
    """Between bursts: answer pings, and orders that nobody asked for (counted as strays)."""
    while fill_orders(g, orders, orders_address) > 0 or g[bt.G_ORDER_START] < g[bt.G_ORDER_END]:
        if not next_order(g, orders, frame, send, send_address):
            break
        g[bt.G_STRAYS] += 1
        answer(g, orders, send, send_address, scratch)
    if g[bt.G_MARKET_START] == g[bt.G_MARKET_END]:
        g[bt.G_MARKET_START] = g[bt.G_MARKET_END] = 0
    count = sockets.receive(g[bt.G_MARKET_FD], market_address + g[bt.G_MARKET_END], BUFFER_BYTES - g[bt.G_MARKET_END])
    if count < 0:
        g[bt.G_BROKEN] = BROKEN_SOCKET
        return
    g[bt.G_MARKET_END] += count
    while g[bt.G_BROKEN] == 0:
        status = client_frame(market, g[bt.G_MARKET_START], g[bt.G_MARKET_END], frame)
        if status != t.FRAME_COMPLETE:
            g[bt.G_BROKEN] = g[bt.G_BROKEN] if status == t.FRAME_NEED else BROKEN_FRAME
            return
        g[bt.G_MARKET_START] = frame[t.FR_NEXT]
        if frame[t.FR_OPCODE] == OP_PING:
            pong(g, g[bt.G_MARKET_FD], market, frame, send, send_address)


@kernel
def wait_order(g, orders, orders_address, frame, send, send_address, scratch, since_ns, timeout_ns):
    """Spin until an order is there: the time at which the ``recv`` that completed it returned, or 0.

    ``bt.G_MAX_GAP_NS`` is the longest time between two looks at the socket: what this thread did not see.
    """
    last = since_ns
    g[bt.G_MAX_GAP_NS] = 0
    while g[bt.G_BROKEN] == 0:
        count = fill_orders(g, orders, orders_address)
        now = monotonic_ns(scratch)
        g[bt.G_MAX_GAP_NS] = max(g[bt.G_MAX_GAP_NS], now - last)
        last = now
        if count > 0 and next_order(g, orders, frame, send, send_address):
            return now
        if now - since_ns > timeout_ns:
            return 0
    return 0


@kernel
def drive(
    g, samples, gaps, gap_ns, timeout_ns, market, market_address, orders, orders_address, frame, send, send_address, scratch
):
    """One burst of ``len(samples)`` ticks, one order each; -1 marks a tick without an order. Returns the orders seen."""
    answered = 0
    silent = 0
    for k in range(len(samples)):
        samples[k] = -1
    for k in range(len(samples)):
        serve(g, market, market_address, orders, orders_address, frame, send, send_address, scratch)
        end = write_tick(g, send, wall_ns(scratch) // 1000)
        sent_ns = monotonic_ns(scratch)
        if not send_all(g[bt.G_MARKET_FD], send_address, end):
            g[bt.G_BROKEN] = BROKEN_SOCKET
            break
        sending_over_ns = monotonic_ns(scratch)
        seen_ns = wait_order(g, orders, orders_address, frame, send, send_address, scratch, sending_over_ns, timeout_ns)
        gaps[k] = g[bt.G_MAX_GAP_NS]
        if seen_ns > 0:
            samples[k] = seen_ns - sent_ns
            answered += 1
            silent = 0
            answer(g, orders, send, send_address, scratch)
        else:
            silent += 1
        if g[bt.G_BROKEN] != 0 or silent >= GIVE_UP:
            g[bt.G_BROKEN] = max(g[bt.G_BROKEN], BROKEN_SILENCE if silent >= GIVE_UP else 0)
            break
        until_ns = monotonic_ns(scratch) + gap_ns
        while monotonic_ns(scratch) < until_ns:
            pass
    return answered
