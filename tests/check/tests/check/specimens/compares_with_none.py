"""Mistake: the end of the stream (b"") is not None, so it gets responses until send fails."""
import select
import socket
import sys


class Server:
    def __init__(self, port):
        self.listener = socket.socket()
        self.listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.listener.bind(("127.0.0.1", port))
        self.listener.listen()
        self.clients = []

    def accept_client(self):
        conn, addr = self.listener.accept()
        self.clients.append(conn)

    def remove_client(self, conn):
        self.clients.remove(conn)
        conn.close()

    def answer(self, conn):
        try:
            request = conn.recv(1024)
            if request is not None:
                conn.sendall(b"Hello World\n")
            else:
                self.remove_client(conn)
        except OSError:
            self.remove_client(conn)

    def run(self):
        while True:
            ready = select.select([self.listener] + self.clients, [], [])[0]
            for conn in ready:
                if conn is self.listener:
                    self.accept_client()
                else:
                    self.answer(conn)


Server(int(sys.argv[1])).run()
