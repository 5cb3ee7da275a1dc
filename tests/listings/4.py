"""The second listing with generators, on an event loop. A function waits at each `yield`."""
import socket
import sys
from collections import deque
from select import select

PORT = int(sys.argv[1]) if len(sys.argv) > 1 else 5000

tasks = deque()
to_read = {}
to_write = {}

server_socket = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
server_socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
server_socket.bind(("localhost", PORT))
server_socket.listen()


def accept_connection(server_socket):
    while True:
        print("Before accept()", flush=True)
        yield to_read, server_socket
        client_socket, addr = server_socket.accept()
        print("Connection from", addr, flush=True)
        tasks.append(send_message(client_socket))


def send_message(client_socket):
    while True:
        print("Before recv()", flush=True)
        yield to_read, client_socket
        request = client_socket.recv(4096)
        if not request:
            break
        yield to_write, client_socket
        client_socket.send(b"Hello World\n")

    client_socket.close()


def event_loop():
    while True:
        while tasks:
            task = tasks.popleft()
            try:
                waiting, sock = next(task)
            except StopIteration:
                continue
            waiting[sock] = task

        ready_to_read, ready_to_write, _ = select(to_read, to_write, [])

        for sock in ready_to_read:
            tasks.append(to_read.pop(sock))
        for sock in ready_to_write:
            tasks.append(to_write.pop(sock))


if __name__ == "__main__":
    tasks.append(accept_connection(server_socket))
    event_loop()
