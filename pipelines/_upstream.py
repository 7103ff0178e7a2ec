"""Batches answered by running servers: as many at once as they take.

Each batch goes to the next server that did not fail lately. The number in flight grows
while answers come, and halves where a server says UNAVAILABLE or does not answer in
time; such a batch is sent again after a while, to any of them.
"""

import itertools
import random
import threading
import time
from collections.abc import Mapping, Sequence

import grpc
import numpy as np

from savedmodels.errors import MaaskitError
from savedmodels.protos import prediction_service_pb2_grpc
from serving import errors, messages
from serving.errors import (
    DeadlineExceededError,
    FailedPreconditionError,
    ServableNotFoundError,
    UnavailableError,
    UnimplementedError,
)
from serving.grpc_client import GrpcClient
from serving.predictor import ModelSpec
from serving.signatures import SignatureInfo

MOST_IN_FLIGHT = 32
_FIRST_IN_FLIGHT = 4
_CALL_S = 60.0
_GIVE_UP_S = 120.0  # that no server answered one batch: longer than a rollout takes
_FIRST_WAIT_S, _LONGEST_WAIT_S = 0.05, 5.0
_REST_S = 1.0  # that a server which failed is passed over


def find(
    servers: Sequence[str], model: str, version: int | None, label: str | None
) -> tuple[int, dict[str, SignatureInfo]]:
    """Returns the version that servers answer with, and its signatures.

    Args:
        servers: `host:port`; the first that answers is asked.
        model: Model name.
        version: Version number; None for the latest.
        label: Version label, in place of a number.

    Raises:
        ServingError: None of them answers, or there is no such version.
    """
    request = messages.metadata_request(ModelSpec(model, version, label))
    for place, server in enumerate(servers, 1):
        with grpc.insecure_channel(server) as channel:
            stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
            try:
                response = stub.GetModelMetadata(request, timeout=10)
            except grpc.RpcError as error:
                unavailable = error.code() == grpc.StatusCode.UNAVAILABLE
                if unavailable and place < len(servers):
                    continue
                code = error.code().value[0]
                raise errors.of_grpc_code(code, error.details() or "") from error
            return response.model_spec.version.value, messages.signatures(response)
    raise UnavailableError("There is no server.")


class Window:
    """How many calls may be in flight: more with each answer, half after a refusal."""

    def __init__(self, most: int = MOST_IN_FLIGHT) -> None:
        """Starts small.

        Args:
            most: What it grows to.
        """
        self._most = most
        self.size = float(min(_FIRST_IN_FLIGHT, most))
        self._used = 0
        # A refusal counts once for all calls that were under way when it came.
        self._era = 0
        self._free = threading.Condition()

    def enter(self) -> int:
        """Waits for a place; returns what `leave` wants to know of it."""
        with self._free:
            self._free.wait_for(lambda: self._used < int(self.size))
            self._used += 1
            return self._era

    def leave(self, era: int, answered: bool) -> None:
        """Gives the place back."""
        with self._free:
            self._used -= 1
            if answered:
                self.size = min(self._most, self.size + 1 / self.size)
            elif era == self._era:
                self._era += 1
                self.size = max(1.0, self.size / 2)
            self._free.notify_all()


class Upstream:
    """Answers batches by asking servers. Thread-safe."""

    def __init__(self, servers: Sequence[str], model: str, version: int) -> None:
        """Connects with the first calls.

        Args:
            servers: `host:port`.
            model: Model name.
            version: Version number: all rows get the answers of one.
        """
        self._clients = [GrpcClient(server, timeout_s=_CALL_S) for server in servers]
        self._rest = [0.0] * len(servers)
        self._turn = itertools.count()
        self._model = model
        self._version = version
        self.window = Window()

    def run(
        self, signature_name: str, inputs: Mapping[str, np.ndarray]
    ) -> dict[str, np.ndarray]:
        """Returns the outputs by alias for one batch.

        Raises:
            ServingError: The servers refuse these rows.
            MaaskitError: They do not answer, or no longer have the version.
        """
        give_up = time.monotonic() + _GIVE_UP_S
        for attempt in itertools.count():
            try:
                return self._ask(signature_name, inputs)
            except (UnavailableError, DeadlineExceededError) as error:
                wait = min(_FIRST_WAIT_S * 2**attempt, _LONGEST_WAIT_S)
                wait *= random.uniform(0.5, 1.5)  # else all would come back at once
                if time.monotonic() + wait > give_up:
                    raise MaaskitError(
                        f"The servers did not answer: {error} Finished shards are "
                        "kept: type the same again to go on."
                    ) from error
                time.sleep(wait)
            except (
                ServableNotFoundError,
                FailedPreconditionError,
                UnimplementedError,
            ) as error:
                # Not about these rows: asking for each alone would not help.
                raise MaaskitError(f"The servers cannot answer: {error}") from error
        raise AssertionError("not reached: the loop has no end")

    def _ask(
        self, signature_name: str, inputs: Mapping[str, np.ndarray]
    ) -> dict[str, np.ndarray]:
        era = self.window.enter()
        answered = True
        place = self._next()
        try:
            return self._clients[place].predict(
                self._model,
                inputs,
                version=self._version,
                signature_name=signature_name,
            )
        except (UnavailableError, DeadlineExceededError):
            answered = False
            self._rest[place] = time.monotonic() + _REST_S
            raise
        finally:
            self.window.leave(era, answered)

    def _next(self) -> int:
        """The next server in turn that did not fail lately; the next if all did."""
        now = time.monotonic()
        turn = next(self._turn)
        places = [(turn + step) % len(self._clients) for step in range(len(self._rest))]
        return next((p for p in places if self._rest[p] <= now), places[0])
