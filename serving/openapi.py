"""The REST API as it is served at this moment, as an OpenAPI 3.0 document.

Each loaded model has paths of its own, with the tensors that its signatures take and
return; a model of which nothing is loaded can be asked about its state alone.
"""

import json
import urllib.parse
from collections.abc import Mapping
from typing import Any

from serving import json_schema, v2_model, v2_schema
from serving.errors import ServingError
from serving.json_schema import Schema
from serving.predictor import ModelSpec, Predictor
from serving.servable import DEFAULT_SIGNATURE
from serving.signatures import SignatureInfo

_ERROR = {"$ref": "#/components/schemas/Error"}
_OBJECT: Schema = {"type": "object"}
_VERSION = {"type": "integer", "format": "int64", "minimum": 0}
_COMPONENTS = {
    "schemas": {
        "Error": {
            "type": "object",
            "required": ["error"],
            "properties": {"error": {"type": "string"}},
        },
        "Status": {
            "type": "object",
            "required": ["model_version_status"],
            "properties": {
                "model_version_status": {
                    "type": "array",
                    "items": {
                        "type": "object",
                        "properties": {
                            "version": {"type": "string"},
                            "state": {
                                "type": "string",
                                "enum": "START LOADING AVAILABLE UNLOADING END".split(),
                            },
                            "status": _OBJECT,
                        },
                    },
                }
            },
        },
    }
}
_STATUS = {"$ref": "#/components/schemas/Status"}


async def document(predictor: Predictor, metrics_path: str) -> str:
    """Returns the document as JSON.

    Args:
        predictor: Knows the models and their signatures.
        metrics_path: Where metrics are read; "" for nowhere.
    """
    paths = _of_the_server(metrics_path)
    for name in predictor.models():
        try:
            _, signatures = await predictor.signatures(ModelSpec(name))
        except ServingError:
            signatures = {}
        # Names with two underscores are TensorFlow's own, for loading.
        names = [key for key in signatures if not key.startswith("__")]
        names.sort(key=lambda key: (key != DEFAULT_SIGNATURE, key))
        paths |= _of_model(name, {key: signatures[key] for key in names})
    return json.dumps(
        {
            "openapi": "3.0.3",
            "info": {
                "title": "maaskit",
                "description": "The models that are loaded, over TF Serving's REST "
                "API and the Open Inference Protocol.",
                "version": v2_model.server_metadata()["version"],
            },
            "paths": paths,
            "components": _COMPONENTS,
        },
        indent=1,
    )


def _of_the_server(metrics_path: str) -> dict[str, Any]:
    text: Schema = {"type": "string"}
    paths = {
        "/healthz": _get("Whether the process lives", _OBJECT),
        "/readyz": _get("Whether some model can be asked", _OBJECT),
        "/openapi.json": _get("This document", _OBJECT),
        "/v1/models": _get("Every model, and the state of its versions", _OBJECT),
        "/v2": _get("This server, by the Open Inference Protocol", _OBJECT),
        "/v2/health/live": _get("Whether the process lives", _OBJECT),
        "/v2/health/ready": _get("Whether some model can be asked", _OBJECT),
        "/v2/models": _get("Names of the models", _OBJECT),
    }
    if metrics_path:
        told = "What Prometheus reads"
        paths[metrics_path] = _get(told, text, content="text/plain")
    return paths


def _of_model(name: str, signatures: Mapping[str, SignatureInfo]) -> dict[str, Any]:
    """The paths of one model: of the version that answers, and of any by its number."""
    newest = f"/v1/models/{urllib.parse.quote(name, safe='')}"
    paths: dict[str, Any] = {}
    for path in (newest, newest + "/versions/{version}"):
        paths[path] = _get(f"State of the versions of {name}", _STATUS)
        if not signatures:
            continue
        paths[f"{path}/metadata"] = _get(f"Signatures of {name}", _OBJECT)
        if found := json_schema.writable(signatures):
            paths[f"{path}:predict"] = _post(
                f"Run a signature of {name}",
                json_schema.predict_request(found),
                json_schema.predict_response(found),
            )
        for method in ("classify", "regress"):
            if found := json_schema.serving(method, signatures):
                paths[f"{path}:{method}"] = _post(
                    f"{method.capitalize()} tf.Examples by {name}",
                    json_schema.examples_request(list(found)),
                    json_schema.examples_response(method),
                )
    paths |= _v2_of_model(name, signatures.get(DEFAULT_SIGNATURE))
    for path, operations in paths.items():
        if "{version}" in path:
            operations["parameters"] = [
                {"name": "version", "in": "path", "required": True, "schema": _VERSION}
            ]
    return paths


def _v2_of_model(name: str, signature: SignatureInfo | None) -> dict[str, Any]:
    """The paths of one model in the Open Inference Protocol."""
    infer = v2_schema.infer(signature) if signature else None
    if infer is None:
        return {}
    newest = f"/v2/models/{urllib.parse.quote(name, safe='')}"
    paths: dict[str, Any] = {}
    for path in (newest, newest + "/versions/{version}"):
        paths[path] = _get(f"What {name} takes and returns", _OBJECT)
        paths[f"{path}/ready"] = _get(f"Whether {name} can be asked", _OBJECT)
        paths[f"{path}/infer"] = _post(f"Run {name}", *infer)
    return paths


def _get(
    summary: str, schema: Schema, content: str = "application/json"
) -> dict[str, Any]:
    return {"get": {"summary": summary, "responses": _responses(schema, content)}}


def _post(summary: str, taken: Schema, answered: Schema) -> dict[str, Any]:
    body = {"required": True, "content": {"application/json": {"schema": taken}}}
    responses = _responses(answered, "application/json")
    return {"post": {"summary": summary, "requestBody": body, "responses": responses}}


def _responses(schema: Schema, content: str) -> dict[str, Any]:
    return {
        "200": {"description": "OK", "content": {content: {"schema": schema}}},
        "default": {
            "description": "Refused",
            "content": {"application/json": {"schema": _ERROR}},
        },
    }
