"""TensorProto to NumPy and back: against TensorFlow's own conversions, and what must be refused."""

import math

import numpy as np
import pytest
import tensorflow as tf
from tensorflow.core.framework import tensor_pb2, types_pb2

from tfreg.serving.protocol.tensors import dtype_name, to_array, to_proto

NUMBERS = ["float32", "float64", "float16", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"]


def random_array(dtype, shape, rng):
    if dtype == "object":
        return np.array([bytes(rng.integers(0, 256, n)) for n in range(math.prod(shape))], object).reshape(shape)
    if dtype == "bool":
        return rng.integers(0, 2, shape).astype(bool)
    if np.dtype(dtype).kind == "f":
        return rng.normal(size=shape).astype(dtype)
    limits = np.iinfo(dtype)
    return rng.integers(limits.min, limits.max, shape, dtype, endpoint=True)


@pytest.mark.parametrize("as_content", [False, True])
@pytest.mark.parametrize("shape", [(2, 3, 4), (), (1,), (0,), (3, 0, 2)])
@pytest.mark.parametrize("dtype", [*NUMBERS, "bool", "object"])
def test_round_trip_agrees_with_tensorflow(dtype, shape, as_content, rng):
    array = random_array(dtype, shape, rng)
    proto = to_proto(array, as_content)
    for read in (to_array(proto), to_array(tf.make_tensor_proto(array, None if dtype == "object" else dtype, shape))):
        assert (read.dtype, read.shape) == (array.dtype, shape)
        np.testing.assert_array_equal(read, array)
    np.testing.assert_array_equal(tf.make_ndarray(proto), array)
    assert tensor_pb2.TensorProto.FromString(proto.SerializeToString()) == proto


@pytest.mark.parametrize(("dtype", "field"), [("float32", "float_val"), ("int16", "int_val"), ("int32", "int_val")])
def test_the_encoding_is_the_one_asked_for(dtype, field, rng):
    array = random_array(dtype, (4, 5), rng)
    typed, content = to_proto(array), to_proto(array, as_content=True)
    assert (len(getattr(typed, field)), typed.tensor_content) == (20, b"")
    assert (len(getattr(content, field)), content.tensor_content) == (0, array.tobytes())


def test_views_are_written_in_their_own_order(rng):
    array = rng.normal(size=(3, 4, 5)).astype("float32")
    for as_content in (False, True):
        for view in (array.transpose(2, 0, 1), array[::-1, ::2]):
            np.testing.assert_array_equal(to_array(to_proto(view, as_content)), view)


def proto_of(dtype, shape, **values):
    proto = tensor_pb2.TensorProto(dtype=dtype, **values)
    for size in shape:
        proto.tensor_shape.dim.add(size=size)
    return proto


@pytest.mark.parametrize(
    ("values", "expected"),
    [({"float_val": [2.5]}, [2.5] * 6), ({"float_val": [1, 2]}, [1, 2, 2, 2, 2, 2]), ({}, [0] * 6)],
)
def test_the_last_value_stands_for_the_rest(values, expected):
    array = to_array(proto_of(types_pb2.DT_FLOAT, (2, 3), **values))
    np.testing.assert_array_equal(array, np.reshape(expected, (2, 3)))
    assert array.dtype == np.float32


def test_the_last_text_stands_for_the_rest():
    assert to_array(proto_of(types_pb2.DT_STRING, (3,), string_val=[b"a"])).tolist() == [b"a"] * 3
    assert to_array(proto_of(types_pb2.DT_STRING, (2,))).tolist() == [b""] * 2


BAD = {
    "no dtype": (proto_of(types_pb2.DT_INVALID, (2,)), "invalid is not supported"),
    "complex": (proto_of(types_pb2.DT_COMPLEX64, (2,)), "complex64 is not supported"),
    "unknown dtype": (proto_of(999, (2,)), "dtype 999 is not supported"),
    "negative": (proto_of(types_pb2.DT_FLOAT, (-1, 2)), "shape is not known"),
    "short content": (proto_of(types_pb2.DT_FLOAT, (2,), tensor_content=b"1234567"), r"\[2\] does not go with 7 bytes"),
    "long content": (proto_of(types_pb2.DT_INT16, (2,), tensor_content=b"123456"), r"\[2\] does not go with 6 bytes"),
    "many values": (proto_of(types_pb2.DT_FLOAT, (2,), float_val=[1, 2, 3]), r"\[2\] does not go with 3 values"),
    "string content": (proto_of(types_pb2.DT_STRING, (1,), tensor_content=b"a"), "string_val"),
    "bomb": (proto_of(types_pb2.DT_FLOAT, (2**31, 2**31), float_val=[1]), "needs more than 1000 bytes"),
    "other field": (proto_of(types_pb2.DT_FLOAT, (251,), int_val=[1]), "needs more than 1000 bytes"),
}


@pytest.mark.parametrize("name", BAD)
def test_inconsistent_messages_are_refused(name):
    proto, text = BAD[name]
    with pytest.raises(ValueError, match=text):
        to_array(proto, max_bytes=1000)


def test_unknown_rank_is_refused():
    proto = tensor_pb2.TensorProto(dtype=types_pb2.DT_FLOAT)
    proto.tensor_shape.unknown_rank = True
    with pytest.raises(ValueError, match="shape is not known"):
        to_array(proto)


def test_arrays_without_a_field_are_refused():
    with pytest.raises(ValueError, match="`array` has dtype datetime64"):
        to_proto(np.zeros(2, "datetime64[s]"))


def test_dtypes_have_the_names_of_tensorflows_messages():
    names = [dtype_name(tf.as_dtype(dtype).as_datatype_enum) for dtype in ("float32", "int16", "int32", "string")]
    assert names == ["float", "int16", "int32", "string"]
