"""Which models are to be served, and what their version labels mean, at each moment."""

import threading
from collections.abc import Callable, Mapping, Sequence

from serving import model_config
from serving.errors import FailedPreconditionError
from serving.model_config import ModelConfig
from serving.request_log import RequestLogOptions
from serving.version_policy import Source

Available = Mapping[str, Sequence[int]]


class ServedModels:
    """The models of a store, of one base path or of a config. Thread-safe."""

    def __init__(
        self,
        find: Callable[[], Mapping[str, Source] | None] = dict,
        *,
        allow_labels_for_unavailable: bool = False,
    ) -> None:
        """Begins without labels.

        Args:
            find: Returns model name to source, until the first `replace`; None where it
                cannot tell at the moment.
            allow_labels_for_unavailable: Whether a new label may name a version that is
                not AVAILABLE yet.
        """
        self._find = find
        self._allow_labels = allow_labels_for_unavailable
        self._configs: Mapping[str, ModelConfig] | None = None
        self._lock = threading.Lock()

    @property
    def configs(self) -> Mapping[str, ModelConfig] | None:
        """What the last `replace` said; None before it."""
        with self._lock:
            return self._configs

    def sources(self) -> Mapping[str, Source] | None:
        """Returns model name to source, as `VersionManager` asks for them."""
        configs = self.configs
        if configs is None:
            return self._find()
        return {name: config.source for name, config in configs.items()}

    def labelled(self, name: str, label: str) -> int | None:
        """Returns the version that a label of a model stands for, or None."""
        configs = self.configs or {}
        return configs[name].labels.get(label) if name in configs else None

    def request_log(self, name: str) -> RequestLogOptions | None:
        """Returns how requests of a model are logged, or None."""
        config = (self._configs or {}).get(name)
        return config.request_log if config else None

    def replace(
        self, configs: Mapping[str, ModelConfig], available: Available
    ) -> set[str]:
        """Takes other models in place of all that were there, or changes nothing.

        Args:
            configs: The models by name.
            available: Names of the models that are known so far, and their AVAILABLE
                versions.

        Returns:
            Names of the models that are new.

        Raises:
            InvalidRequestError: The platform of a model is not "tensorflow".
            FailedPreconditionError: A label cannot be given to its version.
        """
        with self._lock:
            before = self._configs or {}
            known = set(before if self._configs is not None else available)
            model_config.check_platforms(configs, known)
            for config in configs.values():
                labels = before[config.name].labels if config.name in before else {}
                self._check_labels(config, labels, available.get(config.name, ()))
            self._configs = dict(configs)
        return configs.keys() - known

    def _check_labels(
        self, config: ModelConfig, before: Mapping[str, int], available: Sequence[int]
    ) -> None:
        for label, version in config.labels.items():
            is_moved = before.get(label, version) != version
            if version in available or (self._allow_labels and not is_moved):
                continue
            raise FailedPreconditionError(
                f"Request to assign label to version {version} of model {config.name}, "
                "which is not currently available for inference"
            )
