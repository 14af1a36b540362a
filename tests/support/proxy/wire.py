"""Reading and writing HTTP/1.1 messages over asyncio streams, byte for byte, for a proxy."""
import asyncio
import socket
import struct

MAX_HEAD = 256 * 1024
MAX_BODY = 64 * 1024 * 1024


class Bad(Exception):
    """The other side closed in the middle of a message, or sent something that isn't HTTP."""


class Head:
    """A start line and header fields in the order in which they came."""

    def __init__(self, raw):
        lines = raw.split(b"\r\n")
        self.start = lines[0].decode("latin-1")
        self.fields = []
        for line in lines[1:]:
            if line:
                name, colon, value = line.decode("latin-1").partition(":")
                if not colon:
                    raise Bad("a header line without a colon")
                self.fields.append((name, value.strip()))

    def get(self, name, default=""):
        return next((v for n, v in self.fields if n.lower() == name.lower()), default)

    def drop(self, name):
        self.fields = [(n, v) for n, v in self.fields if n.lower() != name.lower()]

    def set(self, name, value):
        self.drop(name)
        self.fields.append((name, value))

    def replace(self, name, value):
        """Like set, in the place where the field is."""
        self.fields = [(n, value if n.lower() == name.lower() else v) for n, v in self.fields]

    def render(self):
        lines = [self.start, *(f"{n}: {v}" for n, v in self.fields)]
        return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")

    @property
    def method(self):
        return self.start.split(" ")[0]

    @property
    def path(self):
        return (self.start.split(" ") + [""])[1].split("?")[0]

    @property
    def status(self):
        return int(self.start.split(" ")[1])

    def framing(self, reply_to=None):
        """How the body ends: ("none" | "length" | "chunked" | "close", length)."""
        if reply_to is not None and (reply_to == "HEAD" or self.status in (204, 304) or self.status < 200):
            return "none", 0
        if "chunked" in self.get("Transfer-Encoding").lower():
            return "chunked", None
        if self.get("Content-Length"):
            return "length", int(self.get("Content-Length"))
        return ("none", 0) if reply_to is None else ("close", None)


class Wire:
    """One connection. A reader buffer of its own, so that `gone` can watch for the end of the peer while a request
    of theirs is being answered without losing bytes that came early."""

    def __init__(self, reader, writer):
        self.reader, self.writer = reader, writer
        self.buffer = bytearray()
        self.eof = False

    async def fill(self):
        piece = b"" if self.eof else await self.reader.read(65536)
        self.eof = self.eof or not piece
        self.buffer += piece
        return bool(piece)

    async def gone(self):
        """Returns when the peer has closed or reset."""
        try:
            while await self.fill():
                if len(self.buffer) > MAX_BODY:
                    raise Bad("too much sent ahead")
        except OSError:
            self.eof = True

    async def _until(self, mark, limit):
        while True:
            at = self.buffer.find(mark)
            if at >= 0:
                return self._take(at + len(mark))
            if len(self.buffer) > limit:
                raise Bad("line or head too long")
            if not await self.fill():
                raise Bad("closed in the middle of a message")

    def _take(self, count):
        taken = bytes(self.buffer[:count])
        del self.buffer[:count]
        return taken

    async def head(self):
        """The next message's head, or None when the peer closed between two messages."""
        while not self.buffer:
            if not await self.fill():
                return None
        return Head(await self._until(b"\r\n\r\n", MAX_HEAD))

    async def body(self, framing):
        """Yields (bytes as they were on the wire, payload in them)."""
        kind, left = framing
        if kind == "length":
            while left:
                if not self.buffer and not await self.fill():
                    raise Bad("closed in the middle of a body")
                piece = self._take(min(left, len(self.buffer)))
                left -= len(piece)
                yield piece, piece
        elif kind == "chunked":
            while True:
                line = await self._until(b"\r\n", 1024)
                size = int(line.split(b";")[0], 16)
                raw = line
                while len(self.buffer) < size + 2 and size:
                    if not await self.fill():
                        raise Bad("closed in the middle of a chunk")
                if size == 0:
                    while True:  # trailers, and the empty line
                        trailer = await self._until(b"\r\n", MAX_HEAD)
                        raw += trailer
                        if trailer == b"\r\n":
                            yield raw, b""
                            return
                data = self._take(size + 2)
                yield raw + data, data[:-2]
        elif kind == "close":
            while self.buffer or await self.fill():
                piece = self._take(len(self.buffer))
                yield piece, piece

    async def send(self, data):
        self.writer.write(data)
        await self.writer.drain()

    def reset(self):
        """Ends the connection with a RST instead of a FIN."""
        self.eof = True
        sock = self.writer.get_extra_info("socket")
        if sock is not None:
            try:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            except OSError:
                pass
        self.writer.transport.abort()

    def close(self):
        self.eof = True
        if not self.writer.is_closing():
            self.writer.close()


async def collect(wire, framing):
    """A whole body: (raw bytes, payload)."""
    raw, payload = bytearray(), bytearray()
    async for a, b in wire.body(framing):
        raw += a
        payload += b
        if len(payload) > MAX_BODY:
            raise Bad("body too large")
    return bytes(raw), bytes(payload)


async def connect(host, port, ssl=None, server_hostname=None):
    reader, writer = await asyncio.open_connection(host, port, ssl=ssl, server_hostname=server_hostname)
    return Wire(reader, writer)
