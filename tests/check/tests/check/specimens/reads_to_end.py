"""Mistake: makefile().read() returns only at the end of the stream, so a client that waits gets no response."""
import socketserver
import sys


class Handler(socketserver.BaseRequestHandler):
    def handle(self):
        if self.request.makefile("rb").read():
            self.request.sendall(b"Hello World\n")


class Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True


with Server(("127.0.0.1", int(sys.argv[1])), Handler) as server:
    server.serve_forever()
