"""A listening port that can refuse, cut, hang or be unreachable, and that nobody else can take meanwhile."""
import asyncio
import socket

LINKS = ("pass", "hang", "refuse", "cut", "blackhole")


class Listener:
    """Accepts on one port, calls on_accept(sock) for every connection.

    Beside the listening socket there's one that is bound only (SO_REUSEPORT): when we stop listening, a connect is
    refused, and still nobody else can take the port."""

    def __init__(self, host, on_accept):
        self._on_accept = on_accept
        self._bound = self._socket()
        self._bound.bind((host, 0))
        self.host, self.port = self._bound.getsockname()
        self._listening = None
        self._task = None
        self._fillers = []

    @staticmethod
    def _socket():
        sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        sock.setblocking(False)
        return sock

    def _listen(self, backlog):
        self._listening = self._socket()
        self._listening.bind((self.host, self.port))
        self._listening.listen(backlog)

    def open(self):
        if self._task is None:
            self.shut()
            self._listen(1024)
            self._task = asyncio.get_running_loop().create_task(self._accept())

    def shut(self):
        """From here on a connect is refused."""
        if self._task:
            self._task.cancel()
            self._task = None
        if self._listening:
            # The cancelled accept lets go of the number only later, when it may be another connection's.
            asyncio.get_running_loop().remove_reader(self._listening)
            self._listening.close()
            self._listening = None
        for filler in self._fillers:
            filler.close()
        self._fillers = []

    def blackhole(self):
        """From here on a connect gets no answer at all: the accept queue has one place, and we sit in it ourselves."""
        self.shut()
        self._listen(0)
        for _ in range(2):
            filler = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
            filler.setblocking(False)
            filler.connect_ex((self.host, self.port))
            self._fillers.append(filler)

    def close(self):
        self.shut()
        self._bound.close()

    async def _accept(self):
        loop = asyncio.get_running_loop()
        while True:
            try:
                sock, _ = await loop.sock_accept(self._listening)
            except OSError:  # reset before we took it, or too many open files: the next one may do
                await asyncio.sleep(0.01)
                continue
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._on_accept(sock)
