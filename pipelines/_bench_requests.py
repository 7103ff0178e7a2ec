"""The requests that `make bench` sends, as bytes, and the check of what comes back."""

import http.client
import json
import pathlib
from collections.abc import Mapping

import grpc
import numpy as np

from savedmodels.errors import MaaskitError, UsageError
from savedmodels.protos import predict_pb2
from serving import messages
from serving.predictor import ModelSpec
from serving.servable import DEFAULT_SIGNATURE
from serving.signatures import read_signatures

PREDICT = "/tensorflow.serving.PredictionService/Predict"

# Engines add in another order; JSON rounds to what a float32 holds.
_TOLERANCE = 1e-4
_LIMIT_S = 120


def check_signature(path: pathlib.Path) -> None:
    """Raises unless the version takes what can be sent to every contender.

    Args:
        path: Folder of the version.

    Raises:
        UsageError: `serving_default` has no, or more than one, array of numbers.
        ServingError: The version is broken.
    """
    signature = read_signatures(path).get(DEFAULT_SIGNATURE)
    infos = list(signature.inputs.values()) if signature else []
    shapes = [info.shape or () for info in infos if info.dtype.kind in "biuf"]
    if len(infos) != 1 or [shape[:1] for shape in shapes] != [(None,)]:
        raise UsageError(
            f"`{path}` cannot be measured. Expected a `{DEFAULT_SIGNATURE}` that takes "
            "one array of numbers with a free batch axis. "
            f"Received: {', '.join(signature.inputs) if signature else 'none'}."
        )


class Requests:
    """Requests of each size, and their answers as TensorFlow gives them."""

    def __init__(self, folder: pathlib.Path, model: str) -> None:
        """Takes the arrays that the process without a server wrote.

        Args:
            folder: Holds `inputs-<rows>.npz` and `answers-<rows>.npz`; takes bodies.
            model: Model name.
        """
        self._folder = folder
        self._model = model
        self.rest_path = f"/v1/models/{model}:predict"

    def inputs(self, rows: int) -> pathlib.Path:
        """Returns the file of arrays."""
        return self._folder / f"inputs-{rows}.npz"

    def body(self, protocol: str, rows: int) -> pathlib.Path:
        """Returns the file of a request's bytes, which is written if missing."""
        file = self._folder / f"{protocol}-{rows}.body"
        if not file.exists():
            inputs = _arrays(self.inputs(rows))
            if protocol == "gRPC":
                spec = ModelSpec(self._model)
                request = messages.predict_request(spec, inputs, ())
                file.write_bytes(request.SerializeToString())
            else:
                (array,) = inputs.values()
                file.write_text(json.dumps({"instances": array.tolist()}))
        return file

    def check_grpc(
        self, name: str, address: str, rows: int, certificate: pathlib.Path | None
    ) -> int:
        """Asks a server once, and returns how many bytes it answers.

        Raises:
            MaaskitError: The answer is an error, or another than TensorFlow's.
        """
        channel = grpc.insecure_channel(address)
        if certificate:
            keys = grpc.ssl_channel_credentials(certificate.read_bytes())
            channel = grpc.secure_channel(address, keys)
        with channel:
            call = channel.unary_unary(PREDICT)
            try:
                answer = call(
                    self.body("gRPC", rows).read_bytes(),
                    timeout=_LIMIT_S,
                    wait_for_ready=True,
                )
            except grpc.RpcError as error:
                raise MaaskitError(f"`{name}`: {error.details()}") from error
        outputs = messages.outputs(predict_pb2.PredictResponse.FromString(answer))
        self._compare(name, rows, outputs)
        return len(answer)

    def check_rest(self, name: str, address: str, rows: int) -> None:
        """Asks a server once.

        Raises:
            MaaskitError: The answer is an error, or another than TensorFlow's.
        """
        connection = http.client.HTTPConnection(address, timeout=_LIMIT_S)
        try:
            body = self.body("REST", rows).read_bytes()
            headers = {"Content-Type": "application/json"}  # FastAPI asks for it
            connection.request("POST", self.rest_path, body, headers)
            response = connection.getresponse()
            content = response.read()
        except (OSError, http.client.HTTPException) as error:
            raise MaaskitError(f"`{name}` does not answer: {error!r}.") from error
        finally:
            connection.close()
        if response.status != http.HTTPStatus.OK:
            text = content[:500].decode(errors="replace")
            raise MaaskitError(f"`{name}` answers {response.status}: {text}")
        predictions = json.loads(content)
        if isinstance(predictions, dict):  # BentoML gives the rows alone
            predictions = predictions["predictions"]
        (first, *others) = self._expected(rows)
        if not others:
            predictions = [{first: value} for value in predictions]
        columns = {key: [row[key] for row in predictions] for key in (first, *others)}
        arrays = {alias: np.array(column) for alias, column in columns.items()}
        self._compare(name, rows, arrays)

    def _expected(self, rows: int) -> dict[str, np.ndarray]:
        return _arrays(self._folder / f"answers-{rows}.npz")

    def _compare(self, name: str, rows: int, outputs: Mapping[str, np.ndarray]) -> None:
        for alias, expected in self._expected(rows).items():
            found = outputs.get(alias, np.array(None))
            same = found.shape == expected.shape and (
                np.allclose(found, expected, rtol=_TOLERANCE, atol=_TOLERANCE)
                if expected.dtype.kind == "f"
                else np.array_equal(found, expected)
            )
            if not same:
                raise MaaskitError(
                    f"`{name}` gives a wrong answer to {rows} rows, so nothing was "
                    f"measured. Expected `{alias}`: {_start(expected)}. "
                    f"Received: {_start(found)}."
                )


def _arrays(file: pathlib.Path) -> dict[str, np.ndarray]:
    with np.load(file) as arrays:
        return dict(arrays)


def _start(array: np.ndarray) -> str:
    return np.array2string(array.reshape(-1)[:10], precision=6)
