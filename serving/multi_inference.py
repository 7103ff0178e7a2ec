"""MultiInference: several Classify and Regress signatures over the same tf.Examples.

The first task says which version answers all of them. Texts are TF Serving's; unlike
it, signatures need not read the same tensor of the graph, which those that TensorFlow 2
exports never do.
"""

import asyncio
import dataclasses
from collections.abc import Coroutine, Sequence
from typing import Any

from serving import classify_regress
from serving.classify_regress import CLASSIFY, REGRESS
from serving.errors import (
    InvalidRequestError,
    ServableNotFoundError,
    UnimplementedError,
)
from serving.predictor import Classification, ModelSpec, Predictor, Regression
from serving.servable import DEFAULT_SIGNATURE

Result = Classification | Regression


@dataclasses.dataclass(frozen=True, slots=True)
class Task:
    """One signature to run.

    Attributes:
        spec: Which servable and signature.
        method_name: `CLASSIFY` or `REGRESS`.
    """

    spec: ModelSpec
    method_name: str


async def run(
    predictor: Predictor,
    tasks: Sequence[Task],
    examples: Sequence[bytes],
    timeout_s: float | None,
) -> list[Result]:
    """Returns each task's result, in their order, all of one version.

    Args:
        predictor: Runs the signatures.
        tasks: The first one's version or label counts for all.
        examples: Serialized tf.Examples.
        timeout_s: Seconds after which the answer is of no use, or None.

    Raises:
        ServingError: A task cannot be run.
    """
    if not tasks or not tasks[0].spec.name:
        raise InvalidRequestError("ModelSpec has no name specified.")
    try:
        return await _run(predictor, tasks, examples, timeout_s)
    except ServableNotFoundError:
        if tasks[0].spec.version is not None:
            raise
        # The version may have gone between two steps: the one after it will do.
        return await _run(predictor, tasks, examples, timeout_s)


async def _run(
    predictor: Predictor,
    tasks: Sequence[Task],
    examples: Sequence[bytes],
    timeout_s: float | None,
) -> list[Result]:
    version, signatures = await predictor.signatures(tasks[0].spec)
    calls: list[tuple[str, ModelSpec]] = []
    for task in tasks:
        _check_name(task, tasks[0])
        name = task.spec.signature_name or DEFAULT_SIGNATURE
        if any(spec.signature_name == name for _, spec in calls):
            raise InvalidRequestError(f"Duplicate evaluation of signature: {name}")
        if name not in signatures:
            raise InvalidRequestError(
                f"Requested signature not found in model graph: {name}"
            )
        if task.method_name == CLASSIFY:
            classify_regress.check_classify(signatures[name])
        elif task.method_name == REGRESS:
            classify_regress.check_regress(signatures[name])
        else:
            raise UnimplementedError(
                f"Unsupported signature method_name: {task.method_name}"
            )
        spec = ModelSpec(task.spec.name, version, signature_name=name)
        calls.append((task.method_name, spec))

    def call(method: str, spec: ModelSpec) -> Coroutine[Any, Any, Result]:
        answer: Any = predictor.classify if method == CLASSIFY else predictor.regress
        coroutine: Coroutine[Any, Any, Result] = answer(
            spec, examples, timeout_s=timeout_s
        )
        return coroutine

    return await asyncio.gather(*(call(*each) for each in calls))


def _check_name(task: Task, first: Task) -> None:
    if not task.spec.name:
        raise InvalidRequestError("Found ModelSpec with an empty model name.")
    if task.spec.name != first.spec.name:
        raise InvalidRequestError(
            "All ModelSpecs in a MultiInferenceRequest must access the same model name."
        )
