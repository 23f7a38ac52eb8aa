"""UDP traffic for fairness.test.ts, numbered.

send ADDRESS PORT COUNT GAP_US   so many datagrams, at least so far apart
receive PORT COUNT               says ready; then how many came, once all have, or none for half a minute
hold PORT                        says ready, and reads nothing
heard PORT                       says ready, and then who has sent the first datagram
"""
import socket
import sys
import time

BYTES = 200
PATIENCE = 30


def send(address, port, count, gap):
    out = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    due = time.monotonic()
    for number in range(int(count)):
        time.sleep(max(0, due - time.monotonic()))
        out.sendto(number.to_bytes(4, "big") + bytes(BYTES - 4), (address, int(port)))
        due = time.monotonic() + int(gap) / 1e6


def bound(port):
    incoming = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    incoming.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
    incoming.bind(("0.0.0.0", int(port)))
    print("ready", flush=True)
    return incoming


def receive(port, count):
    incoming = bound(port)
    incoming.settimeout(PATIENCE)
    seen = set()
    try:
        while len(seen) < int(count):
            seen.add(incoming.recv(2048)[:4])
    except TimeoutError:
        pass
    print(f"received {len(seen)}", flush=True)


def hold(port):
    held = bound(port)
    time.sleep(3600)
    held.close()


def heard(port):
    print(bound(port).recvfrom(2048)[1][0], flush=True)


{"send": send, "receive": receive, "hold": hold, "heard": heard}[sys.argv[1]](*sys.argv[2:])
