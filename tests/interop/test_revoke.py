#!/usr/bin/env python3
"""Certificates in a running cluster (consistency.md §8): a revoked node is cut off everywhere within two seconds and for
good; a renewed certificate is taken over with no restart and nothing dropped."""
import contextlib
import json
import os
import shutil
import time

from cluster import Node, three_on_loopback
from lab import wait_for
from phone import Phone, establish
from scenario import main, scenario
from sipbench import hang_up


@contextlib.contextmanager
def setup():
    with three_on_loopback(base=222) as c:
        for user in ("alice", "bob"):
            c.add_user(user)
        yield c


def status(node):
    return json.loads(node.get("/v1/status") or "{}")


def rewrite(path, text):
    """As an operator's copy: another file in its place."""
    with open(path + ".tmp", "w") as f:
        f.write(text)
    os.chmod(path + ".tmp", 0o600)
    os.replace(path + ".tmp", path)


@scenario("a renewed certificate is taken within seconds: no restart, no link, session, flow or call lost")
def _(c):
    a, b, d = c.nodes
    alice = Phone("alice", c.domain, (b.address, 5060), transport="tcp")
    bob = Phone("bob", c.domain, (d.address, 5060))
    assert alice.register().status == 200 and bob.register().status == 200
    mine, _ = establish(alice, bob)
    before, pid = status(b), b.process.popen.pid
    lives = [n.metric("skald_swim_removals_total") + n.metric("skald_swim_new_lives_total") for n in c.nodes]
    handshakes = b.metric("skald_mesh_handshakes_total")
    links = [n.metric("skald_links_up") for n in c.nodes]
    time.sleep(1.1)  # certificates' times have seconds: the new one must differ to be seen
    c.run_cli("cert", "renew", "b", "--dir", c.dir)
    wait_for("the node shows the new certificate's end", 10, lambda: status(b).get("certificate_until") not in (None, before["certificate_until"]))
    assert "took the renewed certificate" in b.process.text()
    wait_for("sessions under it stand", 10, lambda: b.metric("skald_mesh_handshakes_total") >= handshakes + 2)
    assert b.process.popen.pid == pid and b.process.alive()
    assert [n.metric("skald_links_up") for n in c.nodes] == links
    hang_up(mine, bob)
    assert alice.register().status == 200  # over the same connection
    assert [n.metric("skald_swim_removals_total") + n.metric("skald_swim_new_lives_total") for n in c.nodes] == lives
    assert all(n.active() == ["a", "b", "c"] for n in c.nodes)


@scenario("a bundle that does not fit is refused with a line in the log, and the node goes on with the old one")
def _(c):
    b = c.nodes[1]
    path = os.path.join(c.dir, "b.pem")
    with open(path) as f:
        good = f.read()
    until = status(b)["certificate_until"]
    with open(os.path.join(c.dir, "c.pem")) as f:
        rewrite(path, f.read())
    wait_for("it says that it is another node's", 10, lambda: "the new bundle is not used" in b.process.text())
    rewrite(path, good)
    assert status(b)["certificate_until"] == until and b.process.alive()


@scenario("a revoked node is out of every view within two seconds, stops, and counts in no base")
def _(c):
    a, b, d = c.nodes
    alice = Phone("alice", c.domain, (a.address, 5060))
    assert alice.register().status == 200
    keys = status(a)["keys"]
    began = time.monotonic()
    c.run_cli("revoke", "c", "--dir", c.dir, "--control", a.control)
    wait_for("out of both views", 2, lambda: a.active() == b.active() == ["a", "b"], 0.02)
    wait_for("no session with it is left", max(0.1, 2 - (time.monotonic() - began)),
             lambda: status(a)["mesh_peers"] == status(b)["mesh_peers"] == 1, 0.02)
    wait_for("it has stopped", 10, lambda: not d.process.alive())
    assert d.process.popen.returncode != 0
    assert "certificate was revoked" in d.process.text()
    assert all(status(n)["revoked_certificates"] == 1 for n in (a, b))
    assert sorted(m["name"] for m in json.loads(a.get("/v1/base"))["members"]) == ["a", "b"]
    wait_for("a new cluster key everywhere", 10, lambda: all(status(n)["keys"] == keys + 1 for n in (a, b)))
    assert alice.register().status == 200


@scenario("it is refused ever after: from its own state directory, from an empty one, and after the others started anew")
def _(c):
    a, b, d = c.nodes
    d.start()
    wait_for("it does not even start", 10, lambda: not d.process.alive())
    assert d.process.popen.returncode == 1 and "issue a new bundle where the CA is" in d.process.text()
    b.kill()
    b.start()
    c.wait_active(["a", "b"])
    assert status(b)["revoked_certificates"] == 1  # it was kept
    shutil.rmtree(d.state)
    refused = a.metric("skald_mesh_refused_total") + b.metric("skald_mesh_refused_total")
    d.start()  # as who stole the bundle would
    wait_for("it is refused", 10, lambda: a.metric("skald_mesh_refused_total") + b.metric("skald_mesh_refused_total") > refused)
    assert a.active() == b.active() == ["a", "b"]
    d.kill()
    assert a.seen() == ["a", "b"]


@scenario("a node that joins later learns of it; the list is known, and a forged one is refused")
def _(c):
    a = c.nodes[0]
    fresh = c.node("e", "127.0.0.226", seeds=[f"{a.address}:4260"], args=["--workers", "1", "--dns-port", "5353"])
    fresh.start()
    c.wait_active(["a", "b", "e"])
    wait_for("it knows the list", 5, lambda: status(fresh).get("revoked_certificates") == 1)
    told = json.loads(c.run_cli("revoke", "--crl", os.path.join(c.dir, "ca.crl"), "--control", a.control, "--json"))
    assert told["taken"] is False
    other = os.path.join(c.dir, "other")
    c.run_cli("cluster", "init", "skald.test", "--dir", other)
    c.run_cli("cert", "issue", "a", "--dir", other)
    try:
        c.run_cli("revoke", "a", "--dir", other, "--control", a.control)
        assert False, "a list of another CA was taken"
    except Exception as e:
        assert "no revocation list of this cluster's CA" in str(e), e
    assert a.active() == ["a", "b", "e"]


main(setup)
