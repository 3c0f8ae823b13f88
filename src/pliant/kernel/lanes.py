"""Sixteen fp32 numbers as one value inside numba functions: `load`, `store`, arithmetic, `exp`.

numba leaves it to the compiler to find vectors in loops, which arrays that may overlap often prevent; here every
operation is one of vectors, and the order of every sum is the order in which it is written.
"""

import operator
from typing import Any

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.core import cgutils
from numba.core.datamodel import models, register_default
from numba.extending import intrinsic, overload

from pliant.kernel import LANES

f32 = np.float32

_FLOAT, _INT32 = ir.FloatType(), ir.IntType(32)
_VECTOR, _INTEGERS = ir.VectorType(_FLOAT, LANES), ir.VectorType(_INT32, LANES)
_FUSED = ("contract",)
"""a * b + c may be one instruction; nothing else is reordered."""


class Lanes(types.Type):  # type: ignore[misc]
    """The numba type of sixteen fp32 numbers."""

    def __init__(self) -> None:
        super().__init__("lanes")


lanes = Lanes()


@register_default(Lanes)
class _LanesModel(models.PrimitiveModel):  # type: ignore[misc]
    def __init__(self, manager: Any, numba_type: Any) -> None:
        super().__init__(manager, numba_type, _VECTOR)


def _call(builder: Any, name: str, args: list[Any], result: Any = _VECTOR, fastmath: tuple[str, ...] = ()) -> Any:
    signature = ir.FunctionType(result, [argument.type for argument in args])
    function = cgutils.get_or_insert_function(builder.module, signature, name)
    return builder.call(function, args, fastmath=fastmath)


def _pointer(context: Any, builder: Any, array_type: Any, array: Any, index: Any) -> Any:
    data = context.make_array(array_type)(context, builder, array).data
    return builder.bitcast(builder.gep(data, [index]), _VECTOR.as_pointer())


def _everywhere(builder: Any, value: Any, vector: Any) -> Any:
    nothing = ir.Constant(vector, ir.Undefined)
    first = builder.insert_element(nothing, value, ir.Constant(_INT32, 0))
    return builder.shuffle_vector(first, nothing, ir.Constant(_INTEGERS, [0] * LANES))


@intrinsic  # type: ignore[untyped-decorator]
def load(typing: Any, array: Any, index: Any) -> Any:
    """array[index : index + 16] of a flat fp32 array; bounds are not checked."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        loaded = builder.load(_pointer(context, builder, signature.args[0], args[0], args[1]))
        loaded.align = 4
        return loaded

    return lanes(array, types.intp), generate


@intrinsic  # type: ignore[untyped-decorator]
def store(typing: Any, array: Any, index: Any, value: Any) -> Any:
    """array[index : index + 16] = value; bounds are not checked."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        stored = builder.store(args[2], _pointer(context, builder, signature.args[0], args[0], args[1]))
        stored.align = 4
        return context.get_dummy_value()

    return types.void(array, types.intp, lanes), generate


@intrinsic  # type: ignore[untyped-decorator]
def splat(typing: Any, value: Any) -> Any:
    """`value` in every lane."""
    return lanes(types.float32), lambda context, builder, signature, args: _everywhere(builder, args[0], _VECTOR)


@intrinsic  # type: ignore[untyped-decorator]
def everywhere(typing: Any, array: Any, index: Any) -> Any:
    """array[index] in every lane; bounds are not checked."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        data = context.make_array(signature.args[0])(context, builder, args[0]).data
        return _everywhere(builder, builder.load(builder.gep(data, [args[1]])), _VECTOR)

    return lanes(array, types.intp), generate


@intrinsic  # type: ignore[untyped-decorator]
def fma(typing: Any, a: Any, b: Any, c: Any) -> Any:
    """a * b + c, rounded once."""
    generate = lambda context, builder, signature, args: _call(builder, "llvm.fma.v16f32", list(args))  # noqa: E731
    return lanes(lanes, lanes, lanes), generate


@intrinsic  # type: ignore[untyped-decorator]
def total(typing: Any, a: Any) -> Any:
    """The sum over lanes, in pairs."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        name, zero = "llvm.vector.reduce.fadd.v16f32", ir.Constant(_FLOAT, -0.0)
        return _call(builder, name, [zero, args[0]], _FLOAT, ("reassoc",))

    return types.float32(lanes), generate


