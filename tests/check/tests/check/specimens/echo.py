"""Difference: it sends back the request instead of Hello World."""
import socket
import sys
from select import select

server = socket.socket()
server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
server.bind(("127.0.0.1", int(sys.argv[1])))
server.listen()
unsent = {}  # client socket -> bytes that it has not taken yet


def serve(client):
    if not unsent[client]:
        unsent[client] = client.recv(4096)
    if unsent[client]:
        count = client.send(unsent[client])
        unsent[client] = unsent[client][count:]
    else:
        drop(client)


def drop(client):
    del unsent[client]
    client.close()


while True:
    # Do not read from a client until it has received all of its last response.
    readers = [client for client in unsent if not unsent[client]]
    writers = [client for client in unsent if unsent[client]]
    ready_to_read, ready_to_write, _ = select([server] + readers, writers, [])
    for sock in ready_to_read + ready_to_write:
        try:
            if sock is server:
                client, addr = server.accept()
                client.setblocking(False)
                unsent[client] = b""
            else:
                serve(sock)
        except BlockingIOError:
            pass
        except OSError:
            drop(sock)
