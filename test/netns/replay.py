# Records what leaves a device, and sends it once more from the address it came from:
#     replay.py record KIND FILE DEVICE ADDRESS PORT COUNT    the next COUNT single datagrams for that address and port; says `recording` when it begins
#     replay.py again FILE ADDRESS TIMES                      each of them, one by one, in order, and so often over
# KIND: lane, Expresslane datagrams; record, DTLS records of the usual shape.
import json
import socket
import struct
import sys

HEADERS = 28  # IPv4 without options, and UDP
ETH_P_ALL = 3
OUTGOING = 4
LIGHTWAY = 16


def is_wanted(kind, datagram):
    if datagram[:2] != b"\x48\x65":
        return False
    if kind == "lane":
        return datagram[5] != 0 and len(datagram) >= 56
    return datagram[5] == 0 and len(datagram) >= LIGHTWAY + 21 and datagram[LIGHTWAY] & 0xFC == 0x2C


def record(kind, path, device, address, port, count):
    tap = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(ETH_P_ALL))
    tap.bind((device, ETH_P_ALL))
    tap.settimeout(20)
    print("recording", flush=True)
    wanted, found = socket.inet_aton(address), []
    while len(found) < count:
        packet, (_, _, direction, *_) = tap.recvfrom(65536)
        if direction != OUTGOING or len(packet) < HEADERS + LIGHTWAY or len(packet) > 1500 or packet[0] != 0x45 or packet[9] != 17:
            continue
        if packet[16:20] != wanted or struct.unpack("!H", packet[22:24])[0] != port:
            continue
        if is_wanted(kind, packet[HEADERS:]):
            found.append(packet.hex())
    with open(path, "w") as file:
        json.dump(found, file)
    print("recorded", flush=True)


def again(path, address, times):
    with open(path) as file:
        packets = [bytearray.fromhex(each) for each in json.load(file)]
    raw = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW)
    for packet in packets:
        packet[26:28] = b"\0\0"  # no checksum: the device had still to write it
    for _ in range(times):
        for packet in packets:
            raw.sendto(packet, (address, 0))
    print(times * len(packets))


if sys.argv[1] == "record":
    record(*sys.argv[2:6], int(sys.argv[6]), int(sys.argv[7]))
else:
    again(sys.argv[2], sys.argv[3], int(sys.argv[4]))
