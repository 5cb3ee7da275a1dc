"""Mistake: each response is sent one byte at a time, one byte every two seconds."""
import socket
import sys
import threading
import time

RESPONSE = b"Hello World\n"


class ClientThread(threading.Thread):
    def __init__(self, sock):
        super().__init__(daemon=True)
        self.sock = sock

    def run(self):
        try:
            while self.sock.recv(4096):
                for byte in RESPONSE:
                    time.sleep(2)
                    self.sock.sendall(bytes([byte]))
        except OSError:
            pass
        self.sock.close()


if __name__ == "__main__":
    server = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    server.bind(("127.0.0.1", int(sys.argv[1])))
    server.listen()
    while True:
        try:
            sock, addr = server.accept()
            ClientThread(sock).start()
        except OSError:
            time.sleep(1)  # out of file descriptors
