"""Buffers of a C library that are asked for through ctypes and never given back."""

import ctypes
import http.server
import sys

libc = ctypes.CDLL(None)
libc.calloc.restype = ctypes.c_void_p
libc.calloc.argtypes = [ctypes.c_size_t, ctypes.c_size_t]
libc.free.argtypes = [ctypes.c_void_p]


class Canvas:
    def __init__(self, width: int, height: int) -> None:
        self.pixels = libc.calloc(width * height, 4)  # LEAK
        self.size = width, height

    def shade(self, value: int) -> int:
        ctypes.memset(self.pixels, value, self.size[0] * 4)
        return value


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        scratch = libc.calloc(1, 1000)
        body = b"%d\n" % Canvas(20, 10).shade(len(self.path))
        libc.free(scratch)
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        pass


http.server.HTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
