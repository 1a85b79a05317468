"""What each reason code means, in one line, for the documents, the dashboard and the journal's readers.

The one table of reasons: `layout.REASON` numbers and names them, this says what happened and, where it helps, what to do.
"""

from __future__ import annotations

from fabric import layout

TEXT: dict[str, str] = {
    "none": "no reason given",
    "lease_lapsed": "the watchdog's lease is not held, so nothing but cancels may go out",
    "epoch_stale": "the order belongs to an earlier epoch than the lease",
    "killed": "trading was killed; an operator must return it",
    "halted_daily_loss": "the day's loss reached its limit; an operator must clear the halt",
    "halted_nav": "net asset value is zero or below; an operator must clear the halt",
    "halted_operator": "an operator halted trading",
    "owner_paused": "this owner is paused after losses in a row or a storm of rejects",
    "owner_latched": "this owner was paused too often today; an operator must clear it",
    "position_cap": "position and working orders together would exceed the position cap",
    "gross_exposure": "all positions and working orders together would exceed the gross limit",
    "rate_queued": "the order rate is used up; the order waits",
    "rate_queue_full": "the order rate is used up and the queue is full",
    "rate_queue_expired": "the order waited longer than the queue allows",
    "slippage_limit_only": "market orders go out as IOC at the collar",
    "drawdown_reduced": "the size was reduced because of the drawdown",
    "drawdown_zero": "the drawdown reduction left less than the smallest order",
    "price_collar": "the price is further from the mid than the collar allows",
    "max_order_lots": "the size is above the instrument's largest order",
    "max_order_notional": "the order's value is above the limit",
    "min_notional": "the order's value is below the venue's smallest",
    "max_open_orders": "too many orders are open",
    "duplicate_id": "the client order id was used before",
    "duplicate_order": "the same order of the same owner went out a moment ago",
    "book_stale": "the book is older than the limit",
    "book_dirty": "the book missed an update and waits for a snapshot",
    "book_crossed": "the book's bid is not below its ask",
    "book_empty": "the book lacks a side",
    "off_grid": "price, size, side or type is not one the instrument knows",
    "limit_missing": "a limit that would judge this order is not configured",
    "not_marketable": "an IOC or FOK that could not trade at its price",
    "own_cross": "the order would trade with one of our own",
    "message_rate": "orders and cancels of the last second use up the message rate",
    "reject_storm": "the venue rejected too many orders in a row",
    "journal_full": "the journal cannot keep up, so no new orders",
    "signal_expired": "the signal expired before it could trade",
    "signal_invalid": "the signal has a field outside its range",
    "signal_no_stop": "the signal has neither stop nor holding time",
    "signal_budget": "signals used up their hourly budget",
    "insufficient_funds": "the sale is larger than the free balance",
    "unowned_position": "a position that no own order explains; an operator must assign or flatten it",
    "reconcile_pending": "positions are not reconciled with the venue yet",
    "order_table_full": "no free row for another order",
    "send_failed": "the order could not be written to the socket",
    "unsent_bytes": "earlier bytes still wait in the socket",
    "shutdown": "trading is not armed, or is shutting down",
    "venue_reject": "the venue rejected the order",
    "post_only_would_cross": "a post-only order would have traded at once",
    "deadline_passed": "the order reached the venue after its deadline",
    "unknown_symbol": "the instrument is unknown or not active",
    "unknown_order": "the order id is not one of ours",
    "not_found": "the venue does not know the order",
    "self_trade": "the venue cancelled the order to prevent a trade with ourselves",
    "requested": "cancelled at our request",
    "unfilled": "the rest of an IOC, FOK or market order",
    "fat_finger": "a size or price far outside the usual",
    "clock_jump": "the clock jumped or the loop stood still too long",
    "session_down": "the order session is down",
    "exit_too_large": "the exit is larger than the confirmed position less what already works to reduce it",
    "no_price": "there is no price to judge the order by",
    "exit_runaway": "more exits in a second than any sound engine sends; trading is killed, an operator must return it",
    "halt_exit_over": "positions were not left within the time that a halt allows for it; they are held",
}


def text(reason: int) -> str:
    """The line for a reason code, also for a number that this version does not know."""
    if 0 <= reason < len(layout.REASON):
        return TEXT[layout.REASON[reason]]
    return f"unknown reason {reason}"
