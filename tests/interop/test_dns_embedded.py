#!/usr/bin/env python3
"""The cluster answers for its zone by itself: UDP and TCP, on every node with the role dns."""
import contextlib
import subprocess
import time

from cluster import three_on_loopback, wait_for
from scenario import main, scenario

ZONE, NETWORK = "skald.test", "127.0.75"


def dig(node, name, kind, *more):
    return subprocess.run(["dig", "+time=1", "+tries=1", "+norec", "-p", "5353", f"@{node.address}", name, kind, *more],
                          capture_output=True, text=True, timeout=20).stdout


def short(node, name, kind, *more):
    return sorted(l for l in dig(node, name, kind, "+short", *more).split("\n") if l and not l.startswith(";"))


@scenario("every node answers the same, over UDP and over TCP")
def _(c):
    for node in c.nodes:
        for how in ("+notcp", "+tcp"):
            assert len(short(node, f"_sip._udp.{ZONE}", "SRV", how)) == 3
            assert len(short(node, ZONE, "NAPTR", how)) == 2
            assert short(node, ZONE, "NS", how) == [f"{n}.{ZONE}." for n in "abc"]
            assert len(short(node, ZONE, "A", how)) == 1
            assert short(node, f"b.{ZONE}", "A", how) == [f"{NETWORK}.12"]


@scenario("no such name and no such type come with the SOA, a foreign name is refused, transfers too")
def _(c):
    a = c.nodes[0]
    got = dig(a, f"nobody.{ZONE}", "A")
    assert "NXDOMAIN" in got and "SOA" in got and " aa" in got, got
    got = dig(a, f"a.{ZONE}", "AAAA")
    assert "NOERROR" in got and "ANSWER: 0" in got and "SOA" in got, got
    assert "REFUSED" in dig(a, "example.org", "A")
    assert "Transfer failed" in dig(a, ZONE, "AXFR")


@scenario("an answer brings its targets' addresses, in turning order")
def _(c):
    a = c.nodes[0]
    got = dig(a, f"_sip._tcp.{ZONE}", "SRV")
    assert all(f"{NETWORK}.{n}" in got for n in (11, 12, 13)), got
    first = {dig(a, f"_sip._tcp.{ZONE}", "SRV", "+short").split("\n")[0] for _ in range(30)}
    assert len(first) == 3, first


@scenario("a flood from one source gets little, and TCP goes on")
def _(c):
    a = c.nodes[0]
    import socket
    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    s.setsockopt(socket.SOL_SOCKET, 33, 8 << 20)  # SO_RCVBUFFORCE: the answers wait until all is sent
    query = b"\0\7\0\0\0\1\0\0\0\0\0\0\5skald\4test\0\0\x23\0\1"
    for _ in range(3000):
        s.sendto(query, (a.address, 5353))
    s.settimeout(0.5)
    whole = cut = 0
    with contextlib.suppress(TimeoutError):
        while True:
            answer = s.recv(4096)
            whole, cut = (whole, cut + 1) if answer[2] & 2 else (whole + 1, cut)
    print(f"     3000 queries at once: {whole} answered, {cut} cut short")
    assert whole <= 1500 and cut > 0
    assert len(short(a, ZONE, "NAPTR", "+tcp")) == 2
    wait_for("the source is answered over UDP again", 5,
             lambda: len(short(a, ZONE, "NAPTR", "+notcp", "+ignore")) == 2)


@scenario("`skald dns` and `skald dns --setup` say what is there and what a parent zone needs")
def _(c):
    a = c.nodes[0]
    got = a.cli("dns")
    assert got["state"] == "embedded" and all(r["published"] for r in got["records"]), got
    text = a.text("dns", "--setup")
    for part in (f"b.{ZONE}.", f"{NETWORK}.12", "update-policy", "knot.conf", "TSIG-ALLOW-DNSUPDATE"):
        assert part in text, (part, text)


@scenario("a node that leaves is out of SRV within 2 s, the serial moves on, its name stays")
def _(c):
    a, leaver = c.nodes[0], c.nodes[2]
    serial = int(short(a, ZONE, "SOA")[0].split()[2])
    started = time.monotonic()
    leaver.cli("leave")
    wait_for("two are left", 2 - (time.monotonic() - started), lambda: len(short(a, f"_sip._udp.{ZONE}", "SRV")) == 2)
    assert (int(short(a, ZONE, "SOA")[0].split()[2]) - serial) % 2**32 < 2**31
    assert int(short(a, ZONE, "SOA")[0].split()[2]) != serial
    wait_for("its name points at the others", 5, lambda: short(a, f"c.{ZONE}", "A") == [f"{NETWORK}.11", f"{NETWORK}.12"])


@contextlib.contextmanager
def setup():
    with three_on_loopback(ZONE, network=NETWORK) as c:
        wait_for("every node names all three", 5,
                 lambda: all(len(short(n, f"_sip._udp.{ZONE}", "SRV")) == 3 for n in c.nodes))
        yield c


main(setup)
