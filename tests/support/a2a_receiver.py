"""A receiver of webhooks for the clients of A2A."""
import asyncio
import json
import queue
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Receiver:
    """Listens on a free port of this machine; what is posted there is read in order, path by path."""

    def __init__(self):
        posted = self.posted = queue.Queue()

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                posted.put((self.path, self.headers, body))
                self.send_response(204)
                self.end_headers()

            def log_message(self, *_):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def url(self, path):
        return f"http://127.0.0.1:{self.server.server_address[1]}{path}"

    async def until(self, path, is_last):
        """The headers and bodies posted to a path, up to the first body that is the last."""
        got = []
        while not got or not is_last(got[-1][1]):
            posted_to, headers, body = await asyncio.to_thread(self.posted.get, timeout=60)
            if posted_to == path:
                got.append((headers, body))
        return got
