"""How TensorFlow computes while it trains: said before it is first imported."""

import os


def prepare() -> None:
    """Has oneDNN compute on the CPU, for this process and those that it starts.

    TensorFlow does so by itself on processors with AVX-512 for neural networks alone.
    With AVX2, a step of `mnist_classifier` took 1.0 ms of processor time an example in
    place of 1.6, one of `retinanet_detector` 0.6 s in place of 1.0; of the models here
    `conv_autoencoder` alone was not faster. What the environment says already stays.
    """
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")
