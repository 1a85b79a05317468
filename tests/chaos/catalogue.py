"""Every fault, by the rows of docs/fault-matrix.md. A fault is a function that does it; the rest is said in its ``Fault``."""

from __future__ import annotations

from tests.chaos.faults import Fault
from tests.chaos.of_engine import FAULTS as ENGINE
from tests.chaos.of_host import FAULTS as HOST
from tests.chaos.of_venue import FAULTS as VENUE
from tests.chaos.of_watchdog import FAULTS as WATCHDOG

FAULTS: dict[str, Fault] = {fault.name: fault for fault in (*ENGINE, *WATCHDOG, *VENUE, *HOST)}
