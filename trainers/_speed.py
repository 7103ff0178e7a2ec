"""How TensorFlow computes while it trains: said before it is first imported."""

import os

_ONEDNN = "TF_ENABLE_ONEDNN_OPTS"


def prepare(strategy: str = "auto", devices: str = "auto") -> None:
    """Has oneDNN compute on the CPU, for this process and those that it starts.

    TensorFlow does so by itself on processors with AVX-512 for neural networks alone.
    With AVX2, a step of `mnist_classifier` took 1.0 ms of processor time an example in
    place of 1.6, one of `retinanet_detector` 0.6 s in place of 1.0; of the models here
    `conv_autoencoder` alone was not faster. What the environment says already stays.

    Not where a batch is dealt out to several parts of the CPU, one of which may get no
    examples: of these, oneDNN's convolution in TensorFlow 2.20 makes one channel,
    however many it has, and what is then added up over the replicas does not fit.

    Args:
        strategy: As `_strategy.make_strategy` takes it.
        devices: As `_devices.use` takes them.
    """
    is_dealt = strategy not in ("auto", "default") or devices.startswith("cpu:")
    if is_dealt or "TF_CONFIG" in os.environ:
        os.environ[_ONEDNN] = "0"
    else:
        os.environ.setdefault(_ONEDNN, "1")