@intrinsic  # type: ignore[untyped-decorator]
def highest(typing: Any, a: Any) -> Any:
    """The largest lane that is not NaN."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return _call(builder, "llvm.vector.reduce.fmax.v16f32", list(args), _FLOAT)

    return types.float32(lanes), generate


@intrinsic  # type: ignore[untyped-decorator]
def square_root(typing: Any, a: Any) -> Any:
    generate = lambda context, builder, signature, args: _call(builder, "llvm.sqrt.v16f32", list(args))  # noqa: E731
    return lanes(lanes), generate


@intrinsic  # type: ignore[untyped-decorator]
def _floor(typing: Any, a: Any) -> Any:
    generate = lambda context, builder, signature, args: _call(builder, "llvm.floor.v16f32", list(args))  # noqa: E731
    return lanes(lanes), generate


def _chosen(comparison: str) -> Any:
    @intrinsic  # type: ignore[untyped-decorator]
    def choose(typing: Any, a: Any, b: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            return builder.select(builder.fcmp_unordered(comparison, args[0], args[1]), args[0], args[1])

        return lanes(lanes, lanes), generate

    return choose


larger, smaller = _chosen(">"), _chosen("<")
"""Lane by lane; NaN where `a` is NaN."""


@intrinsic  # type: ignore[untyped-decorator]
def from_lane(typing: Any, a: Any, first: Any, otherwise: Any) -> Any:
    """`a` in the lanes from `first` on, `otherwise` in those before."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        bound = _everywhere(builder, builder.trunc(args[1], _INT32), _INTEGERS)
        late = builder.icmp_signed(">=", ir.Constant(_INTEGERS, list(range(LANES))), bound)
        return builder.select(late, args[0], args[2])

    return lanes(lanes, types.intp, lanes), generate


@intrinsic  # type: ignore[untyped-decorator]
def _zero_below(typing: Any, a: Any, bound: Any, result: Any) -> Any:
    """`result`, but 0 where a < bound."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        low = builder.fcmp_ordered("<", args[0], args[1])
        return builder.select(low, ir.Constant(_VECTOR, [0.0] * LANES), args[2])

    return lanes(lanes, lanes, lanes), generate


@intrinsic  # type: ignore[untyped-decorator]
def _power_of_two(typing: Any, n: Any) -> Any:
    """2^n of whole numbers from -126 to 127."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        exponent = builder.add(builder.fptosi(args[0], _INTEGERS), ir.Constant(_INTEGERS, [127] * LANES))
        return builder.bitcast(builder.shl(exponent, ir.Constant(_INTEGERS, [23] * LANES)), _VECTOR)

    return lanes(lanes), generate


def _arithmetic(sign: Any, instruction: str) -> None:
    @intrinsic  # type: ignore[untyped-decorator]
    def compute(typing: Any, a: Any, b: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            return getattr(builder, instruction)(args[0], args[1], flags=_FUSED)

        return lanes(lanes, lanes), generate

    @overload(sign)
    def of_lanes(a, b):  # type: ignore[no-untyped-def]  # numba compares its parameters with those of the lambda
        if isinstance(a, Lanes) and isinstance(b, Lanes):
            return lambda a, b: compute(a, b)
        return None


_arithmetic(operator.add, "fadd")
_arithmetic(operator.sub, "fsub")
_arithmetic(operator.mul, "fmul")
_arithmetic(operator.truediv, "fdiv")


@njit(inline="always")
def exp(x):  # type: ignore[no-untyped-def]
    """e^x to 1.2e-7 of itself: 2^n e^r with |r| <= ln 2 / 2, e^r by a polynomial of degree 6 (Cody and Waite 1980).

    0 below -80, where denormal numbers would be slow; e^88 above 88; NaN of NaN.
    """
    clipped = larger(smaller(x, splat(f32(88.0))), splat(f32(-80.0)))
    n = _floor(fma(clipped, splat(f32(1.4426950408889634)), splat(f32(0.5))))
    r = fma(n, splat(f32(-0.693359375)), clipped)
    r = fma(n, splat(f32(2.12194440e-4)), r)
    series = fma(splat(f32(1.9875691500e-4)), r, splat(f32(1.3981999507e-3)))
    series = fma(series, r, splat(f32(8.3334519073e-3)))
    series = fma(series, r, splat(f32(4.1665795894e-2)))
    series = fma(series, r, splat(f32(1.6666665459e-1)))
    series = fma(series, r, splat(f32(5.0000001201e-1)))
    series = fma(series, r * r, r + splat(f32(1.0)))
    return _zero_below(x, splat(f32(-80.0)), series * _power_of_two(n))
