"""Frames of HTTP/2 by hand, for peers that no library would let us be."""

import socket
import struct

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, RST_STREAM, SETTINGS, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = 0, 1, 3, 4, 6, 7, 8, 9
END_STREAM, ACK, END_HEADERS = 1, 1, 4
INITIAL_WINDOW_SIZE = 4


def frame(kind, flags, stream, payload=b""):
    return struct.pack(">I", len(payload))[1:] + bytes([kind, flags]) + struct.pack(">I", stream) + payload


def headers(fields):
    """Every field as a literal that is not indexed (RFC 7541, 6.2.2), names and values shorter than 127 bytes."""
    return b"".join(b"\0" + bytes([len(n)]) + n.encode() + bytes([len(v)]) + v.encode() for n, v in fields)


def request(method, path, **more):
    fields = [(":method", method), (":scheme", "http"), (":path", path), (":authority", "gateway")]
    return headers(fields + [(name.replace("_", "-"), value) for name, value in more.items()])


class Connection:
    def __init__(self, address, settings=()):
        host, port = address.rsplit(":", 1)
        self.socket = socket.create_connection((host, int(port)), timeout=10)
        payload = b"".join(struct.pack(">HI", key, value) for key, value in settings)
        self.socket.sendall(PREFACE + frame(SETTINGS, 0, 0, payload) + frame(SETTINGS, ACK, 0))
        self.buffer = b""

    def send(self, data):
        """Whether the peer still takes it."""
        try:
            self.socket.sendall(data)
            return True
        except OSError:
            return False

    def read(self):
        """The next frame as (kind, flags, stream, payload), or None at the end."""
        while True:
            if len(self.buffer) >= 9:
                length = int.from_bytes(self.buffer[:3], "big")
                if len(self.buffer) >= 9 + length:
                    kind, flags = self.buffer[3], self.buffer[4]
                    stream = int.from_bytes(self.buffer[5:9], "big")
                    payload, self.buffer = self.buffer[9:9 + length], self.buffer[9 + length:]
                    return kind, flags, stream, payload
            try:
                more = self.socket.recv(65536)
            except ConnectionError:
                return None
            if not more:
                return None
            self.buffer += more

    def until_closed(self):
        """Every frame there is before the end; fails when none comes for ten seconds and it is still open."""
        frames = []
        while (got := self.read()) is not None:
            frames.append(got)
        return frames
