"""The encoder's features and its receptive field."""

import keras
import numpy as np

from tfreg.layers.dilated_encoder import DilatedEncoder


def test_merges_290_features():
    encoder = DilatedEncoder()
    assert encoder.compute_output_shape((None, 4, 5, None, 2)) == (None, 4, 5, None, 290)


def test_first_features_are_the_pair_itself(rng):
    pair = rng.standard_normal((2, 4, 5, 6, 2)).astype("float32")
    features = keras.ops.convert_to_numpy(DilatedEncoder((3, 4), (1, 2))(pair))
    assert features.shape == (2, 4, 5, 6, 9)
    np.testing.assert_array_equal(features[..., :2], pair)


def test_every_block_reads_the_one_before(rng):
    pair = rng.standard_normal((2, 4, 5, 6, 2)).astype("float32")
    encoder = DilatedEncoder((3, 4, 5), (1, 2, 1))
    features = keras.ops.convert_to_numpy(encoder(pair))
    expected = [pair]
    for block in encoder.blocks:
        expected.append(keras.ops.convert_to_numpy(block(expected[-1])))
    np.testing.assert_allclose(features, np.concatenate(expected, axis=-1), atol=1e-5)


def test_receptive_field_is_25(rng, gradient):
    """Every voxel at most 12 away along each axis moves the last block's features, and no other."""
    shape, centre = (27, 29, 28), (13, 15, 14)
    pair = rng.standard_normal((1, *shape, 2)).astype("float32")
    encoder = DilatedEncoder(normalised=False)
    encoder.build(pair.shape)
    weights = rng.standard_normal(32).astype("float32")

    (found,) = gradient(lambda x: keras.ops.sum(weights * encoder(x)[0, centre[0], centre[1], centre[2], -32:]), pair)
    field = np.zeros(shape, bool)
    field[tuple(slice(n - 12, n + 13) for n in centre)] = True
    assert field.sum() == 25**3
    np.testing.assert_array_equal((found[0] != 0).any(axis=-1), field)
