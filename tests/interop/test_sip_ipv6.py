#!/usr/bin/env python3
"""IPv6: three nodes on ::1, told apart by their ports, and one more on both families (RFC 3261 §25.1, RFC 5118)."""
import contextlib
import os

from cluster import Cluster
from phone import Phone, establish, tls_context
from scenario import main, scenario
from sipbench import DOMAIN, hang_up, re_invite, status

PORTS = {"a": 5160, "b": 5170, "c": 5180, "both": 5190}


@contextlib.contextmanager
def cluster():
    with Cluster(DOMAIN) as c:
        for i, (name, sip) in enumerate(PORTS.items()):
            more = ["--address", "127.0.29.11"] if name == "both" else []
            c.node(name, "::1", seeds=[] if i == 0 else ["[::1]:5164"], args=more + [
                "--workers", "2", "--sip-port", str(sip), "--sips-port", str(sip + 1), "--dns-port", str(sip + 2),
                "--overlay-port", str(sip + 4), "--link-port", str(sip + 5)])
        for n in c.nodes:
            n.start()
        c.wait_active(seconds=30)
        for user in ("anna", "ben", "cora", "dan"):
            c.add_user(user)
        c.tls = tls_context(os.path.join(c.dir, "ca.pem"))
        yield c


def phone(c, user, edge, transport="udp", ip="::1", at="::1"):
    port = PORTS[edge] + (1 if transport == "tls" else 0)
    p = Phone(user, DOMAIN, (at, port), transport, local_ip=ip, tls=c.tls if transport == "tls" else None,
              server_name=DOMAIN)
    if ":" in ip:
        p.ip = f"[{p.ip}]"
    status(p.register(), 200)
    return p


def call(one, other):
    mine, theirs = establish(one, other)
    re_invite(theirs, mine)
    hang_up(mine, other)
    mine, theirs = establish(one, other)
    hang_up(theirs, one)


for one in ("udp", "tcp", "tls"):
    @scenario(f"over IPv6 {one} calls udp through two edges, both sides re-INVITE and hang up")
    def _(c, one=one):
        p, q = phone(c, "anna", "a", one), phone(c, "ben", "b")
        call(p, q)
        call(q, p)
        for x in (p, q):
            x.register(expires=0)
            x.wire.close()


@scenario("an IPv4 phone and an IPv6 phone call each other through the cluster")
def _(c):
    p, q = phone(c, "cora", "both", "udp", "127.0.29.100", "127.0.29.11"), phone(c, "dan", "c")
    call(p, q)
    call(q, p)


@scenario("IPv6 addresses in Via, Contact and Record-Route are bracketed, and received is not (RFC 5118 §4.5)")
def _(c):
    p, q = phone(c, "anna", "a"), phone(c, "ben", "b")
    invite = p.start_call("ben")
    seen = q.expect_request("INVITE")
    for value in seen.all("record-route") + seen.all("via"):
        assert "::1" not in value or "[::1]" in value or "received=::1" in value, value
    assert any("[::1]:5170" in v for v in seen.all("record-route")), seen.all("record-route")
    q.reply(seen, 486, to_tag="x")
    p.ack_failure(invite, status(p.expect_final(invite), 486))


main(cluster)
