"""Where a server shows its metrics, as TF Serving's MonitoringConfig says.

```
prometheus_config { enable: true path: "/monitoring/prometheus/metrics" }
```
"""

import pathlib

from savedmodels.serving_protos import MonitoringConfig
from serving import text_config
from serving.errors import InvalidRequestError

DEFAULT_PATH = "/monitoring/prometheus/metrics"


def read(path: pathlib.Path) -> str:
    """Returns the path of the metrics on the REST port; "" where they are off.

    Args:
        path: A file of MonitoringConfig as text.

    Raises:
        InvalidRequestError: The file cannot be read, or the path is none.
    """
    config = text_config.read(path, MonitoringConfig()).prometheus_config
    if not config.enable:
        return ""
    if config.path and not config.path.startswith("/"):
        raise InvalidRequestError(
            f"`path` in `{path}` must begin with a slash. Received: {config.path}"
        )
    return str(config.path) or DEFAULT_PATH
