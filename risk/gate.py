"""The gate: every order passes here just before it is sent, and again when it leaves the queue.

Precedence KILL > HALT > PAUSE > REJECT > REDUCE > LIMIT-ONLY > QUEUE: refusals in that order, the first one answers;
an order that is not refused may be reduced, then priced as a limit, then told to wait. All three can apply at once;
`out` then holds the changed order and APPLIED their bits (1 << ACTION). The answer is QUEUE whenever the order must
not be sent now, otherwise the strongest change. What waits is the order as it came: it is gated anew when dequeued,
so nothing is reduced twice. The gate writes `out` only; after sending, call `sent`.

An exit skips position, gross, size, open-order, loss, drawdown, pause, rate and book checks, and passes while halted;
it never skips lease, kill, reconcile, ids, grid, its own bound, collar, funds and duplicates, nor its own budget: more
exits than that are a fault of the engine itself, and the answer is KILL.
Cancels do not come here: STATE_ACTION passes them in every state.
"""
# mypy: disable-error-code="no-untyped-def,no-untyped-call"

from __future__ import annotations

from fabric import layout
from fabric.jit import inlined, kernel
from risk import account as accounts
from risk import checks, rate, tables

OPERATIONS = len(tables.OPERATION)
STATE_LAPSED = len(layout.RISK_STATE)  # one state more than the account has: it holds no lease, whatever else it is
STATES = STATE_LAPSED + 1

_PASS, _PAUSE, _HALT, _KILL = layout.ACTION_PASS, layout.ACTION_PAUSE, layout.ACTION_HALT, layout.ACTION_KILL
STATE_ACTION = (  # one row per state: new, exit, amend up, amend down, cancel
    *(_HALT, _HALT, _HALT, _HALT, _PASS),  # disarmed
    *(_PASS, _PASS, _PASS, _PASS, _PASS),  # active
    *(_PAUSE, _PASS, _PAUSE, _PASS, _PASS),  # paused
    *(_HALT, _PASS, _HALT, _HALT, _PASS),  # halted; whether exits are sent at all is for on_halt
    *(_KILL, _KILL, _KILL, _KILL, _PASS),  # killed
    *(_HALT, _HALT, _HALT, _HALT, _PASS),  # lease lapsed
)


@inlined
def state_action(state, operation):
    """What an engine state does with an operation; a state outside the table is read as killed."""
    if 0 <= state < STATES:
        return STATE_ACTION[state * OPERATIONS + operation]
    return STATE_ACTION[layout.RISK_KILLED * OPERATIONS + operation]


@inlined
def engine_state(account, lease_ok):
    """The row of STATE_ACTION in force: killed, else lapsed, else the account's own."""
    state = account[tables.AC_STATE]
    if lease_ok == 0 and state != layout.RISK_KILLED:
        return STATE_LAPSED
    return state


@inlined
def refuse_any(order, account, positions, books, instruments, limits, owners, now_ns):
    """Checks that an exit does not skip either, in order."""
    reason = checks.fields(order, instruments, owners)
    if reason == 0:
        reason = checks.duplicate_id(order, account)
    if reason == 0:
        reason = checks.limits_present(order, limits)
    if reason == 0:
        reason = checks.reconciled(account)
    if reason == 0:
        reason = checks.grid(order, instruments)
    if reason == 0 and order[tables.OI_IS_EXIT] != 0:
        reason = checks.exit_bound(order, positions)
    if reason == 0 and order[tables.OI_IS_EXIT] == 0:
        reason = checks.book(order, books, limits, now_ns)
    if reason == 0:
        reason = checks.collar(order, books, limits, now_ns)
    if reason == 0:
        reason = checks.min_notional(order, order[tables.OI_LOTS], books, instruments, limits, now_ns)
    if reason == 0:
        reason = checks.funds(order, positions, instruments)
    if reason == 0:
        reason = checks.duplicate_order(order, owners, limits, now_ns)
    return reason


@inlined
def refuse_new(order, account, positions, books, instruments, limits, rate_row, unowned_mask, now_ns):
    """Checks for new orders only, in order."""
    reason = checks.unowned(order, positions, unowned_mask)
    if reason == 0:
        reason = checks.max_notional(order, books, instruments, limits)
    if reason == 0:
        reason = checks.open_orders(account, limits)
    if reason == 0:
        reason = checks.position(order, account, positions, books, instruments, limits, now_ns)
    if reason == 0:
        reason = checks.gross(order, account, positions, books, instruments, limits, now_ns)
    if reason == 0:
        reason = checks.message_rate(rate_row, limits, now_ns)
    return reason


@inlined
def answer(out, action, reason):
    """Note an action that applies: `out` keeps the reason of the one noted last."""
    out[tables.OUT_REASON] = reason
    out[tables.OUT_APPLIED] |= 1 << action
    return action


