"""The screen shows what the pages say, and says so when there is nothing to show."""

from __future__ import annotations

import asyncio
import pathlib
import time
from typing import Any

from fabric import layout
from fabric.segment import Segment
from fabric.stats import StatsWriter
from ops import panels
from ops.dashboard import Dashboard, capture
from ops.instance import Paths


def screen_text(run_dir: pathlib.Path, size: tuple[int, int] = (100, 30)) -> str:
    async def once() -> str:
        app = Dashboard(run_dir)
        async with app.run_test(size=size) as pilot:
            await pilot.pause()
            lines = app.screen._compositor.render_strips()
            return "\n".join(strip.text for strip in lines)

    return asyncio.run(once())


def fill_pages(where: Paths, config: dict[str, Any]) -> list[object]:
    """Pages of a system that trades; the writers must stay referenced to be alive."""
    feed, execution = StatsWriter(where.shm_dir, "feed"), StatsWriter(where.shm_dir, "execution")
    feed.status(state=layout.PROCESS_RUNNING, cpu=1)
    feed.beat()
    feed.set("events", 12345)
    execution.status(state=layout.PROCESS_RUNNING)
    execution.set("reason.post_only_would_cross", 7)
    execution.record("tick_to_order", 2100)
    exec_page = Segment.create(where.shm_dir, "exec", "execution")
    base = layout.ACCOUNT_OFFSET // 8
    exec_page.words[base + layout.AP_NAV_E8] = 99_500 * 10**8
    exec_page.words[base + layout.AP_DAY_START_NAV_E8] = 100_000 * 10**8
    exec_page.words[base + layout.AP_RISK_STATE] = layout.RISK_ACTIVE
    exec_page.words[base + layout.ACCOUNT_ROWS_WORD + layout.AR_POSITION_LOTS] = -1500
    market = Segment.create(where.shm_dir, "market", "feed")
    row = layout.STATE_OFFSET // 8
    for word, value in (
        ("STATUS", layout.BOOK_READY),
        ("BID_TICKS", 6399999),
        ("ASK_TICKS", 6400001),
        ("RECV_NS", time.monotonic_ns()),
    ):
        market.words[row + getattr(layout, f"ST_{word}")] = value
    return [feed, execution, exec_page, market]


def test_screen_shows_market_account_rejects_and_stages(where: Paths, config: dict[str, Any]) -> None:
    alive = fill_pages(where, config)
    text = screen_text(where.run_dir)
    assert alive
    for wanted in ("63999.99", "12,345 events", "-0.01500", "-500.00", "post_only_would_cross", "2.1µs", "never"):
        assert wanted in text, text


def test_half_of_the_daily_loss_is_shown_as_fifty_percent(where: Paths, config: dict[str, Any]) -> None:
    alive = fill_pages(where, config)  # 500 of 100,000 lost, the limit is 1 %
    assert alive
    assert "50 %" in screen_text(where.run_dir)


def test_screen_says_that_the_system_is_down(tmp_path: pathlib.Path) -> None:
    assert "the system is down" in screen_text(tmp_path)


def test_limit_colours_change_at_half_four_fifths_and_all() -> None:
    styles = [panels.used_style(percent) for percent in (49.9, 50, 79.9, 80, 99.9, 100)]
    assert styles == ["green", "yellow", "yellow", "red", "red", "bold red"]


def test_capture_writes_an_svg(where: Paths, config: dict[str, Any], tmp_path: pathlib.Path) -> None:
    alive = fill_pages(where, config)
    capture(where.run_dir, str(tmp_path / "top.svg"), 100, 30)
    assert alive
    assert (tmp_path / "top.svg").read_text().startswith("<svg")


def test_the_last_drill_is_worded_with_its_age_and_a_failed_one_is_red() -> None:
    def worded(seconds: int, result: str = "pass") -> tuple[str, str]:
        text = panels.drill({"wall_s": 1000, "result": result, "ms": 12}, 1000 + seconds)
        return text.plain, str(text.style)

    ages = [worded(seconds)[0] for seconds in (0, 59, 60, 3599, 7200, 3 * 86400)]
    assert ages == [f"PASS {age} ago, 12 ms" for age in ("0 s", "59 s", "1 min", "59 min", "2 h", "3 d")]
    assert worded(5, "not_proven") == ("NOT PROVEN 5 s ago, 12 ms", "red")
    assert panels.drill({"wall_s": None, "result": "not_run", "ms": 0}, 5.0).plain == "never"
