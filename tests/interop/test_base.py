#!/usr/bin/env python3
"""Real nodes and the base (consistency.md §7): it follows who is there, a node that is left alone steps out, and a cluster
that was off begins with more than half of it, or on the operator's word."""
import contextlib
import json
import socket

from cluster import three_on_loopback
from lab import wait_for
from phone import Phone
from scenario import main, scenario


@contextlib.contextmanager
def setup():
    with three_on_loopback(base=201) as c:
        c.add_user("alice")
        yield c


def base(node):
    return json.loads(node.get("/v1/base") or "{}")


def base_names(node):
    return sorted(m["name"] for m in base(node).get("members", []))


def status(node):
    return json.loads(node.get("/v1/status") or "{}")


def rcode(node, name):
    """The code of the embedded server's answer to an SRV question."""
    question = b"".join(bytes([len(p)]) + p.encode() for p in name.split(".")) + b"\0" + b"\0\x21\0\1"
    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    s.settimeout(1)
    try:
        s.sendto(b"\0\7\1\0\0\1\0\0\0\0\0\0" + question, (node.address, 5353))
        return s.recv(1500)[3] & 15
    except OSError:
        return None
    finally:
        s.close()


@scenario("three nodes have one base of three, and say so")
def _(c):
    wait_for("one base of three", 5, lambda: all(base_names(n) == ["a", "b", "c"] for n in c.nodes) and
             len({base(n)["epoch"] for n in c.nodes}) == 1)
    s = c.nodes[1].cli("status")
    assert s["base_members"] == 3 and s["base_here"] == 3 and s["isolated"] is False, s
    assert "a" in c.nodes[2].text("base") and "majority" in c.nodes[2].text("base")


@scenario("a node that is left alone of three steps out: 503 with Retry-After, SERVFAIL; and is back when another is")
def _(c):
    a, b, d = c.nodes
    alice = Phone("alice", "skald.test", (a.address, 5060))
    assert alice.register().status == 200
    assert rcode(a, "_sip._udp.skald.test") == 0
    b.kill()
    d.kill()
    wait_for("it knows that it is alone", 5, lambda: status(a).get("isolated"))
    assert status(a)["serving"] is False and a.active() == ["a"]
    refused = alice.register()
    assert refused.status == 503 and refused.all("retry-after"), refused.start
    wait_for("its DNS says SERVFAIL", 3, lambda: rcode(a, "_sip._udp.skald.test") == 2)
    assert a.metric("skald_cluster_isolated") == 1
    assert base_names(a) == ["a", "b", "c"]  # however long it lasts: it shrinks nothing
    b.start()
    wait_for("it serves again", 10, lambda: status(a).get("serving") and not status(a).get("isolated"))
    assert alice.register().status == 200
    d.start()
    c.wait_active()


@scenario("a node that died for good is out of the base in some ten seconds")
def _(c):
    a, b, d = c.nodes
    d.kill()
    wait_for("a base of two", 25, lambda: base_names(a) == base_names(b) == ["a", "b"])
    assert base(a)["epoch"] == base(b)["epoch"]
    d.start()
    c.wait_active()
    wait_for("a base of three again", 5, lambda: all(base_names(n) == ["a", "b", "c"] for n in c.nodes))


@scenario("everything off: one of three waits and names whom it misses; two begin")
def _(c):
    a, b, d = c.nodes
    for n in c.nodes:
        n.kill()
    b.start()
    waits = wait_for("it says for whom", 10, lambda: status(b).get("waiting_for"))
    assert "2 of 3 members" in waits and "--accept" in waits, waits
    d.start()
    c.wait_active(["b", "c"])
    a.start()
    c.wait_active()


@scenario("everything off and two lost for good: `skald base --accept` names the risk, and the one goes on")
def _(c):
    a, b, d = c.nodes
    wait_for("a base of three", 5, lambda: all(base_names(n) == ["a", "b", "c"] for n in c.nodes))
    for n in c.nodes:
        n.kill()
    d.start()
    wait_for("it waits", 10, lambda: "2 of 3" in status(d).get("waiting_for", ""))
    told = d.cli("base", "--accept")
    assert len(told["given_up"]) == 2 and "two clusters" in told["risk"], told
    c.wait_active(["c"])
    assert base_names(d) == ["c"]
    # The others were not gone after all: they meet, and are one cluster again.
    a.start()
    b.start()
    c.wait_active()
    wait_for("one base of three", 10, lambda: all(base_names(n) == ["a", "b", "c"] for n in c.nodes))


main(setup)