@inlined
def reduce(order, account, positions, books, instruments, limits, now_ns, out):
    """Drawdown: divide an order that increases, round down; ACTION_PASS, _REDUCE, or _REJECT if too little is left."""
    i, lots = order[tables.OI_INSTRUMENT], order[tables.OI_LOTS]
    divisor = accounts.drawdown_divisor(account)
    if divisor == 1 or lots <= accounts.reducible_lots(positions, i, order[tables.OI_SIDE]):
        return layout.ACTION_PASS
    out[tables.OUT_LOTS] = lots // divisor
    if out[tables.OUT_LOTS] < max(instruments[i, tables.IN_MIN_LOTS], 1):
        return answer(out, layout.ACTION_REJECT, layout.REASON_DRAWDOWN_ZERO)
    reason = checks.min_notional(order, out[tables.OUT_LOTS], books, instruments, limits, now_ns)
    if reason != 0:
        return answer(out, layout.ACTION_REJECT, reason)
    return answer(out, layout.ACTION_REDUCE, layout.REASON_DRAWDOWN_REDUCED)


@inlined
def limit_only(order, account, books, limits, now_ns, out):
    """A market order becomes IOC at the collar: under the slippage breaker, or when no book can price it."""
    row = books[order[tables.OI_INSTRUMENT]]
    priced = order[tables.OI_PRICE_TICKS] > 0 or accounts.book_ready(row, limits, now_ns)
    if order[tables.OI_TYPE] != layout.TYPE_MARKET or (account[tables.AC_LIMIT_ONLY] == 0 and priced):
        return layout.ACTION_PASS
    side, price = order[tables.OI_SIDE], order[tables.OI_PRICE_TICKS]
    edge = checks.collar_price(side, checks.reference_x2(row, limits, now_ns), limits[tables.LM_COLLAR_PPM])
    if price > 0:
        edge = min(edge, price) if side == layout.SIDE_BUY else max(edge, price)
    out[tables.OUT_TYPE] = layout.TYPE_IOC
    out[tables.OUT_PRICE_TICKS] = edge
    return layout.ACTION_LIMIT_ONLY


@kernel
def gate(
    order_in,
    account,
    positions,
    books,
    instruments,
    limits,
    owners,
    rate_row,
    lease_ok,
    unowned_mask,
    now_ns,
    out,
):
    """Judge one ORDER_IN row; returns an ACTION and fills `out` (GATE_OUT).

    PASS, REDUCE and LIMIT_ONLY: send type, price and lots of `out`. QUEUE: keep `order_in`, gate it again later.
    REJECT, PAUSE, HALT, KILL: do not send. `unowned_mask`: bit i = unexplained position in instrument i.
    """
    out[:] = 0
    out[tables.OUT_TYPE] = order_in[tables.OI_TYPE]
    out[tables.OUT_PRICE_TICKS] = order_in[tables.OI_PRICE_TICKS]
    out[tables.OUT_LOTS] = order_in[tables.OI_LOTS]
    is_exit = order_in[tables.OI_IS_EXIT] != 0
    action = state_action(engine_state(account, lease_ok), tables.OPERATION_EXIT if is_exit else tables.OPERATION_NEW)
    if action != layout.ACTION_PASS:
        return answer(out, action, checks.state_reason(account, lease_ok))
    if not is_exit:
        reason = checks.owner_state(order_in, owners, now_ns)
        if reason != 0:
            return answer(out, layout.ACTION_PAUSE, reason)
    reason = refuse_any(order_in, account, positions, books, instruments, limits, owners, now_ns)
    if reason == 0 and not is_exit:
        reason = refuse_new(order_in, account, positions, books, instruments, limits, rate_row, unowned_mask, now_ns)
    if reason != 0:
        return answer(out, layout.ACTION_REJECT, reason)
    if is_exit and rate.exits_exceed(rate_row, now_ns):
        return answer(out, layout.ACTION_KILL, layout.REASON_EXIT_RUNAWAY)
    if not is_exit:
        action = reduce(order_in, account, positions, books, instruments, limits, now_ns, out)
        if action == layout.ACTION_REJECT:
            return action
    if limit_only(order_in, account, books, limits, now_ns, out) != layout.ACTION_PASS:
        out[tables.OUT_APPLIED] |= 1 << layout.ACTION_LIMIT_ONLY
        if action == layout.ACTION_PASS:
            action = answer(out, layout.ACTION_LIMIT_ONLY, layout.REASON_SLIPPAGE_LIMIT_ONLY)
    if not is_exit and rate.would_exceed(rate_row, limits, now_ns):
        action = answer(out, layout.ACTION_QUEUE, layout.REASON_RATE_QUEUED)
    return action


@kernel
def sent(order_in, account, owners, rate_row, now_ns):
    """The order goes out now: take its rate slot and remember its id and likeness for the duplicate checks."""
    rate.take(rate_row, now_ns)
    if order_in[tables.OI_IS_EXIT] != 0:
        rate.take_exit(rate_row, now_ns)
    account[tables.AC_LAST_ORDER_ID] = max(account[tables.AC_LAST_ORDER_ID], order_in[tables.OI_ID])
    owners[order_in[tables.OI_OWNER], tables.OW_LAST_ORDER_KEY] = checks.order_key(order_in)
    owners[order_in[tables.OI_OWNER], tables.OW_LAST_ORDER_NS] = now_ns
