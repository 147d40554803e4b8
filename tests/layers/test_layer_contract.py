"""What every layer owes: a config that rebuilds it, its output shape, its precision, and readable errors."""

import importlib
import pkgutil
from dataclasses import dataclass

import keras
import numpy as np
import pytest

import tfreg.layers

FEATURES = (2, 4, 5, 6, 7)
IMAGE = (2, 4, 5, 6, 1)
VECTORS = (2, 4, 5, 6, 3)


@dataclass
class Case:
    """How a layer is made and called.

    Args:
        inputs: Shapes of the call's arguments.
        arguments: Constructor arguments, none of them the default.
        coordinates: True for layers whose output stays float32 under every policy.
        bad_arguments: Constructor arguments that are refused.
        bad_inputs: Shapes of call arguments that are refused.
    """

    inputs: tuple
    arguments: dict
    coordinates: bool = False
    bad_arguments: tuple = ()
    bad_inputs: tuple = ()


CASES = {
    "AxiswiseIntegration": Case(
        (VECTORS, (2, 3, 2, 5, 3)), {"anchor": "start"}, True, ({"anchor": "middle"},), ((IMAGE,),)
    ),
    "ComposedDisplacement": Case(
        ((2, 2, 2, 2, 4), IMAGE, (2, 3, 2, 5, 3)),
        {"stride": 3},
        True,
        ({"stride": 0}, {"stride": 1.5}),
        (((2, 2, 2, 2, 3), IMAGE),),
    ),
    "ComposedIntegration": Case(
        (VECTORS, (2, 3, 2, 5, 3)), {"anchor": "start"}, True, ({"anchor": "end"},), ((FEATURES,),)
    ),
    "ConvolutionBlock": Case(
        (FEATURES,),
        {"filters": 3, "dilation": 2, "slope": 0.1, "normalised": False},
        bad_arguments=({"filters": 0}, {"filters": 2.0}, {"filters": 3, "dilation": -1}),
    ),
    # Keras checks the arguments of its own convolution, in its own words.
    "DilatedConvolution": Case(
        (FEATURES,), {"filters": 3, "kernel_size": (3, 3, 3), "padding": "same", "dilation_rate": (2, 2, 2)}
    ),
    "DilatedEncoder": Case(
        (FEATURES,),
        {"filters": (3, 4), "dilations": (2, 1), "normalised": False},
        bad_arguments=({"filters": (3, 4), "dilations": (1,)}, {"filters": (), "dilations": ()}),
    ),
    "Displacement": Case((VECTORS,), {}, True),
    "GradientHead": Case(
        ((2, 2, 2, 2, 3), IMAGE),
        {"stride": 3},
        True,
        ({"stride": 0}, {"stride": 1.5}),
        (((2, 2, 2, 2, 2), IMAGE),),
    ),
    "LinearGrid": Case(((2, 3, 4), IMAGE), {}, True),
    "LinearHead": Case((FEATURES,), {}, True),
    "PooledPair": Case((IMAGE, IMAGE), {"stride": 3}, bad_arguments=({"stride": 0}, {"stride": "2"})),
    "SqueezeExcitation": Case((FEATURES,), {"ratio": 3}, bad_arguments=({"ratio": 0}, {"ratio": 2.5})),
    "TrilinearSampler": Case(
        (FEATURES, (2, 3, 2, 5, 3)), {"border": "zero"}, True, ({"border": "wrap"},), ((FEATURES, (2, 3, 2, 5, 2)),)
    ),
}


def layer_classes():
    """The layers defined in `tfreg.layers` by class name, without bases that others are derived from."""
    found = set()
    for module in pkgutil.iter_modules(tfreg.layers.__path__, "tfreg.layers."):
        for item in vars(importlib.import_module(module.name)).values():
            if isinstance(item, type) and issubclass(item, keras.Layer) and item.__module__.startswith("tfreg.layers"):
                found.add(item)
    return {item.__name__: item for item in found if not any(item in other.__bases__ for other in found)}


CLASSES = layer_classes()
every_layer = pytest.mark.parametrize("name", sorted(CLASSES))


def outputs_of(layer, *inputs):
    """A layer's outputs, a list; most have one."""
    return keras.tree.flatten(layer(*inputs))


