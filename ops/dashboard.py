"""The operator's screen: a process of its own that reads the shared pages and writes nothing. Any number may run.

Works when the system is down: it says so, and comes back when the system does. ``python -m ops.dashboard RUN_DIR``.
"""

from __future__ import annotations

import asyncio
import json
import os
import pathlib
import sys
from typing import Any, ClassVar

from rich.console import Group, RenderableType
from textual.app import App, ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical
from textual.widgets import Static

from ops import panels
from ops.figures import Pages, books, snapshot

REFRESH_S = 0.5
PANELS = {"left": ("processes", "market", "account", "errors"), "right": ("orders", "signals", "latency")}


class Dashboard(App[None]):
    """One screen of one run directory."""

    CSS = """
    Screen { background: $background; }
    #head { height: 1; background: $surface; }
    #keys { height: 1; color: $text-muted; }
    #left { width: 9fr; height: 1fr; }
    #right { width: 11fr; height: 1fr; }
    .panel { height: auto; border: round $surface-lighten-2; border-title-color: $accent; padding: 0 1; }
    #errors, #latency { height: 1fr; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("q,ctrl+c,ctrl+q", "quit", "leave", priority=True),
    ]
    ENABLE_COMMAND_PALETTE = False

    def __init__(self, run_dir: str | pathlib.Path) -> None:
        super().__init__()
        self.run_dir = pathlib.Path(run_dir)
        self._stamp = 0.0
        self._config: dict[str, Any] | None = None
        self._pages: Pages | None = None

    def compose(self) -> ComposeResult:
        yield Static(id="head")
        with Horizontal():
            for side, names in PANELS.items():
                with Vertical(id=side):
                    for name in names:
                        panel = Static(id=name, classes="panel")
                        panel.border_title = name
                        yield panel
        yield Static(" q leave · read-only · pulex kill --reason TEXT ends trading", id="keys")

    def on_mount(self) -> None:
        self.look()
        self.set_interval(REFRESH_S, self.look)

    def look(self) -> None:
        """Read everything once and draw it."""
        self._find()
        if self._config is None or self._pages is None:
            self.put("head", f" the system is down: {self.run_dir} holds no run; start it with pulex run")
            return
        figures = snapshot(self._pages, self._config)
        if all(row["state"] in ("down", "stopped") for row in figures["processes"].values()):
            self.put("head", f" {figures['name']} is down; what you see is its last state")
        else:
            self.put("head", panels.head(figures))
        self.put("market", Group(panels.market(figures, books(self._pages, self._config)), panels.flow(figures)))
        for name in ("processes", "account", "orders", "signals", "latency", "errors"):
            self.put(name, getattr(panels, name)(figures))

    def _find(self) -> None:
        """The configuration of the newest run; kept when its files are gone."""
        file = self.run_dir / "config.json"
        try:
            stamp = file.stat().st_mtime
            if stamp != self._stamp:
                self._config = json.loads(file.read_text())
                self._pages = Pages(self._config["shm_dir"])
                self._stamp = stamp
        except (OSError, ValueError):
            return  # nothing there, or half written: look again next time

    def put(self, name: str, content: RenderableType) -> None:
        self.query_one(f"#{name}", Static).update(content)


def _leave_the_hot_cpu(run_dir: pathlib.Path) -> None:
    try:
        os.sched_setaffinity(0, json.loads((run_dir / "config.json").read_text())["placement"]["house"])
    except (OSError, ValueError, KeyError):
        return  # nothing runs, so nothing is disturbed


def show(run_dir: str | pathlib.Path) -> None:
    """The dashboard on this terminal, until q."""
    _leave_the_hot_cpu(pathlib.Path(run_dir))
    Dashboard(run_dir).run()


def capture(run_dir: str | pathlib.Path, file: str, columns: int, rows: int) -> None:
    """One screen as SVG, made without a terminal."""

    async def once() -> str:
        app = Dashboard(run_dir)
        async with app.run_test(size=(columns, rows)) as pilot:
            await pilot.pause()
            return app.export_screenshot(title="pulex top")

    _leave_the_hot_cpu(pathlib.Path(run_dir))
    pathlib.Path(file).write_text(asyncio.run(once()))


if __name__ == "__main__":
    show(sys.argv[1])
