"""HTTP mirrors of a dataset on this machine, for tests."""

import http.server
import threading
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def serve(files: dict[str, bytes], missing: int = 0) -> Iterator[str]:
    """Serve `files` by name at the URL that is yielded; the Content-Length is `missing` bytes larger than the body."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            name = self.path.removeprefix("/pub/")
            self.send_response(200 if name in files else 404)
            body = files.get(name, b"")
            self.send_header("Content-Length", str(len(body) + missing))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/pub/"
        finally:
            server.shutdown()
            thread.join()
