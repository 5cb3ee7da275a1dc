"""Servers for the tests of `check`: python3 servers.py MODE PORT. The mode names the mistake."""
import os
import select
import selectors
import signal
import socket
import sys
import threading
import time

RESPONSE = b"Hello World\n"
MODE, PORT = sys.argv[1], int(sys.argv[2])
response_counts, requests = {}, []


def listen():
    server_socket = socket.socket()
    if MODE != "no_reuseaddr":
        server_socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    server_socket.bind(("127.0.0.1", PORT))
    server_socket.listen(128)
    return server_socket


def respond(client_socket, request):
    if MODE == "responds_twice":
        client_socket.sendall(RESPONSE * 2)
    elif MODE == "loses_bytes":
        response_counts[client_socket] = response_counts.get(client_socket, 0) + 1
        client_socket.sendall(RESPONSE[response_counts[client_socket] % 50 == 0:])
    elif MODE == "keeps_requests":
        requests.append(request)
        client_socket.sendall(RESPONSE)
    else:
        client_socket.sendall(RESPONSE)


def serve_request(client_socket):
    """Calls recv once, and responds. Returns whether the client is still connected."""
    try:
        request = client_socket.recv(4096)
        if request:
            respond(client_socket, request)
            return True
    except OSError:
        if MODE == "ends_at_a_reset":
            os._exit(1)
    if MODE == "leaks_file_descriptors":
        os.open("/dev/null", os.O_RDONLY)
    return False


def serve(client_socket):
    if MODE == "reads_lines":
        try:
            for _line in iter(lambda: client_socket.makefile("rb").readline(1 << 16), b""):
                client_socket.sendall(RESPONSE)
        except OSError:
            pass
    else:
        while serve_request(client_socket):
            if MODE == "ends_when_print_fails":
                print("Before recv()", flush=True)
    client_socket.close()


def accept(server_socket):
    try:
        return server_socket.accept()[0]
    except OSError:
        if MODE == "ends_without_file_descriptors":
            os._exit(1)
        if MODE != "busy_loops":
            time.sleep(0.05)
        return None


def serve_in_threads(server_socket):
    while True:
        client_socket = accept(server_socket)
        if MODE == "ends_when_print_fails" and client_socket:
            print("Connection", flush=True)
        if client_socket and MODE == "one_at_a_time":
            serve(client_socket)
        elif client_socket:
            threading.Thread(target=serve, args=(client_socket,), daemon=True).start()
        # Now only the thread has a reference, so the socket is closed when the thread ends.
        client_socket = None


def serve_in_loop(server_socket):
    """An event loop with epoll or kqueue, which accept any file descriptor."""
    clients = selectors.DefaultSelector()
    clients.register(server_socket, selectors.EVENT_READ)
    while True:
        for key, _ in clients.select():
            sock = key.fileobj
            if sock is server_socket:
                client_socket = accept(server_socket)
                if client_socket:
                    clients.register(client_socket, selectors.EVENT_READ)
            elif not serve_request(sock):
                clients.unregister(sock)
                sock.close()


def serve_with_select(server_socket):
    """Stops accepting at file descriptor 1023, although lower ones may be free again."""
    clients, is_full = [], False
    while True:
        watched = clients if is_full else [server_socket] + clients
        for sock in select.select(watched, [], [])[0]:
            if sock is server_socket:
                client_socket = accept(server_socket)
                if client_socket:
                    clients.append(client_socket)
                    is_full = client_socket.fileno() == 1023
            elif not serve_request(sock):
                clients.remove(sock)
                sock.close()
                is_full = False


if MODE == "ignores_term":
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
if MODE == "ends_when_continued":
    signal.signal(signal.SIGCONT, lambda *_: os._exit(1))
if MODE == "serves_in_child" and os.fork():
    os.wait()
    sys.exit()
server_socket = listen()
if MODE == "busy_loops":
    server_socket.setblocking(False)
if MODE == "never_accepts":
    time.sleep(1000)
elif MODE in ("ends_at_a_reset", "ends_without_file_descriptors"):
    serve_in_loop(server_socket)
elif MODE == "stays_full_after_1023":
    serve_with_select(server_socket)
else:
    serve_in_threads(server_socket)
