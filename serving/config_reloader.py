"""Changes what a running server serves, as an RPC or its config file says."""

import asyncio
import logging
import pathlib
from collections.abc import Iterable
from typing import Any

from savedmodels.protos import model_server_config_pb2
from serving import model_config
from serving.errors import (
    DeadlineExceededError,
    InvalidRequestError,
    ServingError,
    UnknownError,
)
from serving.predictor import VersionStatus
from serving.served_models import ServedModels
from serving.version_manager import VersionManager

logger = logging.getLogger(__name__)

_LOOK_EVERY_S = 0.02


class ConfigReloader:
    """Puts new configs into effect. For one event loop."""

    def __init__(self, models: ServedModels, versions: VersionManager[Any]) -> None:
        """Makes the way from a config to the versions that are loaded.

        Args:
            models: What is to be served; `versions` asks it.
            versions: What is loaded.
        """
        self._models = models
        self._versions = versions

    async def reload(
        self,
        config: model_server_config_pb2.ModelServerConfig,
        timeout_s: float | None,
    ) -> None:
        """Serves the models of `config` and no others.

        Returns once every model with a new name is AVAILABLE; new versions of others
        are not waited for. What is refused changes nothing; a model that fails to load
        stays, and is tried again.

        Args:
            config: The models.
            timeout_s: Seconds to wait, or None to wait for as long as it takes.

        Raises:
            ServingError: The config is refused, or a new model did not become
                AVAILABLE.
        """
        if config.WhichOneof("config") != "model_config_list":
            raise InvalidRequestError(
                "ServerModelConfig type not supported by HandleReloadConfigRequest. "
                "Only ModelConfigList is currently supported"
            )
        new = self._models.replace(
            model_config.from_proto(config), self._versions.available()
        )
        names = sorted(model.name for model in config.model_config_list.config)
        logger.info("Config reloaded. Models: %s", ", ".join(names) or "none")
        looked = asyncio.wrap_future(self._versions.look_again())
        try:
            async with asyncio.timeout(timeout_s):
                await looked
                await self._until_available(new)
        except TimeoutError:
            raise DeadlineExceededError(
                f"The config is in effect, but not every new model became available "
                f"within {timeout_s:g} s."
            ) from None

    async def follow_file(self, path: pathlib.Path, wait_s: float) -> None:
        """Reads a config file again and again, for ever.

        A file that is refused is told in the log, and what was served before goes on.

        Args:
            path: The file.
            wait_s: Seconds between two looks.
        """
        refused = ""
        while True:
            await asyncio.sleep(wait_s)
            try:
                configs = await asyncio.to_thread(model_config.read, path)
                if configs != self._models.configs:
                    self._models.replace(configs, self._versions.available())
                    self._versions.look_again()
                    logger.info("%s was read again, and is in effect", path)
                refused = ""
            except ServingError as error:
                if str(error) != refused:  # once is enough, not at every look
                    logger.error("The old config stays in effect: %s", error)
                refused = str(error)
            except Exception:  # a bug here must not end the server
                logger.exception("Unexpected error while reading %s", path)

    async def _until_available(self, names: Iterable[str]) -> None:
        """Waits for models; raises where one of them cannot be loaded."""
        failed: dict[str, list[VersionStatus]] = {}
        waiting = set(names)
        while waiting:
            for name in sorted(waiting):
                failures = self._versions.failures(name)
                if failures is None:
                    continue
                waiting.remove(name)
                if failures:
                    failed[name] = failures
            if waiting:
                await asyncio.sleep(_LOOK_EVERY_S)
        if failed:
            raise UnknownError(_did_not_become_available(failed))


def _did_not_become_available(failed: dict[str, list[VersionStatus]]) -> str:
    """TF Serving's words for models that failed, each with its newest version."""
    models = "".join(
        f"{{{{name: {name} version: {newest.version}}} due to error: "
        f"{newest.error_code}: {newest.error_message}}}, "
        for name, (newest, *_) in sorted(failed.items())
    )
    return f"{len(failed)} model(s) did not become available: {{{models}}}"
