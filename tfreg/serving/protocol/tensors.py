"""TensorProto to NumPy and back, for the server and for clients.

The message has two encodings: the raw bytes (`tensor_content`), and one field of typed values a dtype
(`float_val`, `int_val` ...), which is what tensorflow_model_server answers in. tf.make_ndarray and
tf.make_tensor_proto go over typed values in Python, far too slowly for a displacement field.
"""

import math

import numpy as np
from tensorflow.core.framework import tensor_pb2, types_pb2

# dtype of the message: dtype of the array, field of its typed values, dtype of these.
_KINDS = {
    types_pb2.DT_FLOAT: ("float32", "float_val", "float32"),
    types_pb2.DT_DOUBLE: ("float64", "double_val", "float64"),
    types_pb2.DT_HALF: ("float16", "half_val", "int32"),
    types_pb2.DT_INT8: ("int8", "int_val", "int32"),
    types_pb2.DT_INT16: ("int16", "int_val", "int32"),
    types_pb2.DT_INT32: ("int32", "int_val", "int32"),
    types_pb2.DT_INT64: ("int64", "int64_val", "int64"),
    types_pb2.DT_UINT8: ("uint8", "int_val", "int32"),
    types_pb2.DT_UINT16: ("uint16", "int_val", "int32"),
    types_pb2.DT_UINT32: ("uint32", "uint32_val", "uint32"),
    types_pb2.DT_UINT64: ("uint64", "uint64_val", "uint64"),
    types_pb2.DT_BOOL: ("bool", "bool_val", "bool"),
    types_pb2.DT_STRING: ("object", "string_val", "object"),
}
_OF_ARRAY = {np.dtype(kind[0]): number for number, kind in _KINDS.items()}


def dtype_name(number: int) -> str:
    """TensorFlow's name of a DataType number, such as float, double or int16."""
    try:
        return types_pb2.DataType.Name(number).removeprefix("DT_").lower()
    except ValueError:
        return f"dtype {number}"


def to_array(proto: tensor_pb2.TensorProto, max_bytes: int | None = None) -> np.ndarray:
    """The array in a TensorProto, whichever of the two encodings it has.

    Typed values may be fewer than the shape has elements: the last one stands for the rest, and none
    at all means zeros, as TensorFlow itself reads them.

    Args:
        proto: TensorProto.
        max_bytes: Largest array to make, since one value can stand for any number; None for no limit.

    Returns:
        Array of the message's shape, of bytes objects for strings; not writable where it shares memory.

    Raises:
        ValueError: If the message is inconsistent, has an unsupported dtype, or is too large.
    """
    if proto.dtype not in _KINDS:
        raise ValueError(f"{dtype_name(proto.dtype)} is not supported")
    dtype, field, wire_dtype = _KINDS[proto.dtype]
    dtype = np.dtype(dtype)
    shape = tuple(dim.size for dim in proto.tensor_shape.dim)
    if proto.tensor_shape.unknown_rank or min(shape, default=0) < 0:
        raise ValueError("its shape is not known")
    count = math.prod(shape)
    if max_bytes is not None and count * dtype.itemsize > max_bytes:
        raise ValueError(f"shape {list(shape)} needs more than {max_bytes} bytes")
    if proto.tensor_content:
        content = proto.tensor_content
        if dtype.kind == "O":
            raise ValueError("strings belong in string_val, not in tensor_content")
        if len(content) != count * dtype.itemsize:
            raise ValueError(f"shape {list(shape)} does not go with {len(content)} bytes")
        return np.frombuffer(content, dtype.newbyteorder("<")).astype(dtype, copy=False).reshape(shape)
    values = getattr(proto, field)
    if len(values) > count:
        raise ValueError(f"shape {list(shape)} does not go with {len(values)} values")
    values = np.array(list(values) if dtype.kind == "O" else values, wire_dtype)
    values = values.astype("uint16").view(dtype) if dtype == np.float16 else values.astype(dtype, copy=False)
    if len(values) < count:
        last = values[-1] if len(values) else b"" if dtype.kind == "O" else 0
        values = np.concatenate([values, np.full(count - len(values), last, dtype)])
    return values.reshape(shape)


def to_proto(array: np.ndarray, as_content: bool = False) -> tensor_pb2.TensorProto:
    """The TensorProto of an array.

    Args:
        array: Numbers or bytes objects.
        as_content: True for tensor_content, the quicker encoding; strings are always typed values.

    Raises:
        ValueError: If the dtype is not supported.
    """
    array = np.asarray(array, order="C")
    if array.dtype.kind == "S":
        array = array.astype(object)
    if array.dtype not in _OF_ARRAY:
        raise ValueError(f"`array` has dtype {array.dtype}, which TensorProto has no field for.")
    number = _OF_ARRAY[array.dtype]
    _, field, wire_dtype = _KINDS[number]
    proto = tensor_pb2.TensorProto(dtype=number)
    for size in array.shape:
        proto.tensor_shape.dim.add(size=size)
    if as_content and array.dtype.kind != "O":
        proto.tensor_content = array.astype(array.dtype.newbyteorder("<"), copy=False).tobytes()
    elif array.dtype.kind == "f" and array.dtype != np.float16:
        _merge_packed(proto, field, array.astype(array.dtype.newbyteorder("<"), copy=False))
    else:
        values = array.view("uint16") if array.dtype == np.float16 else array
        getattr(proto, field).extend(values.astype(wire_dtype, copy=False).ravel().tolist())
    return proto


def _merge_packed(proto, field, array):
    """Sets a repeated floating-point field from the array's own bytes, which are its wire format.

    Measured for a field of 64x192x192x3: 0.04 s, against 0.29 s with `extend`.
    """
    number = proto.DESCRIPTOR.fields_by_name[field].number
    wire_type = 2  # a length and so many bytes
    proto.MergeFromString(b"".join((_varint(number << 3 | wire_type), _varint(array.nbytes), array.tobytes())))


def _varint(value):
    """Protocol Buffers' encoding of a whole number: seven bits a byte, lowest first."""
    encoded = bytearray()
    while value > 127:
        encoded.append(value & 127 | 128)
        value >>= 7
    return bytes([*encoded, value])
