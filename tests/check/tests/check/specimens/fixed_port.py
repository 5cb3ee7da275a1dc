"""Mistake: the argument is ignored. The author had a constant port. Here the system chooses a free one."""
import socket
from select import select

HOST = "127.0.0.1"
PORT = 0
RESPONSE = b"Hello World\n"


def receive(client_socket):
    try:
        return client_socket.recv(4096)
    except OSError:
        return b""


def send(client_socket):
    try:
        client_socket.sendall(RESPONSE)
    except OSError:
        pass  # The next recv fails too, or returns b"".


def event_loop(server_socket):
    to_monitor = [server_socket]
    while True:
        ready_to_read, _, _ = select(to_monitor, [], [])
        for sock in ready_to_read:
            if sock is server_socket:
                client_socket, addr = server_socket.accept()
                to_monitor.append(client_socket)
            elif receive(sock):
                send(sock)
            else:
                to_monitor.remove(sock)
                sock.close()


if __name__ == "__main__":
    server_socket = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    server_socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    server_socket.bind((HOST, PORT))
    server_socket.listen()
    event_loop(server_socket)
