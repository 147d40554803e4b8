"""What the tests of similarities share."""

import numpy as np
import pytest


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
