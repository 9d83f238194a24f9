#!/usr/bin/env python3
"""The same bundle started twice (consistency.md §7): the second process stops within seconds, says why and where the other
is, and leaves the first one's place in the cluster alone."""
import contextlib
import json
import os
import shutil

from cluster import Node, three_on_loopback
from lab import wait_for
from phone import Phone
from scenario import main, scenario

NET = "127.0.0"


@contextlib.contextmanager
def setup():
    with three_on_loopback(base=211) as c:
        for user in ("alice", "bob"):
            c.add_user(user)
        yield c


def start_twin(c, of, last, *more):
    """A second process with the bundle of `of`, on another address and another state directory."""
    shutil.copy(os.path.join(c.dir, of.name + ".pem"), os.path.join(c.dir, "copy.pem"))
    os.chmod(os.path.join(c.dir, "copy.pem"), 0o600)
    twin = Node(c, "copy", f"{NET}.{last}", args=["--workers", "1", "--dns-port", "5353"] + list(more))
    shutil.rmtree(twin.state, ignore_errors=True)
    if os.path.exists(twin.log):
        os.remove(twin.log)
    return twin.start()


def address_of(seen_by, name):
    return [m["address"] for m in seen_by.members() if m["name"] == name]


def check_twin_of(c, of, last, *more):
    others = [n for n in c.nodes if n is not of]
    phone = Phone("alice", c.domain, (of.address, 5060))
    assert phone.register().status == 200
    twin = start_twin(c, of, last, *more)
    try:
        wait_for("the second one has ended", 15, lambda: not twin.process.alive())
        assert twin.process.popen.returncode != 0, twin.process.popen.returncode
        said = twin.process.text()
        assert f"another process runs with this node's bundle at {of.address}:4260" in said, said
        assert "does not leave" in said, said
    finally:
        twin.kill()
    wait_for("the first one serves", 10, lambda: json.loads(of.get("/v1/status") or "{}").get("serving"))
    c.wait_active()
    for n in others:
        wait_for("its place is its own again", 5, lambda: address_of(n, of.name) == [of.address])
    assert of.process.alive()
    assert "is to stop, this one goes on" in of.process.text()
    assert phone.register().status == 200
    return phone


@scenario("a second copy of a running node's bundle stops within seconds, and the first goes on serving")
def _(c):
    phone = check_twin_of(c, c.nodes[1], 218)
    bob = Phone("bob", c.domain, (c.nodes[2].address, 5060))
    wait_for("writes are taken everywhere", 5, lambda: bob.register().status == 200)  # its owner may be merging yet
    call = bob.start_call("alice")
    incoming = phone.expect_request("INVITE")
    phone.reply(incoming, 486, "Busy Here", to_tag="t1")
    final = bob.expect_final(call)
    bob.ack_failure(call, final)
    assert final.status == 486, final.start


@scenario("the founder's bundle, too, and again")
def _(c):
    for last in (219, 220):
        check_twin_of(c, c.nodes[0], last, "--seed", f"{c.nodes[1].address}:4260")


@scenario("a node that moves to another address is no twin: nobody answers at the old one")
def _(c):
    n = c.nodes[2]
    n.kill()
    moved = Node(c, n.name, f"{NET}.221", args=n.args)
    moved.state, moved.control = n.state, n.control
    try:
        moved.start()
        wait_for("it serves at its new address", 20,
                 lambda: moved.active() == ["a", "b", "c"] and address_of(c.nodes[0], "c") == [f"{NET}.221"])
    finally:
        moved.kill()
    n.start()
    c.wait_active(seconds=20)


main(setup)
