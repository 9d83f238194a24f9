#!/usr/bin/env python3
"""`skald partitions`: what may be missing, whom it waits for, and giving that up (consistency.md §4)."""
import contextlib
import json

from cluster import three_on_loopback
from lab import wait_for
from phone import Phone
from scenario import main, scenario


@contextlib.contextmanager
def setup():
    with three_on_loopback(base=221) as c:
        c.add_user("alice")
        yield c


def status(node):
    return json.loads(node.get("/v1/status") or "{}")


def complete(node):
    s = status(node)
    return s.get("partitions_incomplete") == 0 and s.get("partitions_unsettled") == 0


@scenario("of two nodes one dies: the other serves what it has, denies nothing for sure, and says whom it misses; its return ends that")
def _(c):
    a, b, d = c.nodes
    d.cli("leave")
    wait_for("a base of two", 20, lambda: status(a).get("base_members") == 2)
    wait_for("all complete", 5, lambda: complete(a) and complete(b))
    assert a.cli("partitions") == [] and "complete" in a.text("partitions")
    alice = Phone("alice", "skald.test", (a.address, 5060))
    assert alice.register().status == 200
    b.kill()
    wait_for("it is missed", 5, lambda: status(a).get("missing") == ["b"] and status(a)["partitions_incomplete"] > 0)
    assert status(a)["alone"] is True and status(a)["serving"] is True
    rows = a.cli("partitions")
    assert [(r["node"], r["state"], r["missing"]) for r in rows] == [("a", "dead", "b")] and rows[0]["partitions"] > 60000, rows
    wait_for("the metric says so", 3, lambda: a.metric("skald_store_partitions_incomplete") == rows[0]["partitions"])
    assert alice.register().status == 200  # what it has, it serves
    b.start()
    c.wait_active(["a", "b"])
    wait_for("all complete", 10, lambda: complete(a) and complete(b))
    assert a.cli("partitions") == [] and status(a)["missing"] == [] and status(a)["alone"] is False


@scenario("`skald partitions --accept-loss` names what is given up, and absence is sure again")
def _(c):
    a, b, _ = c.nodes  # the third has left
    wait_for("all complete", 5, lambda: complete(a) and complete(b))
    b.kill()
    wait_for("it is missed", 5, lambda: status(a).get("missing") == ["b"])
    told = a.cli("partitions", "--accept-loss")
    assert told["given_up"] == ["b"] and told["partitions"] > 60000, told
    assert complete(a) and a.cli("partitions") == []
    assert a.cli("partitions", "--accept-loss")["given_up"] == []


main(setup)
