"""Mistake: `if not request` is inverted, so data closes the connection, and the end of the stream gets a response."""
import socket
import sys
from select import select


def accept_connection(server_socket, to_monitor):
    client_socket, _ = server_socket.accept()
    to_monitor.append(client_socket)


def send_message(client_socket):
    """Returns whether the client stays connected."""
    request = client_socket.recv(4096)
    if not request:
        client_socket.sendall(b"Hello World\n")
        return True
    else:
        return False


def event_loop(server_socket):
    to_monitor = [server_socket]
    while True:
        ready_to_read, _, _ = select(to_monitor, [], [])
        for sock in ready_to_read:
            if sock is server_socket:
                accept_connection(sock, to_monitor)
                continue
            try:
                is_connected = send_message(sock)
            except OSError:
                is_connected = False
            if not is_connected:
                to_monitor.remove(sock)
                sock.close()


if __name__ == "__main__":
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as server_socket:
        server_socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        server_socket.bind(("127.0.0.1", int(sys.argv[1])))
        server_socket.listen()
        event_loop(server_socket)
