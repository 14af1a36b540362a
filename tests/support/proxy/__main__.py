"""The proxy process: `python -m support.proxy` prints {"port": N} and serves the control interface there. README.md has its verbs."""
import asyncio
import json
import resource
import sys
from urllib.parse import parse_qs, urlsplit

from .server import Proxy
from .wire import Bad, Wire, collect


class Control:
    def __init__(self):
        self.proxies = {}

    def describe(self, proxy):
        return {"name": proxy.name, "host": proxy.plain.host, "port": proxy.plain.port, "tls_port": proxy.tls.port if proxy.tls else None,
                "link": proxy.link, "certificate": proxy.certificate, "mode": proxy.mode}

    async def handle(self, method, target, body):
        url = urlsplit(target)
        query = {k: v[-1] for k, v in parse_qs(url.query).items()}
        parts = [p for p in url.path.split("/") if p]
        if not parts:
            if method == "POST":
                proxy = Proxy(**body)
                self.proxies[proxy.name] = proxy
                proxy.set_link("pass")
                return self.describe(proxy)
            return [self.describe(p) for p in self.proxies.values()]
        if parts[0] == "*":  # the same verb to all
            return [await self.one(p, method, parts[1:], query, body) for p in list(self.proxies.values())]
        if parts[0] not in self.proxies:
            raise KeyError(f"no proxy {parts[0]!r}")
        return await self.one(self.proxies[parts[0]], method, parts[1:], query, body)

    async def one(self, proxy, method, parts, query, body):
        verb = (method, *parts)
        if verb == ("GET",):
            return self.describe(proxy)
        if verb == ("DELETE",):
            self.proxies.pop(proxy.name).close()
        elif verb == ("GET", "faults"):
            return [f.describe() for f in proxy.faults.faults]
        elif verb == ("POST", "faults"):
            return {"id": proxy.faults.add(body).ident}
        elif verb[:2] == ("DELETE", "faults"):
            proxy.faults.remove(int(parts[1]) if len(parts) > 1 else None)
        elif verb == ("POST", "seed"):
            proxy.faults.rng.seed(body["seed"])
        elif verb == ("POST", "link"):
            proxy.set_link(body["state"])
        elif verb == ("POST", "drop"):
            proxy.drop_connections()
        elif verb == ("POST", "certificate"):
            proxy.set_certificate(body["kind"])
        elif verb == ("POST", "backend"):
            proxy.backend = {**proxy.backend, **body}
        elif verb == ("POST", "verify"):
            proxy.verify, proxy.clock = body.get("keys"), body.get("clock", 0)
        elif verb == ("GET", "stats"):
            return proxy.stats.dump()
        elif verb == ("POST", "stats", "reset"):
            proxy.stats.reset()
        elif verb == ("POST", "record"):
            proxy.stats.recording = bool(body["on"])
        elif verb == ("GET", "requests"):
            return proxy.stats.requests
        elif verb == ("GET", "wait"):
            met, now = await proxy.stats.wait(query.get("op", "*"), query.get("field", "since_reset"), int(query.get("at_least", 0)),
                                              int(query.get("at_most", 1 << 62)), float(query.get("timeout", 10)))
            return {"met": met, "value": now}
        else:
            raise KeyError(f"no verb {method} {'/'.join(parts)}")
        return {}

    async def serve(self, reader, writer):
        wire = Wire(reader, writer)
        try:
            while (head := await wire.head()) is not None:
                _, payload = await collect(wire, head.framing())
                try:
                    status, answer = 200, await self.handle(head.method, head.start.split(" ")[1], json.loads(payload) if payload else {})
                except KeyError as e:
                    status, answer = 404, {"error": str(e)}
                except (ValueError, TypeError, OSError) as e:
                    status, answer = 400, {"error": str(e)}
                text = json.dumps(answer).encode()
                await wire.send(b"HTTP/1.1 %d X\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % (status, len(text)) + text)
        except (Bad, OSError):
            pass
        finally:
            wire.close()


async def main():
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    server = await asyncio.start_server(Control().serve, "127.0.0.1", 0)
    print(json.dumps({"port": server.sockets[0].getsockname()[1]}), flush=True)
    sys.stdout = sys.stderr
    await server.serve_forever()


if __name__ == "__main__":
    try:
        asyncio.run(main())
    except KeyboardInterrupt:
        pass
