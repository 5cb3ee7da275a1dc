"""Mistake: each response is 8.4 million times Hello World, about 100 MB."""
import socket
import sys
import threading
import time

BLOCK = b"Hello World\n" * 100_000
BLOCKS = 84


def handle_client(client_socket):
    with client_socket:
        try:
            while client_socket.recv(4096):
                for _ in range(BLOCKS):
                    client_socket.sendall(BLOCK)
        except OSError:
            pass  # The client has disconnected.


def main():
    port = int(sys.argv[1])
    server_socket = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    server_socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    server_socket.bind(("127.0.0.1", port))
    server_socket.listen()
    while True:
        try:
            client_socket, addr = server_socket.accept()
        except OSError:
            time.sleep(1)  # Out of file descriptors.
            continue
        thread = threading.Thread(target=handle_client, args=(client_socket,), daemon=True)
        thread.start()


if __name__ == "__main__":
    main()
