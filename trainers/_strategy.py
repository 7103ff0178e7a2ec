"""Which devices train, and in which precision: decided here for every model."""

import contextlib
import socket
from collections.abc import Iterator

import tensorflow as tf

from savedmodels.errors import UsageError
from trainers import _flavour, _tf_config
from trainers._catalog import nearest_name
from trainers._config import TrainConfig

NAMES = ("auto", "default", "mirrored", "multi_worker", "tpu")

_TPU_ANSWERS_WITHIN_S = 10
_LOCAL_TPU = "local"


def make_strategy(name: str, tpu: str | None = None) -> tf.distribute.Strategy:
    """Returns how training is spread over devices; before TensorFlow runs anything.

    Args:
        name: `default` is one device; `mirrored` copies the model to every GPU of this
            machine, or to every logical CPU where there is no GPU, and splits each
            global batch between them; `multi_worker` does so over the processes that
            TF_CONFIG names, each with all its GPUs or with its CPU; `tpu` over the
            cores of a TPU. `auto` is `tpu` if an address is given, `multi_worker` if
            TF_CONFIG names more than one worker, `mirrored` from two GPUs upwards, or
            two logical CPUs, which there are only if somebody asked for them, and
            otherwise `default`.
        tpu: Address of the TPU: `local`, `grpc://host:port`, or its name in the cloud.

    Raises:
        UsageError: There is no such strategy, TPU or cluster.
    """
    if name not in NAMES:
        near = nearest_name(name, NAMES)
        hint = f" Did you mean `{near}`?" if near else ""
        raise UsageError(
            f"There is no such strategy. One of {', '.join(NAMES)} was expected. "
            f"Received: `{name}`.{hint}"
        )
    if name == "tpu" or tpu is not None:
        return _tpu_strategy(name, tpu)
    # First: looking for devices would start TensorFlow without its cluster.
    cluster = _tf_config.read() if name in ("auto", "multi_worker") else None
    if name == "multi_worker" or (cluster and len(cluster.addresses) > 1):
        return _multi_worker_strategy(cluster)
    gpus = tf.config.list_logical_devices("GPU")
    devices = gpus or tf.config.list_logical_devices("CPU")
    if name == "mirrored" or (name == "auto" and len(devices) > 1):
        return tf.distribute.MirroredStrategy(
            [device.name for device in devices],
            # Collectives of CPU replicas mix up when a process has trained before.
            cross_device_ops=None if gpus else tf.distribute.ReductionToOneDevice(),
        )
    return tf.distribute.get_strategy()


def _multi_worker_strategy(
    cluster: _tf_config.Cluster | None,
) -> tf.distribute.Strategy:
    if cluster is None:
        raise UsageError(
            "There is no cluster of workers. The variable TF_CONFIG was expected to "
            "name one. Received: none. For several processes of this machine type: "
            "make train-workers WORKERS=2 MODEL=..."
        )
    communication = tf.distribute.experimental.CommunicationImplementation
    # NCCL where there are GPUs, which TensorFlow finds out; it knows no CPUs.
    has_gpus = bool(tf.config.get_visible_devices("GPU"))
    chosen = communication.AUTO if has_gpus else communication.RING
    try:
        return tf.distribute.MultiWorkerMirroredStrategy(
            communication_options=tf.distribute.experimental.CommunicationOptions(
                implementation=chosen
            )
        )
    except (tf.errors.OpError, RuntimeError) as error:
        raise UsageError(
            f"{cluster.job}:{cluster.index} cannot join its cluster. Expected to "
            f"listen at {cluster.addresses[cluster.place]} and to reach "
            f"{', '.join(cluster.addresses)}. Received: {_first_line(error)}."
        ) from error


def _tpu_strategy(name: str, address: str | None) -> tf.distribute.Strategy:
    if name not in ("auto", "tpu"):
        raise UsageError(
            "A TPU is of no use to another strategy. Expected `tpu` or `auto`. "
            f"Received: `{name}` and the TPU `{address}`."
        )
    if address is None:
        raise UsageError(
            "The strategy `tpu` needs to know which. Expected its address: `local`, "
            "grpc://host:port, or its name in the cloud. Received: none. "
            "Type for example: make train MODEL=... STRATEGY=tpu TPU=local"
        )
    try:
        _reach(address)
        resolver = tf.distribute.cluster_resolver.TPUClusterResolver(tpu=address)
        if address != _LOCAL_TPU:
            tf.config.experimental_connect_to_cluster(resolver)
        tf.tpu.experimental.initialize_tpu_system(resolver)
        return tf.distribute.TPUStrategy(resolver)
    except (tf.errors.OpError, OSError, ValueError, RuntimeError, ImportError) as error:
        raise UsageError(
            f"There is no such TPU. Expected one that answers. Received: `{address}`; "
            f"{_first_line(error)}."
        ) from error


def _reach(address: str) -> None:
    """Connects once: TensorFlow would wait for an answer without end."""
    host, _, port = address.removeprefix("grpc://").rpartition(":")
    if host and port.isdecimal():
        socket.create_connection((host, int(port)), _TPU_ANSWERS_WITHIN_S).close()


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".")


def dtype_policy(config: TrainConfig) -> str:
    """Returns Keras's name of what to compute in, weights being float32 always.

    `auto` takes float16 where a GPU has cores for it, with a loss scale that adapts. On
    a CPU half precision is emulated and slower.
    """
    if config.mixed_precision == "off":
        return "float32"
    if config.mixed_precision != "auto":
        return f"mixed_{config.mixed_precision}"
    capabilities = [
        tf.config.experimental.get_device_details(gpu).get("compute_capability")
        for gpu in tf.config.list_physical_devices("GPU")
    ]
    # Tensor cores came with compute capability 7.0.
    has_cores = bool(capabilities) and all(c and c >= (7, 0) for c in capabilities)
    return "mixed_float16" if has_cores else "float32"


@contextlib.contextmanager
def precision(config: TrainConfig) -> Iterator[None]:
    """Makes layers that are built in this block compute as the config says."""
    before = _flavour.dtype_policy()
    if (policy := dtype_policy(config)) != "float32":
        _flavour.set_dtype_policy(policy, policy)
    try:
        yield
    finally:
        _flavour.set_dtype_policy(*before)


def xla(config: TrainConfig, strategy: tf.distribute.Strategy) -> bool:
    """Whether to compile the training step: `auto` says yes on one GPU.

    On a CPU the compiled step of a convolutional network ran at a third of the
    speed, and Keras cannot compile a mirrored one.
    """
    if config.xla != "auto":
        return config.xla == "on"
    gpus = tf.config.list_physical_devices("GPU")
    return bool(gpus) and strategy.num_replicas_in_sync == 1
