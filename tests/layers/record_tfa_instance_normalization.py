"""Records what `tfa.layers.InstanceNormalization` computes, for test_instance_normalization.py.

tensorflow-addons has no release for Keras 3, so it runs in an environment of its own (Python 3.11, CPU), once:

    python3.11 -m venv tfa-env
    tfa-env/bin/pip install tensorflow==2.15.1 tensorflow-addons==0.23.0 'numpy<2'
    tfa-env/bin/python tests/layers/record_tfa_instance_normalization.py

It writes tfa_instance_normalization.npz beside itself.
"""

import platform
from pathlib import Path

import numpy as np
import tensorflow as tf
import tensorflow_addons as tfa

FILE = Path(__file__).with_name("tfa_instance_normalization.npz")


def main():
    rng = np.random.default_rng(2018)
    mean = np.array([[3.0, -1.0, 0.25], [-2.0, 4.0, -0.5]])[:, None, None, None, :]  # (sample, 1, 1, 1, channel)
    # The last channel is nearly constant: its variance is below epsilon.
    scale = np.array([[2.0, 0.3, 0.02], [0.5, 5.0, 0.01]])[:, None, None, None, :]
    inputs = (mean + scale * rng.standard_normal((2, 4, 5, 6, 3))).astype("float32")
    gamma = np.array([1.5, -0.7, 1.2], "float32")
    beta = np.array([0.2, -1.3, 0.9], "float32")

    layer = tfa.layers.InstanceNormalization()
    layer.build(inputs.shape)
    layer.gamma.assign(gamma)
    layer.beta.assign(beta)
    outputs = layer(inputs).numpy()

    versions = [
        f"tensorflow {tf.__version__}",
        f"tensorflow-addons {tfa.__version__}",
        f"numpy {np.__version__}",
        f"python {platform.python_version()}",
    ]
    np.savez_compressed(
        FILE, inputs=inputs, gamma=gamma, beta=beta, epsilon=layer.epsilon, outputs=outputs, versions=versions
    )


if __name__ == "__main__":
    main()
