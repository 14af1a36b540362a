"""The proxy itself. One Proxy is in front of one backend and listens on a plain port and, with a certificate, on a TLS port.

Each client connection has a backend connection of its own. In HTTP mode requests are read whole, matched against the
faults, and passed on byte for byte (Host and signature stay right); replies are streamed. In TCP mode bytes are pumped."""
import asyncio
import socket
import ssl
import struct
import zlib

from . import faults as F
from . import sigv4
from .faults import FaultSet
from .listener import LINKS, Listener
from .stats import Stats, note, operation
from .wire import Bad, Wire, collect, connect


class Reset(Exception):
    """The client's connection is to end with a RST."""


class Closed(Exception):
    """The client's connection is to end with a FIN."""


class Proxy:
    """name; backend {"host", "port", "tls": {"ca", "cert", "key", "name"}}; mode "http" or "tcp"; certificates {kind: [cert, key]},
    of which "good" is served first; verify {access key id: {"secret", "token", "error"}} checks signatures (sigv4.py); as_region
    puts another region into the signature's scope on the way to the backend, so that moto answers from that region."""

    def __init__(self, name, backend, mode="http", certificates=None, client_ca=None, verify=None, as_region=None, host="127.0.0.1"):
        self.name, self.backend, self.mode = name, backend, mode
        self.faults, self.stats, self.verify, self.clock = FaultSet(), Stats(), verify, 0
        self.as_region = as_region
        self.link = "refuse"
        self._flow = asyncio.Event()
        self._live = {}  # task -> accepted socket
        self._background = set()  # requests that go on without their client
        self._backend_tls = self._client_context(backend.get("tls"))
        self._contexts = {k: self._server_context(*v, client_ca) for k, v in (certificates or {}).items()}
        self.certificate = next(iter(self._contexts), None)
        self.plain = Listener(host, lambda s: self._accepted(s, False))
        self.tls = Listener(host, lambda s: self._accepted(s, True)) if self._contexts else None

    @staticmethod
    def _client_context(spec):
        if not spec:
            return None
        context = ssl.create_default_context(cafile=spec["ca"])
        context.check_hostname = bool(spec.get("name"))
        if spec.get("cert"):
            context.load_cert_chain(spec["cert"], spec["key"])
        return context

    @staticmethod
    def _server_context(cert, key, client_ca):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(cert, key)
        context.set_alpn_protocols(["http/1.1"])
        if client_ca:
            context.load_verify_locations(client_ca)
            context.verify_mode = ssl.CERT_REQUIRED
        return context

    # -- the link as a whole

    def set_link(self, state):
        if state not in LINKS:
            raise ValueError(f"no link state {state!r}: {', '.join(LINKS)}")
        self.link = state
        (self._flow.clear if state in ("hang", "blackhole") else self._flow.set)()
        for listener in filter(None, (self.plain, self.tls)):
            {"pass": listener.open, "hang": listener.open, "refuse": listener.shut, "cut": listener.shut,
             "blackhole": listener.blackhole}[state]()
        if state == "cut":
            self.drop_connections()

    def set_certificate(self, kind):
        if kind not in self._contexts:
            raise ValueError(f"no certificate {kind!r}: {', '.join(self._contexts)}")
        self.certificate = kind

    def drop_connections(self):
        """Resets every open connection."""
        for task, sock in list(self._live.items()):
            _linger(sock)
            task.cancel()

    def close(self):
        self.set_link("cut")
        for listener in filter(None, (self.plain, self.tls)):
            listener.close()

    # -- one connection

    def _accepted(self, sock, tls):
        # The streams work on a duplicate (_wire): this one stays usable for setting SO_LINGER until the task is done.
        task = asyncio.get_running_loop().create_task(self._connection(sock, tls))
        self._live[task] = sock
        self.stats.opened()
        task.add_done_callback(lambda t: self._finished(t))

    def _finished(self, task):
        self._live.pop(task).close()
        self.stats.closed()
        if not task.cancelled() and task.exception():
            print(f"proxy {self.name}: {task.exception()!r}", flush=True)

    async def _connection(self, sock, tls):
        client = backend = None
        try:
            await self._flow.wait()
            await self._connection_faults("@connect", sock)
            if tls:
                await self._connection_faults("@tls", sock)
            client = await self._wire(sock, tls)
            if self.mode == "tcp":
                backend = await self._connect()
                await self._pump(client, backend)
            else:
                holder = {"backend": None}
                try:
                    while await self._exchange(client, holder):
                        pass
                finally:
                    backend = None if holder.get("detached") else holder["backend"]
            client.close()
        except (Closed, Bad, ssl.SSLError, ConnectionError, OSError, TimeoutError):
            if client:
                client.close()
        except Reset:
            _linger(sock)
            if client:
                client.reset()
        except asyncio.CancelledError:
            if client:
                client.reset()
            raise
        finally:
            if backend:
                backend.reset()

    def _background_done(self, work, holder):
        self._background.discard(work)
        work.cancelled() or work.exception()  # seen: nobody else is there to look
        if holder["backend"]:
            holder["backend"].close()

    async def _connection_faults(self, op, sock):
        for fault in self.faults.pick(op, ""):
            self.stats.mark(op, "faulted")
            if fault.do == "delay":
                await asyncio.sleep(fault.spec.get("seconds", 0))
            elif fault.do == "hang":
                await fault.removed.wait()
                raise Reset
            elif fault.do == "reset":
                raise Reset
            else:
                raise Closed

    async def _wire(self, sock, tls):
        loop = asyncio.get_running_loop()
        reader = asyncio.StreamReader(limit=1 << 20)
        protocol = asyncio.StreamReaderProtocol(reader)
        own = sock.dup()
        own.setblocking(False)
        context = self._contexts[self.certificate] if tls else None
        transport, _ = await loop.connect_accepted_socket(lambda: protocol, own, ssl=context)
        if tls:
            self.stats.connections["tls"] += 1
        return Wire(reader, asyncio.StreamWriter(transport, protocol, reader, loop))

    async def _connect(self):
        tls = self.backend.get("tls") or {}
        return await connect(self.backend["host"], self.backend["port"], self._backend_tls,
                             (tls.get("name") or self.backend["host"]) if self._backend_tls else None)

    async def _pump(self, client, backend):
        async def one_way(source, sink):
            while True:
                piece = await source.reader.read(65536)
                await self._flow.wait()
                if not piece:
                    if sink.writer.can_write_eof():
                        sink.writer.write_eof()
                    return
                await sink.send(piece)

        ways = [asyncio.ensure_future(one_way(client, backend)), asyncio.ensure_future(one_way(backend, client))]
        try:
            await asyncio.gather(*ways)
        finally:
            for way in ways:
                way.cancel()

    # -- one request

    async def _exchange(self, client, holder):
        """Answers one request. False when the connection is done."""
        head = await client.head()
        if head is None:
            return False
        if head.get("Expect").lower() == "100-continue":
            await client.send(b"HTTP/1.1 100 Continue\r\n\r\n")
            head.drop("Expect")
        raw, payload = await collect(client, head.framing())
        op = operation(head, payload)
        self.stats.begin(op)
        if self.stats.recording:
            self.stats.requests.append(note(op, head, payload))
        picked = self.faults.pick(op, head.path, payload)
        if picked:
            self.stats.mark(op, "faulted")
        keep = any(f.do == "lose_reply" or f.spec.get("persist") for f in picked)
        work = asyncio.ensure_future(self._answer(client, holder, op, head, raw, payload, picked))
        gone = asyncio.ensure_future(client.gone())
        try:
            await asyncio.wait({work, gone}, return_when=asyncio.FIRST_COMPLETED)
            if not work.done() and not keep:
                raise Closed
            return await asyncio.shield(work) if keep else await work
        finally:
            gone.cancel()
            await asyncio.wait({gone})  # two can't read from one stream
            if keep and not work.done():  # the client's connection is being dropped, and yet the write has to reach the backend
                holder["detached"] = True
                self._background.add(work)
                work.add_done_callback(lambda w: self._background_done(w, holder))
            else:
                work.cancel()
            self.stats.end(op)

    async def _answer(self, client, holder, op, head, raw, payload, picked):
        await self._flow.wait()
        last = next((f for f in picked if f.do != "delay"), None)
        delays = {w: sum(f.spec.get("seconds", 0) for f in picked if f.do == "delay" and f.spec.get("where", "request") == w)
                  for w in ("request", "reply")}
        if delays["request"]:
            await asyncio.sleep(delays["request"])
        if last and last.do in ("hang", "reset", "close", "error"):
            return await self._refuse(client, last)
        if self.verify is not None:
            refusal = sigv4.check(self.verify, head, payload, self.clock)
            if refusal:
                await client.send(F.error_reply(refusal, self.clock))
                return True
        if self.as_region:
            head.replace("Authorization", sigv4.with_region(head.get("Authorization"), self.as_region))
        if holder["backend"] is None or holder["backend"].eof or holder["backend"].reader.at_eof():
            holder["backend"] = await self._connect()
        backend = holder["backend"]
        try:
            await backend.send(head.render() + raw)
            self.stats.mark(op, "forwarded")
            reply = await backend.head()
            if reply is None:
                raise Bad("the backend closed")
            if delays["reply"]:
                await asyncio.sleep(delays["reply"])
            framing = reply.framing(head.method)
            backend_closes = reply.get("Connection").lower() == "close" or framing[0] == "close"
            client_closes = head.get("Connection").lower() == "close" or framing[0] == "close"
            if not client_closes:
                reply.drop("Connection")
            if last and last.do != "stall":
                await self._spoil(client, backend, reply, framing, last)
            elif last is None and head.get("X-Amz-Target").startswith("DynamoDB_") and not reply.get("x-amz-crc32"):
                _, body = await collect(backend, framing)
                await self._flow.wait()
                reply.drop("Transfer-Encoding")
                reply.set("Content-Length", str(len(body)))
                reply.set("x-amz-crc32", str(zlib.crc32(body)))  # as DynamoDB does, and moto does not
                await client.send(reply.render() + body)
            else:
                await self._flow.wait()
                await client.send(reply.render())
                left = last.spec.get("pieces", 1) if last else None
                async for piece, _ in backend.body(framing):
                    await self._flow.wait()
                    if left == 0:
                        await last.removed.wait()
                        raise Reset
                    await client.send(piece)
                    left = left and left - 1
            self.stats.mark(op, "completed")
        except BaseException:
            backend.reset()
            holder["backend"] = None
            raise
        if backend_closes:
            backend.close()
            holder["backend"] = None
        return not client_closes

    async def _refuse(self, client, fault):
        if fault.do == "error":
            await self._flow.wait()
            await client.send(F.error_reply(fault.spec))
            return True
        if fault.do == "close":
            raise Closed
        if fault.do == "hang":
            await fault.removed.wait()
        raise Reset

    async def _spoil(self, client, backend, reply, framing, fault):
        _, payload = await collect(backend, framing)
        await self._flow.wait()
        if fault.do == "lose_reply":
            raise Reset
        if fault.do == "corrupt":
            payload = F.corrupt(fault.spec, reply, payload)
            await client.send(reply.render() + payload)
            return
        reply.drop("Transfer-Encoding")
        reply.set("Content-Length", str(len(payload)))
        keep = fault.spec.get("keep", len(payload) // 2)
        await client.send(reply.render() + payload[:keep])
        raise Closed


def _linger(sock):
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    except OSError:
        pass
