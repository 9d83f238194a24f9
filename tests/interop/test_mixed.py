#!/usr/bin/env python3
"""A cluster of this version and the one before (tests/mixed/previous): upgraded node by node, and one step back again.

Design §10: hello says which wire versions a node speaks, bodies are positional and only grow at their end. What counts is
seen from outside: nothing that was registered is lost, calls and writes pass between the versions.
"""
import contextlib
import os
import sys

from cluster import Cluster, root, skald
from lab import wait_for
from phone import Phone, establish
from scenario import main, scenario
from sipbench import hang_up

previous = os.environ.get("SKALD_PREVIOUS", os.path.join(root, "build", "previous", "node", "skald"))
# Frames and datagrams that a node could not read: all stay 0.
unreadable = ["skald_store_frames_malformed_total", "skald_swim_malformed_total"]


@contextlib.contextmanager
def setup():
    with Cluster() as c:
        for i, name in enumerate("abc"):
            n = c.node(name, f"127.0.36.{11 + i}", seeds=["127.0.36.11:4260"] if i else [],
                       args=["--workers", "2", "--dns-port", "5353"])
            n.binary = previous
            n.start()
        c.wait_active()
        c.phones = {}
        for i in range(12):
            c.add_user(f"u{i}")
            edge = c.nodes[i % 3]
            c.phones[f"u{i}"] = Phone(f"u{i}", c.domain, (edge.address, 5060), local_ip=f"127.0.36.{100 + i}")
            answer = c.phones[f"u{i}"].register(expires=600)
            assert answer.status == 200, answer.start
        yield c
        for p in c.phones.values():
            p.wire.close()


def version_runs(node, binary):
    node.stop()
    node.binary = binary
    node.start()


def everything_found(c):
    """Each node names every binding, and a phone at each node can call one at the next."""
    wanted = sorted(f"{u}@{c.domain}" for u in c.phones)
    for n in c.nodes:
        found = sorted(r["aor"].removeprefix("sip:") for r in n.cli("registrations"))
        assert found == wanted, f"{n.name} lists {found}"
    for caller, callee in (("u0", "u1"), ("u1", "u2"), ("u2", "u0")):
        mine, _ = establish(c.phones[caller], c.phones[callee])
        hang_up(mine, c.phones[callee])


def writes_pass(c, name):
    """A subscriber made at one node is usable at each other at once; refreshes through every edge are answered 200."""
    c.nodes[0].cli("user", "add", f"{name}@{c.domain}", "--password-stdin", stdin="secret\n")
    for i, n in enumerate(c.nodes):
        p = Phone(name, c.domain, (n.address, 5060), local_ip=f"127.0.36.{150 + i}")
        for expires in (300, 0):
            answer = p.register(expires=expires)
            assert answer.status == 200, f"through {n.name}: {answer.start}"
        p.wire.close()
    for p in c.phones.values():
        answer = p.register(expires=600)
        assert answer.status == 200, answer.start


def read_each_other(c):
    for n in c.nodes:
        # Until 4677ca9 the last of these counted unsent frames too.
        for metric in unreadable + (["skald_link_frames_refused_total"] if n.binary == skald else []):
            assert n.metric(metric) == 0, f"{n.name}: {metric} is {n.metric(metric)}"


def step(c, node, binary, name):
    version_runs(node, binary)
    c.wait_active()
    everything_found(c)
    writes_pass(c, name)
    read_each_other(c)


@scenario("one node of three is upgraded: the new one joins the old ones, nothing is lost, calls and writes pass")
def _(c):
    step(c, c.nodes[2], skald, "after-one")


@scenario("a second one: the old node is the minority")
def _(c):
    step(c, c.nodes[1], skald, "after-two")


@scenario("one is taken back to the version before, from the state that the new one wrote")
def _(c):
    step(c, c.nodes[1], previous, "after-back")


@scenario("a node of the version before is killed: the new ones take its subscribers over")
def _(c):
    b = c.nodes[1]
    b.kill()
    wait_for("it is out of every view", 5, lambda: all("b" not in n.seen() for n in c.nodes if n is not b))
    wanted = sorted(f"{u}@{c.domain}" for u in c.phones)
    for n in (c.nodes[0], c.nodes[2]):
        assert sorted(r["aor"].removeprefix("sip:") for r in n.cli("registrations")) == wanted
    b.binary = skald
    b.start()
    c.wait_active()


@scenario("the last one is upgraded: all run this version")
def _(c):
    step(c, c.nodes[0], skald, "after-all")


if not os.path.exists(previous):
    print(f"not run: there is no {previous}; tests/mixed/build makes it, where the whole history is")
    print("0 passed, 0 failed")
    sys.exit(0)
main(setup)