def shapes_of(layer, *shapes):
    """What `compute_output_shape` says of them, a list in the same order."""
    computed = layer.compute_output_shape(*shapes)
    return [computed[key] for key in sorted(computed)] if isinstance(computed, dict) else [computed]


def random_inputs(shapes, rng):
    return [rng.uniform(0.5, 1.5, shape).astype("float32") for shape in shapes]


def test_every_layer_has_a_case():
    assert set(CLASSES) == set(CASES)


@every_layer
def test_is_registered(name):
    assert keras.saving.get_registered_name(CLASSES[name]) == f"tfreg>{name}"


@every_layer
def test_config_rebuilds_the_layer(name):
    layer = CLASSES[name](**CASES[name].arguments, name="with_a_name")
    config = layer.get_config()
    again = CLASSES[name].from_config(config)
    assert again.get_config() == config
    assert again.name == "with_a_name"
    for argument, value in CASES[name].arguments.items():
        assert np.array_equal(config[argument], value), argument


@every_layer
def test_serialised_layer_computes_the_same(name, rng):
    case = CASES[name]
    inputs = random_inputs(case.inputs, rng)
    layer = CLASSES[name](**case.arguments)
    expected = outputs_of(layer, *inputs)
    again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(layer))
    again(*inputs)  # makes the weights
    again.set_weights(layer.get_weights())
    assert isinstance(again, CLASSES[name])
    for value, before in zip(outputs_of(again, *inputs), expected, strict=True):
        np.testing.assert_array_equal(value, before)


@every_layer
@pytest.mark.parametrize("default", [True, False], ids=["defaults", "other_arguments"])
def test_output_shape_is_the_real_one(name, default, rng):
    case = CASES[name]
    required = {"ConvolutionBlock": ("filters",), "DilatedConvolution": ("filters", "kernel_size")}.get(name, ())
    arguments = {key: case.arguments[key] for key in required} if default else case.arguments
    layer = CLASSES[name](**arguments)
    inputs = case.inputs
    if name in ("ComposedDisplacement", "GradientHead"):  # their control points cover the volume: ceil(n / stride)
        inputs = ((2, *(-(-n // layer.stride) for n in IMAGE[1:4]), inputs[0][-1]), *inputs[1:])
    found = [tuple(output.shape) for output in outputs_of(layer, *random_inputs(inputs, rng))]
    assert found == [tuple(shape) for shape in shapes_of(layer, *inputs)]


@every_layer
def test_output_shape_of_unknown_sizes(name):
    case = CASES[name]
    unknown = [(None, *(None,) * (len(shape) - 2), shape[-1]) if len(shape) == 5 else shape for shape in case.inputs]
    layer = CLASSES[name](**case.arguments)
    symbolic = outputs_of(layer, *[keras.Input(shape[1:]) for shape in unknown])
    for known, shape, output in zip(shapes_of(layer, *case.inputs), shapes_of(layer, *unknown), symbolic, strict=True):
        assert len(shape) == len(known)
        assert all(size in (None, expected) for size, expected in zip(shape, known, strict=True))
        assert shape[-1] == known[-1]
        assert tuple(output.shape[1:]) == tuple(shape[1:])


@every_layer
def test_coordinates_stay_float32(name, rng):
    previous = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        outputs = outputs_of(CLASSES[name](**CASES[name].arguments), *random_inputs(CASES[name].inputs, rng))
    finally:
        keras.config.set_dtype_policy(previous)
    expected = "float32" if CASES[name].coordinates else "bfloat16"
    assert {keras.backend.standardize_dtype(output.dtype) for output in outputs} == {expected}


@pytest.mark.parametrize(
    ("name", "arguments"), [(name, arguments) for name, case in CASES.items() for arguments in case.bad_arguments]
)
def test_refuses_bad_arguments(name, arguments):
    with pytest.raises(ValueError, match=r"Received: \w+="):
        CLASSES[name](**arguments)


@pytest.mark.parametrize(
    ("name", "shapes"), [(name, shapes) for name, case in CASES.items() for shapes in case.bad_inputs]
)
def test_refuses_bad_inputs(name, shapes, rng):
    with pytest.raises(ValueError, match=r"Received: \w+\.shape="):
        CLASSES[name](**CASES[name].arguments)(*random_inputs(shapes, rng))
