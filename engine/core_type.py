# mypy: disable-error-code="no-untyped-def,no-untyped-call,untyped-decorator,misc"
"""``Core`` inside compiled code: one word, the address of the core's address table; each table a view built where it is used.

Passed as the arrays that it holds, every call of every core function would copy some 170 words, and the compiler
would carry them through all of them: four times the compile time, and a stack that does not fit the first-level cache.
A view costs two loads. ``.py_func`` gets the same ``Core`` object and reads its arrays by the same names.
"""

from __future__ import annotations

from llvmlite import ir
from numba import types
from numba.core.typing.templates import AttributeTemplate
from numba.extending import (
    NativeValue,
    infer_getattr,
    intrinsic,
    lower_getattr_generic,
    models,
    register_model,
    typeof_impl,
    unbox,
)
from numba.np.arrayobj import make_array, populate_array

from engine import tables
from fabric import layout
from risk import tables as risk

_WORD = ir.IntType(64)
_ROW_WORDS = 3
COLUMNS = {
    "instruments": len(risk.INSTRUMENT),
    "books": len(risk.BOOK),
    "positions": len(risk.POSITION),
    "owners": len(risk.OWNER),
    "subbooks": len(risk.SUBBOOK),
    "orders": len(tables.ORDER),
    "signals": len(tables.SIGNAL_ROW),
    "parameters": len(tables.PARAMETER_IN_FORCE),
    "quotes": len(tables.QUOTE),
    "queue": len(risk.ORDER_IN) + len(tables.QUEUE_EXTRA),
    "commands": len(tables.COMMAND),
    "strategy_calls": len(tables.STRATEGY_CALL),
    "strategy_memory": tables.STRATEGY_MEMORY,
    "intents": len(tables.INTENT),
    "journal": len(layout.JOURNAL_RECORD),
    "markouts": len(tables.MARKOUT),
}  # of the two-dimensional tables: constants of the compiled code, checked by ``engine.state`` when the tables are made


class CoreType(types.Type):
    def __init__(self):
        super().__init__(name="pulex.Core")


core_type = CoreType()


@register_model(CoreType)
class CoreModel(models.PrimitiveModel):
    def __init__(self, manager, kind):
        super().__init__(manager, kind, _WORD)


@typeof_impl.register(tables.Core)
def _typeof(value, context):
    return core_type


@unbox(CoreType)
def _unbox(kind, value, context):
    attribute = context.pyapi.object_getattr_string(value, "address")
    address = context.pyapi.long_as_longlong(attribute)
    context.pyapi.decref(attribute)
    return NativeValue(address)


@infer_getattr
class CoreAttributes(AttributeTemplate):
    key = CoreType

    def generic_resolve(self, kind, name):
        if name in tables.CoreTables._fields:
            return types.Array(types.int64, 2 if name in COLUMNS else 1, "C")
        return None


@lower_getattr_generic(CoreType)
def _table(context, builder, kind, address, name):
    index = tables.CoreTables._fields.index(name)
    array_type = types.Array(types.int64, 2 if name in COLUMNS else 1, "C")

    def word(offset):
        at = builder.add(address, ir.Constant(_WORD, (index * _ROW_WORDS + offset) * 8))
        return builder.load(builder.inttoptr(at, _WORD.as_pointer()))

    shape, strides = [word(1)], [ir.Constant(_WORD, 8)]
    if name in COLUMNS:
        shape.append(ir.Constant(_WORD, COLUMNS[name]))
        strides.insert(0, ir.Constant(_WORD, COLUMNS[name] * 8))
    array = make_array(array_type)(context, builder)
    populate_array(
        array,
        data=builder.inttoptr(word(0), _WORD.as_pointer()),
        shape=shape,
        strides=strides,
        itemsize=ir.Constant(_WORD, 8),
        meminfo=None,
    )
    return array._getvalue()


@intrinsic
def core_at(typingctx, address):
    """``Core`` over the address table at this address."""

    def codegen(context, builder, signature, args):
        return args[0]

    return core_type(types.int64), codegen
