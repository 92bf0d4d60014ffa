"""The built site on loopback, compressed and cached as a web server would."""

from __future__ import annotations

import gzip
import hashlib
from functools import cache, partial
from http import HTTPStatus
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

HOST = "127.0.0.1"
PACKED = {".whl", ".zip", ".png", ".woff2", ".gz"}
KINDS = {
    **SimpleHTTPRequestHandler.extensions_map,
    ".ipynb": "application/json",
    ".js": "text/javascript",
    ".json": "application/json",
    ".mjs": "text/javascript",
    ".wasm": "application/wasm",
    ".whl": "application/zip",
}


@cache
def body(path: Path, modified: int) -> tuple[bytes, str, bool]:
    """What is sent of a file, its tag, and whether it is compressed."""
    data = path.read_bytes()
    tag = hashlib.sha256(data).hexdigest()[:16]
    packed = path.suffix not in PACKED
    return (gzip.compress(data, 6, mtime=0) if packed else data), f'"{tag}"', packed


class Handler(SimpleHTTPRequestHandler):
    """GET and HEAD of files; a browser that has a file already is told so."""

    protocol_version = "HTTP/1.1"
    sent = 0  # bytes of bodies, by all handlers of a class
    extensions_map = KINDS

    def log_message(self, *args: object) -> None:
        """Say nothing of each request."""

    def do_GET(self) -> None:
        """Send a file."""
        path = Path(self.translate_path(self.path))
        if path.is_dir():
            path = path / "index.html"
        if not path.is_file():
            self.send_error(HTTPStatus.NOT_FOUND)
            return
        data, tag, packed = body(path, path.stat().st_mtime_ns)
        known = self.headers.get("If-None-Match") == tag
        self.send_response(HTTPStatus.NOT_MODIFIED if known else HTTPStatus.OK)
        self.send_header("ETag", tag)
        self.send_header("Cache-Control", "no-cache")  # kept, and asked about by its tag
        if not known:
            self.send_header("Content-Type", self.guess_type(str(path)))
            self.send_header("Content-Length", str(len(data)))
            if packed:
                self.send_header("Content-Encoding", "gzip")
        self.end_headers()
        if not known:
            self.wfile.write(data)
            type(self).sent += len(data)


def server(folder: Path, port: int) -> ThreadingHTTPServer:
    """A server of a folder; port 0 for any that is free."""
    return ThreadingHTTPServer((HOST, port), partial(Handler, directory=str(folder)))


def forever(folder: Path, port: int) -> int:
    """Serve until Ctrl-C; returns an exit code."""
    if not (folder / "index.html").exists():
        print(f"{folder} holds no site: make site builds it")
        return 1
    with server(folder, port) as serving:
        print(f"http://{HOST}:{serving.server_port}/  (Ctrl-C ends it)")
        try:
            serving.serve_forever()
        except KeyboardInterrupt:
            print()
    return 0
