"""`ModelServerConfig`, the text file or message that says which models to serve.

```
model_config_list {
  config {
    name: "mnist"
    base_path: "/models/mnist"
    model_platform: "tensorflow"
    model_version_policy { specific { versions: 3 versions: 4 } }
    version_labels { key: "stable" value: 3 }
    logging_config {
      log_collector_config { type: "tfrecord" filename_prefix: "/logs/mnist" }
      sampling_config { sampling_rate: 0.01 }
    }
  }
}
```

Texts are TF Serving's, in its order of checks.
"""

import dataclasses
import pathlib
from collections.abc import Mapping

from savedmodels.protos import model_server_config_pb2
from serving import text_config
from serving.errors import InvalidRequestError
from serving.request_log import RequestLogOptions
from serving.version_policy import ALL, Source, VersionPolicy

PLATFORM = "tensorflow"
_MODEL_TYPES = {1: PLATFORM}  # of ModelType; the field is deprecated
_LOG_COLLECTORS = ("", "tfrecord")
_FILE_SCHEME = "file://"


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class ModelConfig:
    """One model that is to be served.

    Attributes:
        name: What clients call it.
        platform: Always "tensorflow", once it is checked.
        source: Where its versions lie, and which of them to load.
        labels: Version label to version number.
        request_log: What `logging_config` says of its requests; None for no log.
    """

    name: str
    platform: str
    source: Source
    labels: Mapping[str, int] = dataclasses.field(default_factory=dict)
    request_log: RequestLogOptions | None = None


def read(path: pathlib.Path) -> dict[str, ModelConfig]:
    """Returns the models of a config file by name.

    Args:
        path: The file. Without any list of models it says nothing, and is refused: a
            file that is only being written must not end what is served.

    Raises:
        InvalidRequestError: The file cannot be read, or does not hold what it should.
    """
    proto = text_config.read(
        path,
        model_server_config_pb2.ModelServerConfig(),
        "Error parsing text-format tensorflow.serving.ModelServerConfig",
    )
    if proto.WhichOneof("config") is None:
        raise InvalidRequestError(f"`{path}` holds no model_config_list.")
    return from_proto(proto)


def from_proto(
    proto: model_server_config_pb2.ModelServerConfig,
) -> dict[str, ModelConfig]:
    """Returns the models of a message by name.

    Whether their platforms can be served is left to `check_platforms`, which knows
    what was served before.

    Raises:
        InvalidRequestError: It is no list, or one of its models cannot be.
    """
    if proto.WhichOneof("config") == "custom_model_config":
        raise InvalidRequestError(
            "ModelServer does not yet support custom model config."
        )
    configs = proto.model_config_list.config
    names: set[str] = set()
    for config in configs:
        if config.name in names:
            raise InvalidRequestError(
                f"Illegal to list model {config.name} multiple times in config list"
            )
        names.add(config.name)
    paths = {config.name: _base_path(config) for config in configs}
    return {config.name: _model(config, paths[config.name]) for config in configs}


def check_platforms(
    configs: Mapping[str, ModelConfig], served_before: set[str]
) -> None:
    """Raises InvalidRequestError unless every model is one of TensorFlow.

    Args:
        configs: Models by name.
        served_before: Names of models that are served already.
    """
    changed = [
        model
        for model in configs.values()
        if model.name in served_before and model.platform != PLATFORM
    ]
    for model in changed:
        raise InvalidRequestError(
            f"Illegal to change a model's platform. For model {model.name} platform "
            f"was {PLATFORM} and new platform requested is {model.platform}"
        )
    for model in configs.values():
        if model.platform != PLATFORM:
            raise InvalidRequestError(
                f"Model {model.name} requests unsupported platform {model.platform}"
            )


def _model(
    config: model_server_config_pb2.ModelConfig, base_path: pathlib.Path
) -> ModelConfig:
    if not config.name:
        raise InvalidRequestError(
            f"A model of the config list has no name. Its base_path is {base_path}."
        )
    return ModelConfig(
        name=config.name,
        platform=_platform(config),
        source=Source(base_path, _policy(config)),
        labels=dict(config.version_labels),
        request_log=_request_log(config),
    )


def _base_path(config: model_server_config_pb2.ModelConfig) -> pathlib.Path:
    base_path = config.base_path.removeprefix(_FILE_SCHEME)
    if "://" in base_path:
        raise InvalidRequestError(
            f"Model {config.name} is not on a local disk, and other file systems "
            f"cannot be read. Received: base_path={base_path}"
        )
    if not base_path.startswith("/"):
        raise InvalidRequestError(
            f"Expected model {config.name} to have an absolute path or URI; "
            f"got base_path()={config.base_path}"
        )
    return pathlib.Path(base_path)


def _platform(config: model_server_config_pb2.ModelConfig) -> str:
    if not config.model_type:
        if config.model_platform:
            return str(config.model_platform)
        raise InvalidRequestError(
            "Illegal setting neither ModelServerConfig::model_type (deprecated) "
            f"nor ModelServerConfig::model_platform, model name is {config.name}"
        )
    if config.model_platform:
        raise InvalidRequestError(
            "Illegal setting both ModelServerConfig::model_type (deprecated) "
            "and ModelServerConfig::model_platform."
        )
    if config.model_type not in _MODEL_TYPES:
        raise InvalidRequestError(
            f"ModelServerConfig::model_type choice {config.model_type} not supported."
        )
    return _MODEL_TYPES[config.model_type]


def _request_log(
    config: model_server_config_pb2.ModelConfig,
) -> RequestLogOptions | None:
    logging_config = config.logging_config
    collector = logging_config.log_collector_config
    rate = logging_config.sampling_config.sampling_rate
    if collector.type not in _LOG_COLLECTORS:
        raise InvalidRequestError(
            f"Cannot find LogCollector::Factory for type: {collector.type}. Model "
            f'{config.name} can have its requests logged as "tfrecord" alone.'
        )
    if not 0 <= rate <= 1:
        raise InvalidRequestError(
            f"Expected the sampling_rate of model {config.name} to be 0 to 1. "
            f"Got {rate:g}"
        )
    if not rate:
        return None
    if not collector.filename_prefix:
        raise InvalidRequestError(
            f"Model {config.name} has a sampling_rate, but its log_collector_config "
            "has no filename_prefix to write to."
        )
    return RequestLogOptions(pathlib.Path(collector.filename_prefix), rate)


def _policy(config: model_server_config_pb2.ModelConfig) -> VersionPolicy:
    policy = config.model_version_policy
    choice = policy.WhichOneof("policy_choice")
    if choice == "all":
        return ALL
    if choice == "specific":
        return VersionPolicy(None, frozenset(policy.specific.versions))
    # 0, and a config without any policy, mean the latest one.
    return VersionPolicy(max(1, policy.latest.num_versions))
