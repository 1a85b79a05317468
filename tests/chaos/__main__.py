"""``python -m tests.chaos``: faults until so many stand in the file. Exits with 1 when one of them did not end as it must."""

from __future__ import annotations

import argparse
import pathlib
import random
import signal
import sys
import time

from tests.chaos.catalogue import FAULTS
from tests.chaos.run import Book, Chaos, Result, book_of, histogram, round_of, table, tell_line

SLOW = ("revocation_takes_60_s",)  # once in ten rounds


def main() -> int:
    parser = argparse.ArgumentParser(prog="chaos", description=__doc__)
    parser.add_argument("--seed", type=int, default=None, help="default: a random one, printed; the same one goes on")
    parser.add_argument("--count", type=int, default=len(FAULTS), help="faults of this seed in all")
    parser.add_argument("--file", type=pathlib.Path, default=book_of("faults"))
    parser.add_argument("--only", default="", help="names, with commas")
    parser.add_argument("--lanes", type=int, default=1, help="houses side by side")
    options = parser.parse_args()
    seed = random.SystemRandom().randrange(1 << 32) if options.seed is None else options.seed
    book, began = Book(options.file), time.monotonic()
    wanted = [name for name in options.only.split(",") if name] or list(FAULTS)
    print(f"chaos: seed {seed}, {options.count} faults; results in {options.file}", flush=True)

    def tell(result: Result) -> None:
        book.add(result.row())
        print(tell_line(result, began), flush=True)

    def of_seed() -> int:
        return sum(row["seed"].startswith(f"{seed}-") for row in book.rows)

    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    with Chaos() as chaos:
        turn = 0
        while of_seed() < options.count:
            number = f"{seed}-{turn}"
            left = [name for name in wanted if name not in book.played(number) and not (name in SLOW and turn % 10)]
            round_of(chaos, left[: options.count - of_seed()], number, options.lanes, tell)
            turn += 1
    own = [row for row in book.rows if row["seed"].startswith(f"{seed}-")]
    print(table(histogram(own)))
    failed = [row for row in own if row["failed"]]
    print(f"{len(own)} faults with seed {seed}, {len(failed)} failed, {time.monotonic() - began:.0f} s")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
