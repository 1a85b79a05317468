"""The figures of ``bench.exec`` on the screen, and against their targets. A target without its figure is not judged."""

from __future__ import annotations

from typing import Any

from fabric.layout import INSTRUMENTS_MAX

FLAT = 1.25  # the same cost, for a machine of which others take a part


def judge(found: dict[str, Any]) -> list[dict[str, Any]]:
    """Each target: name, value, bound, whether it is met (None: could not be measured here)."""
    gates, decisions, curve = found["gate_ns"], found["decision_ns"], found["orders_ns"]
    targets: list[dict[str, Any]] = []

    def at_most(name: str, value: float | None, bound: float) -> None:
        met = None if value is None else value <= bound
        targets.append({"name": name, "value": value and round(value, 3), "bound": f"<= {bound:g}", "met": met})

    for instruments, one in gates.items():
        at_most(f"gate p50, {instruments} instruments", one["p50"], 120)
        at_most(f"gate p99.9, {instruments} instruments", one["p999"], 1_000)
    at_most("decision p50, 1 strategy", decisions["1_strategy_1_instrument"]["p50"], 400)
    at_most("decision p50, 4 strategies, 32 instruments", decisions["4_strategies_32_instruments"]["p50"], 1_500)
    for strategies in ("1_strategy", "4_strategies"):
        one, all_ = decisions[f"{strategies}_1_instrument"], decisions[f"{strategies}_32_instruments"]
        at_most(f"{strategies}: 32 instruments / 1".replace("_", " "), all_["p50"] / one["p50"], FLAT)
    for operation in ("open", "close", "fill", "submit"):
        p50s = {live: one[operation]["p50"] for live, one in curve.items() if operation in one}
        few, many = next(iter(p50s)), next(reversed(p50s))
        at_most(f"{operation} p50, {many} open / {few}", p50s[many] / p50s[few], FLAT)
    at_most(f"decision, 1024 instruments / 1 (tables end at {INSTRUMENTS_MAX})", None, FLAT)
    ratios = found["submit_ns"]["nautilus_to_pulex"]
    targets.append(
        {"name": "nautilus_trader / pulex, submit p50", "value": ratios and ratios["p50"], "bound": "for information"}
        | {"met": None if ratios is None else True}
    )
    return targets


def line(name: str, one: dict[str, float]) -> str:
    cells = "".join(f"{one[key]:>10.0f}" for key in ("min", "p50", "p90", "p99", "p999"))
    return f"{name:<36}{cells}{one['mean']:>10.0f}"


def print_table(found: dict[str, Any], targets: list[dict[str, Any]], about: dict[str, Any]) -> None:
    print(
        f"\n{'ns, a pair of counter reads included':<36}{'min':>10}{'p50':>10}{'p90':>10}{'p99':>10}{'p99.9':>10}{'mean':>10}"
    )
    print(line("a pair of counter reads", found["empty_ns"]))
    for instruments, one in found["gate_ns"].items():
        print(line(f"whole gate, {instruments} instruments", one))
    for name, one in found["decision_ns"].items():
        print(line(f"event to order, {name.replace('_', ' ')}", one))
    for live, operations in found["orders_ns"].items():
        for name, one in operations.items():
            print(line(f"{name}, {live} orders open", one))
    submits = found["submit_ns"]
    print(line("submit, pulex", submits["pulex"]))
    if theirs := submits["nautilus_trader"]:
        print(line(f"submit, nautilus_trader {theirs['version']}", theirs))
    each = ", ".join(f"{name} {value:g}" for name, value in found["checks_ns"].items())
    print(f"\nchecks alone, ns per call in a loop of the same form as `empty`: {each}")
    print(f"\n{'target':<56}{'value':>9}   bound")
    for one in targets:
        said = {True: "met", False: "MISSED", None: "NOT MEASURED"}[one["met"]]
        print(f"{one['name']:<56}{one['value'] if one['value'] is not None else '-':>9}   {one['bound']:<18}{said}")
    if not about["quiet"]:
        print("BUSY MACHINE: other programs took more than 2 % of the cpu; do not quote these figures")
