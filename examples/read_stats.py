"""Prints a stats page of Pulex from its path alone: ``python read_stats.py PATH``. Standard library; docs/stats-page.md."""

import bisect
import itertools
import math
import mmap
import sys
import time

FIELDS = """words heartbeat names names_bytes status status_words counters counters_max counter_stride histograms
histograms_max histogram_stride over_in_histogram max_in_histogram buckets_in_histogram buckets half_bits labels
histogram_labels label_bytes errors errors_max error_bytes text_in_error"""


def show(path: str) -> None:
    with open(path, "rb") as file:
        raw = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
    words = raw[: len(raw) // 8 * 8].cast("q")
    if len(raw) < 4096 or words[0] != 0x50554C4558303031 or words[2] != 6:
        raise ValueError("not a stats page")
    fields = FIELDS.split()
    at = dict(zip(fields, words[32 : 32 + len(fields)], strict=True))
    if at["words"] < len(fields) or not all(0 <= value < len(raw) for value in at.values()) or at["half_bits"] > 32:
        raise ValueError("its directory is damaged")

    def text(start: int, size: int) -> str:
        return bytes(raw[start : start + size]).split(b"\0")[0].decode("utf-8", "replace")

    names, states = (line.split() for line in text(at["names"], at["names_bytes"]).split("\n"))
    beat = words[at["heartbeat"] // 8]
    print(f"heartbeat {(time.monotonic_ns() - beat) / 1e6:.1f} ms ago" if beat else "heartbeat never")
    for name, value in zip(names, words[at["status"] // 8 :][: at["status_words"]], strict=True):
        print(f"status {name} {states[value] if name == 'state' and 0 <= value < len(states) else value}")
    for index in range(at["counters_max"]):
        if label := text(at["labels"] + index * at["label_bytes"], at["label_bytes"]):
            print(f"counter {label} {words[(at['counters'] + index * at['counter_stride']) // 8]}")
    for index in range(at["histograms_max"]):
        if label := text(at["histogram_labels"] + index * at["label_bytes"], at["label_bytes"]):
            start = at["histograms"] + index * at["histogram_stride"]
            below = list(itertools.accumulate(words[(start + at["buckets_in_histogram"]) // 8 :][: at["buckets"]]))
            points, longest = [f"count {below[-1]}"], words[(start + at["max_in_histogram"]) // 8]
            for percent in (50, 99, 99.9) if below[-1] else ():
                bucket = bisect.bisect_left(below, max(1, math.ceil(below[-1] * percent / 100)))
                shift = max((bucket >> at["half_bits"]) - 1, 0)
                points.append(f"p{percent} {min(((bucket - (shift << at['half_bits']) + 1) << shift) - 1, longest)}")
            print("histogram", label, *points, "max", longest)
    for start in range(at["errors"], at["errors"] + at["errors_max"] * at["error_bytes"], at["error_bytes"]):
        count, first, last, length = words[start // 8 :][:4]
        if count:
            print(f"error x{count} first {first} last {last}: {text(start + at['text_in_error'], length)}")


if __name__ == "__main__":
    try:
        show(sys.argv[1])
    except (IndexError, OSError, ValueError) as error:
        sys.exit(f"{' '.join(sys.argv[1:])}: {error}; usage: read_stats.py PATH")
