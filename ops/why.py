"""``pulex why ORDER_ID``: the chain behind one order, from the journal alone.

Reads ``state/journal`` (records and cards, ``engine.journal_file``); works while the house runs and after it has ended. A
chain is plain data: who answers for the order (owner, signal, model, prompt, configuration, code), what set it off, the
account and the limits it was judged by, and everything that was said about it, in order, over restarts. ``lines`` prints
it. Raises WhyError with what to do.
"""

from __future__ import annotations

import pathlib
import time
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import numpy as np

from engine import journal_file
from engine import tables as et
from fabric import layout
from risk import tables as rt

KIND_MASK = 255
PASS_RECORDS = 1024  # what set an order off lies within its pass, so within this many records before it
OWNERS = {rt.OWNER_UNOWNED: "unowned", rt.OWNER_OPERATOR: "operator", rt.OWNER_SIGNALS: "signals"}
SAID = (
    *("intent", "sent", "not_sent", "cancel_intent", "cancel_sent", "ack", "reject", "fill", "cancelled"),
    *("amend_intent", "amend_sent", "markout"),
)
HEARD = ("found_open", "found_closed", "found_missing", "cancel_reject", "fill", "amended", "amend_reject")
OUTCOMES = ("not sent", "sent", "sent in part: unknown")
Records = journal_file.Records
Row = dict[str, Any]


class WhyError(LookupError):
    """The journal does not know this order; one line."""


def chain(state_dir: str | pathlib.Path, order_id: int) -> Row:
    """Everything that the journal says about an order of ours."""
    cards = journal_file.cards(state_dir)
    lives = _Lives(state_dir, cards)
    for life in sorted(cards, reverse=True):
        records = lives[life]
        kinds = records[:, layout.J_KIND] & KIND_MASK
        intents = np.flatnonzero((kinds == layout.JOURNAL_INTENT) & (records[:, layout.J_ORDER_ID] == order_id))
        if intents.size and cards[life]:
            return _chain(lives, life, int(intents[0]))
    known = f"lives {min(cards)} to {max(cards)}" if cards else "it is empty"
    raise WhyError(f"order {order_id} is not in the journal ({known}); give the client order id, a whole number")


class _Lives:
    """Records by life, each file read when it is first asked for."""

    def __init__(self, state_dir: str | pathlib.Path, cards: dict[int, Row]) -> None:
        self._state_dir, self.cards = state_dir, cards
        self._read: dict[int, Records] = {}

    def __getitem__(self, life: int) -> Records:
        if life not in self._read:
            self._read[life] = journal_file.read(journal_file.path(self._state_dir, life)).records
        return self._read[life]


def _chain(lives: _Lives, life: int, at: int) -> Row:
    records, card = lives[life], lives.cards[life]
    intent = records[at]
    order_id, signal_id = int(intent[layout.J_ORDER_ID]), int(intent[layout.J_SIGNAL_ID])
    instance, epoch, counter = layout.split_order_id(order_id)
    words = _Words(card, int(intent[layout.J_INSTRUMENT]))
    decided_ns = int(intent[layout.J_NOW_NS])
    basis = int(intent[layout.J_VALUE])
    changed = int(intent[layout.J_REASON])
    return {
        "order_id": order_id,
        "id": {"instance": instance, "epoch": epoch, "counter": counter},
        "owner": _owner(card, int(intent[layout.J_OWNER])),
        "signal_id": signal_id,
        "model_hash": int(intent[layout.J_MODEL_HASH]),
        "prompt_hash": int(intent[layout.J_PROMPT_HASH]),
        "config_hash": card["config_hash"],
        "code_hash": card["code_hash"],
        "life": life,
        "account": card["account"],
        "symbol": words.symbol,
        "trigger": _trigger(records, at, words),
        "market": _last_touch(records, at, words),
        "signal": _signal(lives, life, at, signal_id, decided_ns, words) if signal_id else None,
        "decision": {
            "wall": _wall(int(intent[layout.J_WALL_NS])),
            "side": layout.SIDE[intent[layout.J_SIDE]],
            "type": layout.ORDER_TYPE[intent[layout.J_TYPE]],
            "price": words.price(int(intent[layout.J_PRICE_TICKS])),
            "size": words.size(int(intent[layout.J_LOTS])),
            "mid": words.price(Decimal(basis >> 1) / 2),
            "exit": bool(basis & 1),
        },
        "checks": {"passed": True, "changed_by": layout.REASON[changed] if changed else "", **_judged_by(records, at, card)},
        "said": list(_said(lives, life, order_id, decided_ns, words)),
    }


class _Words:
    """Numbers of one instrument in the words of its card."""

    def __init__(self, card: Row, instrument: int) -> None:
        self.instrument = instrument
        described = card["instruments"][instrument]
        self.symbol = str(described["symbol"])
        self._tick, self._lot = Decimal(described["tick_size"]), Decimal(described["lot_size"])

    def price(self, ticks: int | Decimal) -> str:
        return f"{ticks * self._tick:f}"

    def size(self, lots: int) -> str:
        return f"{lots * self._lot:f}"


