#!/usr/bin/env python3
"""`skald drain`: out of DNS at once, nothing new, what runs or rings goes on to its end, then the node leaves; progress is shown."""
import contextlib
import json
import subprocess
import time

from cluster import skald, three_on_loopback
from lab import wait_for
from phone import Dialog, Phone, establish
from scenario import main, scenario
from sipbench import hang_up


@contextlib.contextmanager
def setup():
    with three_on_loopback(base=231) as c:
        for user in ("alice", "bob", "carol"):
            c.add_user(user)
        yield c


def published(node):
    rows = json.loads(node.get("/v1/dns") or "{}").get("records", [])
    return {r["data"].split()[-1].split(".")[0] for r in rows if r["type"] == "SRV" and r["name"] == "_sip._udp.skald.test"}


@scenario("a node drains: nothing new comes, its call goes on and ends, and then it leaves")
def _(c):
    a, b, d = c.nodes
    alice = Phone("alice", c.domain, (b.address, 5060))
    bob = Phone("bob", c.domain, (a.address, 5060))
    carol = Phone("carol", c.domain, (b.address, 5060))
    assert alice.register().status == 200 and bob.register().status == 200
    mine, _ = establish(alice, bob)
    wait_for("the call is noted", 5, lambda: len(a.cli("calls")) == 1)
    assert published(a) == {"a", "b", "c"}
    drain = subprocess.Popen([skald, "drain", "--control", b.control], stdout=subprocess.PIPE, text=True)
    wait_for("all see it draining", 3, lambda: all(("b", "draining") in [(m["name"], m["state"]) for m in n.members()] for n in c.nodes))
    wait_for("it is out of SRV", 2, lambda: published(a) == {"a", "c"})
    refused = carol.register()
    assert refused.status == 503, refused.start
    wait_for("it counts its call", 5, lambda: json.loads(b.get("/v1/drain"))["calls"] == 1)
    # For longer than the looks that find no call would take, were there none.
    for _ in range(6):
        time.sleep(1)
        assert b.process.alive() and json.loads(b.get("/v1/drain"))["calls"] == 1
    hang_up(mine, bob)
    wait_for("it has left", 30, lambda: not b.process.alive())
    out, _ = drain.communicate(timeout=20)
    assert drain.returncode == 0 and "draining: 1 calls" in out and out.rstrip().endswith("left"), out
    assert b.process.popen.returncode == 0
    wait_for("the others know", 2, lambda: a.active() == d.active() == ["a", "c"])
    assert a.metric("skald_swim_removals_total") == d.metric("skald_swim_removals_total") == 0


@scenario("what rings is waited for too, at the caller's edge and at the callee's, and counted")
def _(c):
    a, b, _ = c.nodes
    b.start()
    c.wait_active()
    alice, carol = (Phone(u, c.domain, (b.address, 5060)) for u in ("alice", "carol"))
    bob = Phone("bob", c.domain, (a.address, 5060))
    for p in (alice, bob, carol):
        assert p.register().status == 200
    out = alice.start_call("bob")
    at_bob = bob.expect_request("INVITE")
    bob.reply(at_bob, 180, "Ringing", to_tag="b1")
    alice.expect_status(out, 180)
    back = bob.start_call("carol")
    at_carol = carol.expect_request("INVITE")
    carol.reply(at_carol, 180, "Ringing", to_tag="c1")
    bob.expect_status(back, 180)
    drain = subprocess.Popen([skald, "drain", "--control", b.control], stdout=subprocess.PIPE, text=True)

    def left():
        now = json.loads(b.get("/v1/drain"))
        return now["calls"], now["ringing"]
    wait_for("both ring", 5, lambda: left() == (0, 2))
    carol.reply(at_carol, 486, "Busy Here", to_tag="c1")
    carol.expect_request("ACK")
    bob.ack_failure(back, bob.expect_final(back))
    wait_for("one rings", 5, lambda: left() == (0, 1))
    for _ in range(5):  # for longer than the looks that find nothing would take
        time.sleep(1)
        assert b.process.alive() and left() == (0, 1)
    sent = bob.reply(at_bob, 200, "OK", to_tag="b1", body="v=0\r\n")
    ok = alice.expect_final(out)
    assert ok.status == 200, ok.start
    mine = Dialog(alice, out, ok, True)
    mine.ack()
    bob.expect_request("ACK")
    assert sent.get("call-id") == ok.get("call-id")
    wait_for("it is a call", 5, lambda: left() == (1, 0))
    hang_up(mine, bob)
    wait_for("it has left", 30, lambda: not b.process.alive())
    text, _ = drain.communicate(timeout=20)
    assert drain.returncode == 0 and "0 calls pass here, 2 ring" in text and text.rstrip().endswith("left"), text


@scenario("without a call it leaves in seconds; the answer to `skald leave` comes whole")
def _(c):
    a, b, d = c.nodes
    b.start()
    c.wait_active()
    assert b.cli("drain", timeout=30) == {"left": True}
    wait_for("it has ended", 10, lambda: not b.process.alive())
    for _ in range(3):
        b.start()
        c.wait_active()
        assert b.cli("leave") == {"left": True}
        wait_for("it has ended", 10, lambda: not b.process.alive())


main(setup)
