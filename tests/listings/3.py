"""The article's third listing, call by call, with its fault: a closed client stays in the list."""
import socket
import sys
from select import select

PORT = int(sys.argv[1]) if len(sys.argv) > 1 else 5000

to_monitor = []

server_socket = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
server_socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
server_socket.bind(("localhost", PORT))
server_socket.listen()


def accept_connection(server_socket):
    client_socket, addr = server_socket.accept()
    print("Connection from", addr, flush=True)
    to_monitor.append(client_socket)


def send_message(client_socket):
    request = client_socket.recv(4096)
    if request:
        client_socket.send(b"Hello World\n")
    else:
        client_socket.close()


def event_loop():
    while True:
        ready_to_read, _, _ = select(to_monitor, [], [])

        for sock in ready_to_read:
            if sock is server_socket:
                accept_connection(sock)
            else:
                send_message(sock)


if __name__ == "__main__":
    to_monitor.append(server_socket)
    event_loop()
