# mypy: disable-error-code="untyped-decorator"
"""Loads and stores that the compiler may neither cache, split nor reorder, and typed views of raw addresses.

Every word of shared memory is reached through these: a plain array read in a spin loop is hoisted by LLVM and hangs
(numba issue 1351). An address is an int64; a word is 8 bytes and aligned. The views (``table``, ``row``, ``octets``) carry no
reference count: they are for memory that the caller keeps alive, private to one thread.
"""

from __future__ import annotations

import platform
from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic, lower_builtin, type_callable
from numba.np.arrayobj import make_array, populate_array

_I64 = ir.IntType(64)
_I8 = ir.IntType(8)
_X86 = platform.machine() in ("x86_64", "AMD64")


def _pointer(builder: Any, address: Any, to: Any = _I64) -> Any:
    return builder.inttoptr(address, to.as_pointer())


def _make_load(name: str, ordering: str) -> Any:
    def load(typingctx: Any, address: Any) -> Any:
        def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            return builder.load_atomic(_pointer(builder, args[0]), ordering, 8)

        return types.int64(types.int64), codegen

    load.__name__ = load.__qualname__ = name
    return intrinsic(load)


def _make_store(name: str, ordering: str) -> Any:
    def store(typingctx: Any, address: Any, value: Any) -> Any:
        def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            builder.store_atomic(args[1], _pointer(builder, args[0]), ordering, 8)
            return context.get_dummy_value()

        return types.void(types.int64, types.int64), codegen

    store.__name__ = store.__qualname__ = name
    return intrinsic(store)


load_acquire = _make_load("load_acquire", "acquire")
load_relaxed = _make_load("load_relaxed", "monotonic")
store_release = _make_store("store_release", "release")
store_relaxed = _make_store("store_relaxed", "monotonic")


def _make_fence(name: str, ordering: str) -> Any:
    def fence(typingctx: Any) -> Any:
        def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            builder.fence(ordering)
            return context.get_dummy_value()

        return types.void(), codegen

    fence.__name__ = fence.__qualname__ = name
    return intrinsic(fence)


fence_acquire = _make_fence("fence_acquire", "acquire")
fence_release = _make_fence("fence_release", "release")
fence_full = _make_fence("fence_full", "seq_cst")


@intrinsic
def cpu_pause(typingctx: Any) -> Any:
    """``pause`` on x86, nothing elsewhere: tells the core that this is a spin."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        if _X86:
            kind = ir.FunctionType(ir.VoidType(), [])
            builder.call(cgutils.get_or_insert_function(builder.module, kind, "llvm.x86.sse2.pause"), [])
        return context.get_dummy_value()

    return types.void(), codegen


def prefetch(address: int) -> None:
    """Ask for the cache line at an address before it is needed. A hint without meaning: in plain Python it does nothing."""


@type_callable(prefetch)
def _type_of_prefetch(context: Any) -> Any:
    return lambda address: types.none


@lower_builtin(prefetch, types.int64)
def _lower_prefetch(context: Any, builder: Any, signature: Any, args: Any) -> Any:
    word = ir.IntType(32)
    kind = ir.FunctionType(ir.VoidType(), [_I8.as_pointer(), word, word, word])
    function = cgutils.get_or_insert_function(builder.module, kind, "llvm.prefetch.p0")
    read, keep, data = (ir.Constant(word, number) for number in (0, 3, 1))
    builder.call(function, [_pointer(builder, args[0], _I8), read, keep, data])
    return context.get_dummy_value()


def _view(context: Any, builder: Any, array_type: Any, address: Any, shape: list[Any], item: Any, size: int) -> Any:
    array = make_array(array_type)(context, builder)
    strides = [ir.Constant(_I64, size)]
    for extent in reversed(shape[1:]):
        strides.insert(0, builder.mul(strides[0], extent))
    populate_array(
        array,
        data=_pointer(builder, address, item),
        shape=shape,
        strides=strides,
        itemsize=ir.Constant(_I64, size),
        meminfo=None,
    )
    return array._getvalue()


@intrinsic
def table(typingctx: Any, address: Any, rows: Any, columns: Any) -> Any:
    """int64[:, ::1] over raw memory."""
    array_type = types.Array(types.int64, 2, "C")

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return _view(context, builder, array_type, args[0], [args[1], args[2]], _I64, 8)

    return array_type(types.int64, types.int64, types.int64), codegen


@intrinsic
def row(typingctx: Any, address: Any, words: Any) -> Any:
    """int64[::1] over raw memory."""
    array_type = types.Array(types.int64, 1, "C")

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return _view(context, builder, array_type, args[0], [args[1]], _I64, 8)

    return array_type(types.int64, types.int64), codegen


@intrinsic
def octets(typingctx: Any, address: Any, count: Any) -> Any:
    """uint8[::1] over raw memory."""
    array_type = types.Array(types.uint8, 1, "C")

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return _view(context, builder, array_type, args[0], [args[1]], _I8, 1)

    return array_type(types.int64, types.int64), codegen


@intrinsic
def octet_table(typingctx: Any, address: Any, rows: Any, columns: Any) -> Any:
    """uint8[:, ::1] over raw memory."""
    array_type = types.Array(types.uint8, 2, "C")

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return _view(context, builder, array_type, args[0], [args[1], args[2]], _I8, 1)

    return array_type(types.int64, types.int64, types.int64), codegen


@intrinsic
def call_address(typingctx: Any, function: Any, a: Any, b: Any, c: Any, d: Any) -> Any:
    """Call ``int64 f(int64, int64, int64, int64)`` at an address from a table: adding a callee recompiles no loop."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        kind = ir.FunctionType(_I64, [_I64] * 4)
        return builder.call(_pointer(builder, args[0], kind), list(args[1:]))

    return types.int64(*[types.int64] * 5), codegen
