"""REST servers as people write them: with FastAPI, with Flask, and without either."""

import asyncio
import http.server
import json
import logging
from typing import Any

from pipelines import _bench_peers as peers


def _answer(model: peers.Model, body: bytes) -> bytes:
    """From a request of TF Serving's REST API to its answer, by `json`."""
    outputs = model(json.loads(body)["instances"])
    return json.dumps({"predictions": peers.rows(outputs)}).encode()


async def serve_uvicorn(model: peers.Model) -> None:
    """Serves on uvicorn by hand, a request at a time, on the event loop."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        body, more = b"", True
        while more:
            message = await receive()
            body += message.get("body", b"")
            more = message.get("more_body", False)
        answer = _answer(model, body)
        headers = [
            (b"content-type", b"application/json"),
            (b"content-length", str(len(answer)).encode()),
        ]
        start = {"type": "http.response.start", "status": 200, "headers": headers}
        await send(start)
        await send({"type": "http.response.body", "body": answer})

    await _serve_asgi(app)


async def serve_fastapi(model: peers.Model, path: str) -> None:
    """Serves by FastAPI on uvicorn, a request in each of its threads."""
    import fastapi

    app = fastapi.FastAPI()

    @app.post(path)  # type: ignore[untyped-decorator]
    def predict(body: dict[str, list[Any]]) -> dict[str, list[Any]]:
        return {"predictions": peers.rows(model(body["instances"]))}

    await _serve_asgi(app)


async def _serve_asgi(app: Any) -> None:
    import uvicorn

    config = uvicorn.Config(
        app,
        host=peers.HOST,
        port=0,
        lifespan="off",
        access_log=False,
        log_level="warning",
    )
    server = uvicorn.Server(config)
    serving = asyncio.create_task(server.serve())
    while not server.started:
        await asyncio.sleep(0.01)
    peers.say_ready(server.servers[0].sockets[0].getsockname()[1])
    await serving


def serve_flask(model: peers.Model, path: str) -> None:
    """Serves by Flask, on the server that `app.run` starts: a thread a request."""
    import flask
    from werkzeug import serving

    app = flask.Flask(__name__)

    @app.post(path)  # type: ignore[untyped-decorator]
    def predict() -> Any:
        instances = flask.request.get_json()["instances"]
        return flask.jsonify(predictions=peers.rows(model(instances)))

    class Handler(serving.WSGIRequestHandler):  # type: ignore[misc]
        disable_nagle_algorithm = True  # head and body would wait for each other

    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = serving.make_server(
        peers.HOST, 0, app, threaded=True, request_handler=Handler
    )
    peers.say_ready(server.server_port)
    server.serve_forever()


def serve_http(model: peers.Model) -> None:
    """Serves by `http.server`, a thread for each connection."""

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"  # keeps connections
        wbufsize = -1  # one packet for head and body: two would wait for each other

        def do_POST(self) -> None:  # noqa: N802 -- the name that http.server calls
            body = self.rfile.read(int(self.headers["Content-Length"]))
            answer = _answer(model, body)
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, format: str, *args: object) -> None:
            """Says nothing, which is faster."""

    class Server(http.server.ThreadingHTTPServer):
        request_queue_size = 128  # 5 would let connections wait for a second
        daemon_threads = True

    server = Server((peers.HOST, 0), Handler)
    peers.say_ready(server.server_address[1])
    server.serve_forever()
