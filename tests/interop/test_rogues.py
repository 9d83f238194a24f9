#!/usr/bin/env python3
"""Who must not get in does not, at the overlay's port and at the links', and the cluster serves meanwhile.

A forged DHT id needs a peer that speaks Kademlia by hand: tests/unit/mesh has it.
"""
import contextlib
import os
import re
import socket

from cluster import Node, skald
from lab import wait_for
from rogues import Maker, dtls, tls
from scenario import main, scenario
from sipbench import Bench

MESH, LINK = "skald_mesh_refused_total", "skald_links_refused_total"


class Given:
    def __init__(self, bench):
        self.bench, self.maker = bench, Maker(bench.cluster)
        self.node = bench.nodes["a"]
        self.phones = [bench.phone(name) for name in ("a", "b", "c")]

    def count(self, metric, reason):
        label = f'{metric}{{reason="{reason}"}} '
        text = self.node.get("/metrics") or ""
        return sum(float(line[len(label):]) for line in text.split("\n") if line.startswith(label))

    def serves(self):
        for phone in self.phones:
            answer = phone.register()
            assert answer.status == 200, answer.start

    @contextlib.contextmanager
    def refused(self, metric, reason, words):
        """What happens inside is refused at node a, counted under this reason, with a line in its log; nobody has
        joined, and phones register at every node before, during and after."""
        before, at = self.count(metric, reason), os.path.getsize(self.node.log)
        members = self.node.seen()
        self.serves()
        yield
        wait_for(f"{metric} {reason} counted", 6, lambda: self.count(metric, reason) > before)
        with open(self.node.log, errors="replace") as f:
            f.seek(at)
            new = f.read()
        room = "mesh" if metric == MESH else "link"
        line = re.search(rf"warning {room}: .*{words}.*", new)
        # One line a kind and 10 s: an earlier scenario may have had it.
        assert line or words in open(self.node.log, errors="replace").read(), new
        self.serves()
        assert self.node.seen() == members, (members, self.node.seen())

    def run_rogue(self, pem_name, binary=skald, args=(), address="127.0.31.66"):
        """A real node with a bundle that should not be: the process."""
        n = Node(self.bench.cluster, pem_name, address, args=["--workers", "1", "--dns-port", "5353"] + list(args))
        self.bench.cluster.nodes.append(n)
        n.binary = binary
        return n.start()


@scenario("overlay: a DTLS client without a certificate is refused")
def _(g):
    with g.refused(MESH, "no_certificate", "refused 127.0.0.1:.*"):
        dtls(g.node.address, 4260)


@scenario("overlay: a certificate of another CA, though of the same name, is refused")
def _(g):
    with g.refused(MESH, "foreign_ca", "another CA"):
        dtls(g.node.address, 4260, *g.maker.foreign("x1"))


@scenario("overlay: an expired certificate of our CA is refused")
def _(g):
    with g.refused(MESH, "expired", "expired"):
        dtls(g.node.address, 4260, *g.maker.cert("x2", end="20250101000000Z"))


@scenario("overlay: a certificate that is not yet valid is refused")
def _(g):
    with g.refused(MESH, "not_yet_valid", "not yet valid"):
        dtls(g.node.address, 4260, *g.maker.cert("x3", start="20400101000000Z"))


@scenario("overlay: a certificate for clients only is refused")
def _(g):
    with g.refused(MESH, "wrong_usage", ""):
        dtls(g.node.address, 4260, *g.maker.cert("x4", usage="clientAuth"))


