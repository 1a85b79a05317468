"""The figures of ``bench.fabric`` on the screen, and against their targets. A target without its figure is not judged."""

from __future__ import annotations

from typing import Any

RATES = {
    "spsc_msgs_per_s": "compiled Python",
    "spsc_c_msgs_per_s": "C",
    "spsc_c_64_byte_slots_msgs_per_s": "C with 64 B slots",
}


def judge(found: dict[str, Any]) -> list[dict[str, Any]]:
    """Each target: name, value, bound, whether it is met (None: could not be measured here)."""
    hop, line = found["hop_ns"], found["pingpong_oneway_ns"]
    targets: list[dict[str, Any]] = []

    def at_most(name: str, value: float, bound: float) -> None:
        targets.append({"name": name, "value": round(value, 3), "bound": f"<= {bound:g}", "met": value <= bound})

    def at_least(name: str, value: float | None, bound: float) -> None:
        met = None if value is None else value >= bound
        targets.append({"name": name, "value": value and round(value, 3), "bound": f">= {bound:g}", "met": met})

    at_most("hop p50 / bare line p50", hop["p50"] / line["p50"], 2.0)
    at_most("hop / bare line, no clock inside", hop["without_clock"] / line["without_clock"], 2.0)
    at_most("hop p99 / hop p50", hop["p99"] / hop["p50"], 2.0)
    for name in ("faster_fifo", "mp_queue"):
        peer = found[f"{name}_hop_ns"]
        at_least(f"{name} p50 / hop p50", peer and peer["p50"] / hop["p50"], 100)
    at_least("lossless ring / the same in C", found["spsc_to_c"], 0.9)
    for name, most in (("counter_add_ns", 2), ("hist_record_ns", 6), ("beat_and_lease_ns", 5), ("idle_pass_ns", 80)):
        at_most(name, found[name], most)
    low, high = found["readers50_aa_spread"]
    ratio = found["readers50_p99_ratio"]
    bound = f"{low:g} .. {high:g}"
    targets.append({"name": "writer p99, 50 readers / none", "value": ratio, "bound": bound, "met": low <= ratio <= high})
    return targets


def print_machine(about: dict[str, Any]) -> None:
    pinning = about["pinning"]
    print(f"{about['cpu']}, {about['cpus']} cpus{' (virtual)' if about['virtual'] else ''}, Linux {about['kernel']}")
    print(
        f"Python {about['python']}, numba {about['numba']}, faster-fifo {about['faster-fifo']}, "
        f"iceoryx2 {about['iceoryx2']}, commit {about['commit']}, load {about['load_1m']}"
    )
    print(
        f"near side, writer and single loops on cpu {pinning['near']}, far side and readers on cpu {pinning['far']}, "
        f"{pinning['scheduling']} scheduling, nice {pinning['nice']}; clock read {about['clock_ns']} ns"
    )
    for name in ("jitter", "jitter_far"):
        print_jitter("before", about[name])


def print_jitter(when: str, jitter: dict[str, Any]) -> None:
    print(
        f"jitter of cpu {jitter['cpu']} {when}: {jitter['gaps_over_1us_per_s']} gaps > 1 us per s, "
        f"p99 {jitter['gap_p99_us']} us, max {jitter['gap_max_us']} us, {jitter['stolen_ppm']} ppm stolen",
        flush=True,
    )


def print_table(found: dict[str, Any], targets: list[dict[str, Any]], about: dict[str, Any]) -> None:
    print_jitter("after", about["jitter_after"])
    print("\none way between two cpus, ns        p50      p99    p99.9  dropped  no clock inside")
    for name, key in (("bare cache line", "pingpong_oneway_ns"), ("market ring, 128 B", "hop_ns")):
        one = found[key]
        cells = f"{one['p50']:>9.1f}{one['p99']:>9.1f}{one['p999']:>9.1f}{one['dropped_share']:>9.2%}"
        print(f"{name:<30}{cells}{one['without_clock']:>17.1f}")
    for key, one in found.items():
        if key in ("faster_fifo_hop_ns", "mp_queue_hop_ns", "pipe_hop_ns", "iceoryx2_hop_ns"):
            cells = (
                f"{one['p50']:>9}{one['p99']:>9}   {one['p50'] / found['hop_ns']['p50']:.0f} x the ring" if one else "   ABSENT"
            )
            print(f"{key[:-7]:<30}{cells}")
    rates = [f"{name} {found[key] / 1e6:.1f} M/s" for key, name in RATES.items() if found[key]]
    print(f"lossless ring, 128 B slots: {', '.join(rates)}")
    print(
        f"counter add {found['counter_add_ns']} ns, histogram record {found['hist_record_ns']} ns, heartbeat and lease "
        f"{found['beat_and_lease_ns']} ns; apart: clock read {found['clock_read_ns']} ns"
    )
    print(
        f"idle execution pass {found['idle_pass_ns']} ns; apart: empty recv {found['empty_recv_ns']} ns; a pass of the whole "
        f"loop with clock, duty cycle and pause {found['idle_loop_pass_ns']} ns"
    )
    print("\ntarget                                value   bound")
    for one in targets:
        said = {True: "met", False: "MISSED", None: "NOT MEASURED"}[one["met"]]
        print(f"{one['name']:<34}{one['value'] if one['value'] is not None else '-':>9}   {one['bound']:<18}{said}")
    if not about["quiet"]:
        print("BUSY MACHINE: other programs took more than 2 % of a cpu; do not quote these figures")
