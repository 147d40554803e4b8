"""What the tests of similarities share."""

import keras
import numpy as np
import pytest

from tfreg.losses.similarity import Similarity


@pytest.fixture(scope="module", autouse=True)
def compiled_losses():
    """On JAX a loss runs as one program, as in training; otherwise each of its operations is compiled alone."""
    with pytest.MonkeyPatch.context() as patch:
        if keras.backend.backend() == "jax":
            import jax

            patch.setattr(keras.losses.Loss, "__call__", jax.jit(keras.losses.Loss.__call__, static_argnums=0))
            for kind in Similarity.__subclasses__():
                patch.setattr(kind, "compare", jax.jit(kind.compare, static_argnums=0))
        yield


@pytest.fixture(scope="session")
def assert_least_where_aligned():
    """Checks that a loss of part of a texture and of shifted parts of another image of it is least without a shift."""

    def check(loss, texture, other):
        _, i, _, k, _ = texture.shape
        fixed = texture[:, 2:-2, 2:-2, 2:-2].astype("float32")
        other = other.astype("float32")
        losses = [float(loss(fixed, other[:, 2 + d : i - 2 + d, 2:-2, 2 - d : k - 2 - d])) for d in range(-2, 3)]
        assert np.argmin(losses) == 2
        assert losses[0] > losses[1]
        assert losses[4] > losses[3]

    return check