@scenario("overlay: plain UDP, of whatever kind, is refused")
def _(g):
    with g.refused(MESH, "plain", "not DTLS"):
        with contextlib.closing(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as s:
            for data in (b"hello", b"OPTIONS sip:a SIP/2.0\r\n\r\n", b"\x00" * 100, b"\xff" * 1400, b"d1:ad2:id20:" + b"x" * 20,
                         b"\x01" * 40):
                s.sendto(data, (g.node.address, 4260))


@scenario("links: a TLS client without a certificate is refused")
def _(g):
    with g.refused(LINK, "no_certificate", "no certificate"):
        tls(g.node.address, 4260)


@scenario("links: a certificate of another CA is refused")
def _(g):
    with g.refused(LINK, "wrong_authority", "not of this cluster's CA"):
        tls(g.node.address, 4260, *g.maker.foreign("x5"))


@scenario("links: an expired certificate is refused")
def _(g):
    with g.refused(LINK, "expired", "expired"):
        tls(g.node.address, 4260, *g.maker.cert("x6", end="20250101000000Z"))


@scenario("links: a certificate for clients only is refused")
def _(g):
    with g.refused(LINK, "wrong_usage", "not for both"):
        tls(g.node.address, 4260, *g.maker.cert("x7", usage="clientAuth"))


@scenario("links: SIP under the wrong certificate does not get in by its ALPN")
def _(g):
    with g.refused(LINK, "no_certificate", "no certificate"):
        tls(g.node.address, 4260, alpn="sip/2")


@scenario("links: bytes that are no TLS are refused")
def _(g):
    with g.refused(LINK, "handshake", "handshake failed"):
        with contextlib.closing(socket.create_connection((g.node.address, 4260), 3)) as s:
            s.sendall(b"OPTIONS sip:a SIP/2.0\r\n\r\n" * 20)
            with contextlib.suppress(ConnectionError):  # an alert or a reset: the node ends it, not we
                while s.recv(4096):
                    pass


@scenario("a node with the bundle of another cluster of the same domain stays outside")
def _(g):
    cert, key = g.maker.foreign("x8")
    mine = g.maker.ca_cert
    g.maker.ca_cert = os.path.join(g.maker.dir, "x8-ca.pem")
    g.maker.bundle("x8", cert, key, f"{g.node.address}:4260")
    g.maker.ca_cert = mine
    # It judges our certificate before it would have to show its own.
    before = g.count(MESH, "handshake")
    with g.refused(MESH, "handshake", "a handshake that failed"):
        rogue = g.run_rogue("x8")
        wait_for("the rogue is up", 10, lambda: rogue.get("/v1/status"))
        wait_for("it has knocked twice", 10, lambda: g.count(MESH, "handshake") >= before + 2)
        assert g.phones[0].register().status == 200
        assert rogue.active() == [], rogue.members()
        rogue.stop()


@scenario("a node whose program claims a role that its certificate does not permit is held to the certificate")
def _(g):
    # The rogue's program reads "r0le" where it should read "role": for it the certificate permits the registrar, too.
    binary = os.path.join(g.maker.dir, "skald-that-lies")
    with open(skald, "rb") as f:
        program = f.read()
    with open(binary, "wb") as f:
        f.write(program.replace(b"d:ro", b"d:r0"))
    os.chmod(binary, 0o700)
    cert, key = g.maker.cert("x9", roles=("role:proxy", "r0le:proxy", "r0le:registrar"))
    g.maker.bundle("x9", cert, key, f"{g.node.address}:4260")
    before = g.count(MESH, "role")
    g.serves()
    rogue = g.run_rogue("x9", binary)

    def row():
        return next((m for m in g.node.members() if m["name"] == "x9"), None)
    wait_for("the rogue is a member", 15, row)
    assert "registrar" in rogue.get("/v1/roles"), rogue.get("/v1/roles")
    wait_for("its claim is counted", 5, lambda: g.count(MESH, "role") > before)
    assert row()["roles"] == ["proxy"], row()
    assert "claims roles that its certificate does not permit: registrar" in open(g.node.log).read()
    g.serves()
    for user in range(40):
        assert g.node.cli("owner", f"nobody{user}@skald.test")["owner"] != "x9"
    rogue.kill()


@contextlib.contextmanager
def setup():
    with Bench("127.0.31") as bench:
        yield Given(bench)


main(setup)
