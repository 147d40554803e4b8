"""Whether TensorFlow can run a dilated 3D convolution as one operation here, which it is asked by trying.

On the CPU it needs oneDNN, which TensorFlow switches on by itself for some processors, by a variable for others, and
for some types of numbers only on processors that have them.
"""

import functools

from tfreg.runtime.native_output import silenced

SIZE, DILATION = 5, 2


@functools.cache
def dilates_natively(dtype: str = "float32", on_cpu: bool = False) -> bool:
    """Runs one tiny dilated convolution and its gradients, once a process.

    Args:
        dtype: Name of the features' type.
        on_cpu: True asks for the CPU; False for where TensorFlow runs what is not placed, a GPU if there is one.

    Returns:
        True if that worked.
    """
    import tensorflow as tf

    options = {"strides": [1] * 5, "padding": "SAME", "dilations": [1, *[DILATION] * 3, 1]}
    # Outside of any graph that is being traced: its operations would only be noted down.
    with tf.init_scope(), tf.device("CPU" if on_cpu else None), silenced():
        try:
            features, kernel = tf.zeros((1, SIZE, SIZE, SIZE, 1), dtype), tf.zeros((3, 3, 3, 1, 1), dtype)
            result = tf.raw_ops.Conv3D(input=features, filter=kernel, **options)
            tf.raw_ops.Conv3DBackpropInputV2(
                input_sizes=features.shape, filter=kernel, out_backprop=result, **options
            ).numpy()
            tf.raw_ops.Conv3DBackpropFilterV2(
                input=features, filter_sizes=kernel.shape, out_backprop=result, **options
            ).numpy()
        except tf.errors.OpError:
            return False
    return True
