"""Differences: the backlog holds only 5 clients, and recv takes at most 100 bytes. Prints one line first."""
import socketserver
import sys


class Handler(socketserver.BaseRequestHandler):
    def handle(self):
        """Serves one client, in a thread of its own."""
        try:
            while self.request.recv(100):
                self.request.sendall(b"Hello World\n")
        except OSError:
            pass


class Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True
    request_queue_size = 5


print("Press Ctrl-C to end the server.", flush=True)
with Server(("127.0.0.1", int(sys.argv[1])), Handler) as server:
    server.serve_forever()