def _owner(card: Row, owner: int) -> str:
    strategies = card["strategies"]
    number = owner - rt.OWNER_FIRST_STRATEGY
    return strategies[number] if 0 <= number < len(strategies) else OWNERS.get(owner, f"owner {owner}")


def _wall(wall_ns: int) -> str:
    seconds, rest = divmod(wall_ns, 10**9)
    return f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(seconds))}.{rest // 1000:06d}Z"


def _trigger(records: Records, at: int, words: _Words) -> Row:
    """The input of the same pass that the order follows; time itself when there is none."""
    now_ns = records[at, layout.J_NOW_NS]
    for k in range(at - 1, max(at - PASS_RECORDS, 0) - 1, -1):
        record = records[k]
        kind, its_kind = int(record[layout.J_KIND]) & KIND_MASK, int(record[layout.J_KIND]) >> 8
        if kind == layout.JOURNAL_MARKET and record[layout.M_PUBLISH_NS] == now_ns:
            if record[layout.M_INSTRUMENT] == words.instrument:
                return {"what": f"market {layout.MARKET_KIND[its_kind]}", "record": k + 1} | _touch(record, words)
        elif kind == layout.JOURNAL_SIGNAL and record[layout.S_SOURCE] == now_ns:
            return {"what": "signal", "record": k + 1, "id": int(record[layout.S_ID])}
        elif kind == layout.JOURNAL_EVENT and record[et.EV_RECV_NS + 1] == now_ns:
            return {
                "what": f"venue {layout.EVENT_KIND[its_kind]}",
                "record": k + 1,
                "order_id": int(record[et.EV_ORDER_ID + 1]),
            }
    return {"what": "timer", "record": 0}


def _touch(record: Any, words: _Words) -> Row:
    prices = {"bid": layout.M_BID_TICKS, "ask": layout.M_ASK_TICKS, "trade": layout.M_TRADE_TICKS}
    found: Row = {name: words.price(int(record[word])) for name, word in prices.items() if record[word]}
    return found | {
        "venue_seq": int(record[layout.M_VENUE_SEQ]),
        "source_index": int(record[layout.M_SOURCE_INDEX]),
        "received_ns_before": int(record[layout.M_PUBLISH_NS] - record[layout.M_RECV_NS]),
    }


def _last_touch(records: Records, at: int, words: _Words) -> Row | None:
    """The tick of this instrument that was the newest when the order was decided."""
    tick = layout.JOURNAL_MARKET | layout.MARKET_TICK << 8
    ticks = np.flatnonzero((records[:at, layout.J_KIND] == tick) & (records[:at, layout.M_INSTRUMENT] == words.instrument))
    return {"record": int(ticks[-1]) + 1} | _touch(records[ticks[-1]], words) if ticks.size else None


def _signal(lives: _Lives, life: int, at: int, signal_id: int, decided_ns: int, words: _Words) -> Row | None:
    """The record that caused the order: the newest before it; an exit's may be of an earlier life."""
    for number in sorted((n for n in lives.cards if n <= life), reverse=True):
        records = lives[number][:at] if number == life else lives[number]
        packed = records[:, layout.J_KIND]
        ours = packed & KIND_MASK == layout.JOURNAL_SIGNAL
        parameter = packed >> 8 & KIND_MASK == layout.SIGNAL_PARAMETER
        named = np.where(parameter, records[:, layout.S_LOTS], records[:, layout.S_ID]) == signal_id
        if (found := np.flatnonzero(ours & named)).size:
            record = records[found[-1]]
            seen_ns = int(record[layout.S_SOURCE])
            common = {
                "record": int(found[-1]) + 1,
                "life": number,
                "source": layout.SIGNAL_SOURCE[int(record[layout.J_KIND]) >> 16],
                "kind": layout.SIGNAL_KIND[int(record[layout.J_KIND]) >> 8 & KIND_MASK],
                "age_ms": (decided_ns - int(record[layout.S_ISSUED_NS])) // 1_000_000 if number == life else None,
                "seen_ns_before": decided_ns - seen_ns if number == life else None,
            }
            if parameter[found[-1]]:
                return common | {"parameter": layout.PARAMETER[record[layout.S_ID]], "value": int(record[layout.S_VALUE])}
            return common | {
                "side": layout.SIDE[record[layout.S_SIDE]],
                "size": words.size(int(record[layout.S_LOTS])),
                "limit": words.price(int(record[layout.S_LIMIT_TICKS])),
                "urgency": int(record[layout.S_URGENCY]),
            }
    return None


def _judged_by(records: Records, at: int, card: Row) -> Row:
    """The account when its marks, halt or day last changed a limit, how long before the order, and the limits of its life."""
    kinds = records[:at, layout.J_KIND] & KIND_MASK
    images = np.flatnonzero(kinds == layout.JOURNAL_TIMER)
    found: Row = {"limits": card["limits"]}
    if images.size:
        image = records[images[-1]]
        found["account"] = {
            "nav": f"{Decimal(int(image[layout.J_LOTS])).scaleb(-8):.2f}",
            "day_start_nav": f"{Decimal(int(image[layout.J_PRICE_TICKS])).scaleb(-8):.2f}",
            "high_water_mark": f"{Decimal(int(image[layout.J_VALUE])).scaleb(-8):.2f}",
            "drawdown_step": int(image[layout.J_SIDE]),
            "age_ms": int(records[at, layout.J_NOW_NS] - image[layout.J_NOW_NS]) // 1_000_000,
        }
    return found


def _said(lives: _Lives, life: int, order_id: int, decided_ns: int, words: _Words) -> Iterator[Row]:
    """What we said and heard about the order, repetitions once; times of a later life are not comparable and left out."""
    trades: set[int] = set()
    last: Row = {}
    for number in sorted(n for n in lives.cards if n >= life):
        records = lives[number]
        kinds = records[:, layout.J_KIND] & KIND_MASK
        event = kinds == layout.JOURNAL_EVENT
        told = np.isin(kinds, [layout.JOURNAL_KIND.index(name) for name in SAID])
        about = np.where(event, records[:, et.EV_ORDER_ID + 1], np.where(told, records[:, layout.J_ORDER_ID], 0)) == order_id
        for k in np.flatnonzero(about):
            said = _heard(records[k], words) if event[k] else _told(records[k], int(kinds[k]), words)
            if not said or said == last:
                continue
            last = said
            if said["what"] == "fill":
                if said["trade_id"] in trades:
                    continue  # a reconciliation told it again
                trades.add(said["trade_id"])
            now_ns = int(records[k, et.EV_RECV_NS + 1] if event[k] else records[k, layout.J_NOW_NS])
            yield {"record": int(k) + 1, "life": number, "after_ns": now_ns - decided_ns if number == life else None} | said


def _told(record: Any, kind: int, words: _Words) -> Row | None:
    what = layout.JOURNAL_KIND[kind]
    reason = layout.REASON[record[layout.J_REASON]] if record[layout.J_REASON] > 0 else ""
    if what == "fill":
        return {"what": "booked", "trade_id": int(record[layout.J_VALUE]), "size": words.size(int(record[layout.J_LOTS]))}
    if what == "sent":
        return {"what": OUTCOMES[int(record[layout.J_VALUE])]}
    if what == "ack":
        return {"what": "ack", "venue_id": int(record[layout.J_VALUE])}
    if what == "markout":
        gain = f"{Decimal(int(record[layout.J_VALUE])).scaleb(-8):+f}"
        return {"what": "markout", "horizon_ms": int(record[layout.J_SIGNAL_ID]) // 1_000_000, "gain": gain}
    return {"what": what.replace("_", " "), "reason": reason} if what != "intent" else {"what": "intent"}


def _heard(record: Any, words: _Words) -> Row | None:
    what = layout.EVENT_KIND[int(record[layout.J_KIND]) >> 8]
    if what not in HEARD:
        return None  # the core's own record says the same
    if what != "fill":
        return {"what": what.replace("_", " ")}
    return {
        "what": "fill",
        "trade_id": int(record[et.EV_TRADE_ID + 1]),
        "size": words.size(int(record[et.EV_LOTS + 1])),
        "price": words.price(int(record[et.EV_PRICE_TICKS + 1])),
        "fee": f"{Decimal(int(record[et.EV_FEE_E8 + 1])).scaleb(-8):f}",
        "liquidity": layout.LIQUIDITY[max(int(record[et.EV_LIQUIDITY + 1]), 0)],
    }


def lines(found: Row) -> Iterator[str]:
    """The chain for people, in the order in which it happened."""
    one, checks, decision = found["id"], found["checks"], found["decision"]
    yield f"order     {found['order_id']} = instance {one['instance']}, epoch {one['epoch']}, number {one['counter']}"
    yield f"owner     {found['owner']}, life {found['life']}, account {' '.join(str(word) for word in found['account'])}"
    yield f"hashes    config {found['config_hash']}, code {found['code_hash']}"
    if found["market"]:
        yield f"market    {found['symbol']} {_fields(found['market'])}"
    if found["signal"]:
        yield f"signal    {found['signal_id']}: {_fields(found['signal'])}"
        yield f"model     {found['model_hash']}, prompt {found['prompt_hash']}"
    elif found["signal_id"]:
        yield f"signal    {found['signal_id']}: not in the journal"
    else:
        yield "signal    none: its owner decided by itself"
    yield f"trigger   {_fields(found['trigger'])}"
    yield f"decision  {_fields(decision)}"
    changed = f", changed by {checks['changed_by']}" if checks["changed_by"] else ""
    yield f"checks    every check of the gate passed{changed}; profile {checks['limits'].get('profile')}"
    if "account" in checks:
        yield f"account   {_fields(checks['account'])}"
    for said in found["said"]:
        after = "later life" if said["after_ns"] is None else f"+{said['after_ns'] / 1000:.1f} µs"
        rest = {key: value for key, value in said.items() if key not in ("record", "life", "after_ns", "what")}
        yield f"{after:>14}  {said['what']} {_fields(rest)}".rstrip()


def _fields(values: Row) -> str:
    return ", ".join(f"{key} {value}" for key, value in values.items() if value not in (None, ""))
