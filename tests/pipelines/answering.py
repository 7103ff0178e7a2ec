"""A REST server whose answer a test chooses."""

import contextlib
import http.server
import json
import threading
import time
from collections.abc import Iterator


class Answering(http.server.ThreadingHTTPServer):
    """Answers every request with the same, after a while; counts those under way."""

    daemon_threads = True

    def __init__(
        self,
        answer: object,
        status: int = 200,
        wait_s: float = 0.0,
        closes: bool = False,
    ) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.answer, self.status, self.wait_s = json.dumps(answer), status, wait_s
        self.closes = closes
        self.connections = 0
        self.lock = threading.Lock()
        self.under_way = self.most = 0
        self.bodies: set[bytes] = set()

    def process_request(self, *request: object) -> None:
        self.connections += 1
        super().process_request(*request)

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.server_address[1]}"


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = -1

    def do_POST(self) -> None:  # noqa: N802
        server = self.server
        with server.lock:
            server.under_way += 1
            server.most = max(server.most, server.under_way)
            server.bodies.add(self.rfile.read(int(self.headers["Content-Length"])))
        time.sleep(server.wait_s)
        with server.lock:
            server.under_way -= 1
        self.send_response(server.status)
        self.send_header("Content-Length", str(len(server.answer)))
        if server.closes:
            self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(server.answer.encode())

    def log_message(self, *_: object) -> None:
        pass


@contextlib.contextmanager
def answering(*arguments: object, **options: object) -> Iterator[Answering]:
    server = Answering(*arguments, **options)
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
