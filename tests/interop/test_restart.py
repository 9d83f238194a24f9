#!/usr/bin/env python3
"""What outlives a restart: an edge finds the UDP flows again that it served before (sip.md §4)."""
import contextlib

from cluster import three_on_loopback
from lab import wait_for
from phone import Phone
from scenario import main, scenario


@contextlib.contextmanager
def setup():
    with three_on_loopback(base=181, workers=2) as c:
        for user in ("alice", "bob", "carol"):
            c.add_user(user)
        yield c


def stranger_on(phone):
    """A request that claims to come from elsewhere, on this phone's flow: only a subscriber's flow is challenged."""
    m = phone.request("MESSAGE", "sip:bob@skald.test", from_uri="sip:someone@elsewhere.test", body="x", content_type="text/plain")
    phone.send(m)
    return phone.expect_final(m).status


@scenario("after a restart an edge knows whose UDP flow it is, and challenges it whatever its From says")
def _(c):
    a = c.nodes[0]
    alice = Phone("alice", "skald.test", (a.address, 5060))
    assert alice.register().status == 200
    assert stranger_on(alice) == 407
    a.kill()
    wait_for("the others go on", 5, lambda: c.nodes[1].active() == ["b", "c"])
    a.start()
    c.wait_active()
    wait_for("the edge adopts its bindings", 5, lambda: "name this node as their edge" in a.process.text())
    assert stranger_on(alice) == 407
    assert len(c.nodes[1].cli("registrations", "alice@skald.test")) == 1


@scenario("after a restart a call reaches the phone over its old UDP flow")
def _(c):
    a, b = c.nodes[0], c.nodes[1]
    carol = Phone("carol", "skald.test", (a.address, 5060))
    bob = Phone("bob", "skald.test", (b.address, 5060))
    assert carol.register().status == 200 and bob.register().status == 200
    a.kill()
    a.start()
    c.wait_active()
    call = bob.start_call("carol")
    incoming = carol.expect_request("INVITE")
    carol.reply(incoming, 486, "Busy Here", to_tag="t1")
    final = bob.expect_final(call)
    bob.ack_failure(call, final)
    assert final.status == 486, final.start


main(setup)
