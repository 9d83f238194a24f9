"""What the SIP scenarios share: three nodes with four workers each, subscribers enough, and phones by one short call.

    with Bench("127.0.21") as bench:
        alice, bob = bench.phone("a"), bench.phone("b", "tcp")     # two fresh subscribers
        alice.register(), bob.register()
"""
import os
import select
import socket
import time

from cluster import three_on_loopback
from phone import Phone, Wire, tls_context
from sipmsg import Message, parse, token

DOMAIN = "skald.test"


class Bench:
    def __init__(self, network, workers=4, users=60, settings=(), **kw):
        self.network = network
        self.cluster = three_on_loopback(DOMAIN, network=network, workers=workers, **kw)
        self.nodes = {n.name: n for n in self.cluster.nodes}
        self.phones = []
        try:
            for key, value in settings:
                self.nodes["a"].cli("set", key, value)
            self.free = [f"u{i}" for i in range(users)]
            rows = "aor,password\n" + "".join(f"{u}@{DOMAIN},secret\n" for u in self.free)
            self.nodes["a"].cli("user", "import", "-", stdin=rows)
        except Exception:
            self.cluster.__exit__(Exception)
            raise
        self.tls = tls_context(os.path.join(self.cluster.dir, "ca.pem"))

    def __enter__(self):
        return self

    def __exit__(self, *error):
        for p in self.phones:
            p.wire.close()
        self.cluster.__exit__(*error)

    def user(self):
        return self.free.pop(0)

    def edge(self, name, transport="udp"):
        return (self.nodes[name].address, 5061 if transport == "tls" else 5060)

    def phone(self, edge, transport="udp", user=None, domain=DOMAIN, register=False, **kw):
        """A phone of a fresh subscriber (or `user`), at node `edge`."""
        kw.setdefault("local_ip", f"{self.network}.{100 + len(self.phones) % 100}")
        p = Phone(user or self.user(), domain, self.edge(edge, transport), transport,
                  tls=self.tls if transport == "tls" else None, server_name=kw.pop("server_name", DOMAIN), **kw)
        self.phones.append(p)
        if register:
            answer = p.register()
            assert answer.status == 200, answer.start
        return p

    def pair(self, one="a", other="b", transport="udp", other_transport=None):
        return (self.phone(one, transport, register=True), self.phone(other, other_transport or transport, register=True))

    def metric(self, name):
        return sum(n.metric(name) for n in self.nodes.values())

    def bindings(self, user):
        return [r for r in self.nodes["c"].cli("registrations", f"{user}@{DOMAIN}")]


class ServerWire:
    """A TCP server's end: takes whatever connections come, answers each request on its own."""

    def __init__(self, ip, port=0):
        self.transport, self.connections, self.source = "tcp", [], None
        self.listener = socket.create_server((ip, port))
        self.local = self.listener.getsockname()

    def send(self, data, to=None):
        (to or self.connections[0]).send(data)

    def receive(self, seconds):
        end = time.monotonic() + seconds
        while True:
            for wire in list(self.connections):
                try:
                    data = wire.receive(0.01)
                except ConnectionError:
                    self.connections.remove(wire)
                    continue
                if data:
                    self.source = wire
                    return data
            left = end - time.monotonic()
            ready = select.select([self.listener] + [w.sock for w in self.connections], [], [], max(0.0, left))[0]
            if self.listener in ready:
                self.connections.append(Wire.accepted(self.listener.accept()[0]))
            elif not ready:
                return None

    def close(self):
        for w in self.connections + [self.listener]:
            w.close()


def other_socket(phone, edge):
    """A second UDP wire of the same address as the phone's, another port."""
    return Wire("udp", (phone.ip, 0), edge)


def status(answer, *wanted):
    assert answer.status in wanted, f"{answer.start}, wanted {' or '.join(map(str, wanted))}"
    return answer


def receive(wire, seconds=3):
    data = wire.receive(seconds)
    return parse(data) if data else None


def free_port(ip, kind=socket.SOCK_DGRAM):
    with socket.socket(socket.AF_INET, kind) as s:
        s.bind((ip, 0))
        return s.getsockname()[1]


def hang_up(dialog, other):
    """BYE by this side, answered by the other phone."""
    bye = dialog.send("BYE")
    other.reply(other.expect_request("BYE"), 200, "OK")
    status(dialog.phone.expect_final(bye), 200)


def re_invite(mine, theirs):
    """A re-INVITE by `mine`'s side, answered and acknowledged; the request as the other side saw it."""
    theirs_phone = theirs.phone
    invite = mine.send("INVITE", body="v=0\r\no=- 1 2 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 0.0.0.0\r\nt=0 0\r\n")
    seen = theirs_phone.expect_request("INVITE")
    theirs_phone.reply(seen, 200, "OK", body="v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 0.0.0.0\r\nt=0 0\r\n")
    status(mine.phone.expect_final(invite), 200)
    mine.send("ACK", cseq=int(invite.get("cseq").split()[0]))
    theirs_phone.expect_request("ACK")
    return seen


def answer_with(phone, code, reason="", headers=()):
    """Takes the INVITE that waits and answers it finally with a failure; the ACK is taken too."""
    invite = phone.expect_request("INVITE")
    phone.reply(invite, code, reason, to_tag=token(4), headers=headers)
    phone.expect_request("ACK")
    return invite


def cancelled(phone, invite):
    """The phone's INVITE is cancelled: it answers as a UAS does; gives the CANCEL."""
    cancel = phone.expect_request("CANCEL")
    phone.reply(cancel, 200, "OK")
    phone.reply(invite, 487, "Request Terminated", to_tag=token(4))
    phone.expect_request("ACK")
    return cancel


def cancel_of(invite, headers=()):
    """The CANCEL for an INVITE (RFC 3261 §9.1)."""
    kept = [(n, v) for n, v in invite.headers if n.lower() in ("via", "max-forwards", "from", "to", "call-id", "route")]
    return Message(f"CANCEL {invite.uri} SIP/2.0", kept + [("CSeq", invite.get("cseq").split()[0] + " CANCEL")] +
                   list(headers))
