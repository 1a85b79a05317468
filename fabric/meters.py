# mypy: disable-error-code="no-untyped-def,no-untyped-call,untyped-decorator"
"""Counters and histograms inside compiled loops: one writer, plain load and store, no lock prefix, no reset.

Histogram buckets are HdrHistogram's: log-linear, two significant digits, 1 ns to 60 s, larger values in the last bucket.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from fabric import layout
from fabric.atomics import load_relaxed, store_relaxed
from fabric.jit import kernel

_HALF_BITS = 7  # 256 sub-buckets, the lower half of each bucket belongs to the one below
_MASK = 255
_COUNTERS = layout.COUNTERS_OFFSET
_STRIDE = layout.COUNTER_STRIDE
_HISTOGRAMS = layout.HISTOGRAMS_OFFSET
_HISTOGRAM_STRIDE = layout.HISTOGRAM_STRIDE
_HEADER_BYTES = len(layout.HISTOGRAM_HEADER) * layout.WORD
_LAST = layout.HISTOGRAM_BUCKETS - 1
_MAX_WORD = layout.HG_MAX_NS * layout.WORD
_HEARTBEAT = layout.HEARTBEAT_OFFSET
_STATUS = layout.STATUS_OFFSET


@intrinsic
def _leading_zeros(typingctx: Any, value: Any) -> Any:
    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.ctlz(args[0], ir.Constant(ir.IntType(1), 0))

    return types.int64(types.int64), codegen


@kernel
def bucket_of(value_ns):
    """Index of the bucket that holds a value; negative values count as 0."""
    value = max(value_ns, 0)
    bucket = 64 - _leading_zeros(value | _MASK) - (_HALF_BITS + 1)
    index = ((bucket + 1) << _HALF_BITS) + (value >> bucket) - (1 << _HALF_BITS)
    return min(index, _LAST)


def bucket_value(index: int) -> int:
    """Highest value that lands in bucket ``index``."""
    bucket = (index >> _HALF_BITS) - 1
    sub = (index & ((1 << _HALF_BITS) - 1)) + (1 << _HALF_BITS)
    if bucket < 0:
        bucket, sub = 0, sub - (1 << _HALF_BITS)
    return (sub << bucket) + (1 << bucket) - 1


@kernel
def counter_add(base, counter, count):
    """Add to a counter of the stats segment at ``base``."""
    address = base + _COUNTERS + counter * _STRIDE
    store_relaxed(address, load_relaxed(address) + count)


@kernel
def counter_set(base, counter, value):
    """Set a counter or gauge."""
    store_relaxed(base + _COUNTERS + counter * _STRIDE, value)


@kernel
def record(base, histogram, value_ns):
    """Count one value in a histogram of the stats segment at ``base``."""
    start = base + _HISTOGRAMS + histogram * _HISTOGRAM_STRIDE
    bucket = start + _HEADER_BYTES + bucket_of(value_ns) * 8
    store_relaxed(bucket, load_relaxed(bucket) + 1)
    if value_ns > load_relaxed(start + _MAX_WORD):
        store_relaxed(start + _MAX_WORD, value_ns)


@kernel
def heartbeat(base, now_ns):
    """The loop is alive at ``now_ns``."""
    store_relaxed(base + _HEARTBEAT, now_ns)


@kernel
def status_set(base, word, value):
    """Set one word of the status row."""
    store_relaxed(base + _STATUS + word * 8, value)
