"""Pairs that are registered at the same time become what they become alone, to the bit."""

import functools
import threading
from concurrent.futures import ThreadPoolExecutor

import keras
import numpy as np
import pytest

from tfreg.models.registration_network import build_registration_network
from tfreg.ops import acceleration
from tfreg.refinement import compiled_functions, descent
from tfreg.refinement.compiled_functions import CompiledFunctions
from tfreg.registration.register_volumes import register
from tfreg.runtime import threads
from tfreg.runtime.threads import limited_threads
from tfreg.volumes.volume import Volume

ROUNDS = 2


def volumes(tools, seed, fixed_shape, moving_shape):
    rng = np.random.default_rng(seed)
    fixed = tools.textured(rng, fixed_shape, tools.placed("oblique", fixed_shape, [-30.0, 20, 100]))
    return fixed, tools.textured(rng, moving_shape, tools.placed("LAS", moving_shape, [-28.0, 21, 101]))


def labels_of(volume):
    return Volume((volume.array > 200).astype(np.uint8) + (volume.array > 500), volume.affine)


@pytest.fixture
def pairs(tools):
    """Arguments of `register`: two pairs of one size, one of them with labels, and a pair of another size."""
    equal = [volumes(tools, seed, (15, 17, 12), (16, 15, 13)) for seed in (1, 2)]
    other = volumes(tools, 3, (20, 12, 16), (18, 15, 14))
    named = [{"fixed": fixed, "moving": moving} for fixed, moving in (*equal, other)]
    named[1] |= {f"{name}_labels": labels_of(volume) for name, volume in named[1].items()}
    return named


def registered(pair, parts="deformable"):
    return register(**pair, refine=True, preset="fast", parts=parts)


def side_by_side(*tasks):
    """What functions give that begin at the same time, each in a thread."""
    begin = threading.Barrier(len(tasks))

    def run(task):
        begin.wait(60)
        return task()

    with ThreadPoolExecutor(len(tasks)) as pool:
        return list(pool.map(run, tasks))


def assert_equal(result, expected):
    np.testing.assert_array_equal(result.displacement_mm, expected.displacement_mm)
    np.testing.assert_array_equal(result.transform.linear_world, expected.transform.linear_world)
    np.testing.assert_array_equal(result.transform.deformation.logits, expected.transform.deformation.logits)
    np.testing.assert_array_equal(result.warped.array, expected.warped.array)


def test_two_registrations_do_not_see_each_other(pairs):
    alone = [registered(pair) for pair in pairs]
    for chosen in ((0, 1), (2, 0)) * ROUNDS:
        results = side_by_side(*(functools.partial(registered, pairs[n]) for n in chosen))
        for n, result in zip(chosen, results, strict=True):
            assert_equal(result, alone[n])


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="only TensorFlow compiles parts of a model")
def test_two_registrations_that_are_traced_at_the_same_time_do_not_see_each_other(monkeypatch, pairs):
    """Neither finds a step, and both compile the functions that all steps share."""
    monkeypatch.setattr(acceleration, "WORTH_COMPILING", 0)
    monkeypatch.setattr(descent, "refinement_steps", CompiledFunctions(descent.Step))
    results = side_by_side(*(functools.partial(registered, pairs[0], "both") for _ in range(2)))
    assert_equal(*results)
    assert_equal(results[0], registered(pairs[0], "both"))


def test_a_network_predicts_what_it_predicts_alone(pairs):
    """TensorFlow rewrites the network's graph, and not those of the refinement, in each thread's own way."""
    keras.utils.set_random_seed(0)
    small = {"encoder_filters": (3, 4), "encoder_dilations": (1, 2), "decoder_filters": (3,), "squeeze_ratio": 2}
    network = build_registration_network(**small)
    for weight in network.weights:
        weight.assign(weight + 0.05 * keras.random.normal(weight.shape))
    rng = np.random.default_rng(4)
    batch = {name: rng.random((1, 16, 14, 18, 1), np.float32) for name in ("fixed", "moving")}

    def predicted():
        """By a copy of the network, of which no thread has traced anything."""
        copy = keras.models.clone_model(network)
        copy.set_weights(network.get_weights())
        return [copy.predict_on_batch(batch) for _ in range(3)]

    alone, expected = registered(pairs[0]), predicted()
    result, predictions = side_by_side(functools.partial(registered, pairs[0]), predicted)
    assert_equal(result, alone)
    for prediction in predictions:
        for name, value in prediction.items():
            np.testing.assert_array_equal(value, expected[0][name], err_msg=name)


def test_a_registration_under_one_thread_begins_no_wider_pool(monkeypatch, pairs):
    sizes = []

    class Pool(ThreadPoolExecutor):
        def __init__(self, max_workers=None, *arguments, **options):
            sizes.append(max_workers)
            super().__init__(max_workers, *arguments, **options)

    monkeypatch.setattr(threads, "ThreadPoolExecutor", Pool)
    monkeypatch.setattr(compiled_functions, "ThreadPoolExecutor", Pool)
    with limited_threads(2):
        expected = registered(pairs[1], "both")
    assert max(sizes) == 2
    sizes.clear()
    with limited_threads(1):
        assert_equal(registered(pairs[1], "both"), expected)
    assert set(sizes) == {1}
