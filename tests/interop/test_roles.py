#!/usr/bin/env python3
"""Roles while nodes run: changed by hand, and claimed by themselves where too few hold one (`--roles auto`)."""
import contextlib
import json
import os

from cluster import Cluster, CommandFailed
from lab import wait_for
from phone import Phone
from scenario import main, scenario

NET = "127.0.0"


@contextlib.contextmanager
def setup():
    with Cluster("skald.test") as c:
        seed = f"{NET}.171:4260"
        common = ["--workers", "1", "--dns-port", "5353"]
        c.node("a", f"{NET}.171", args=common)
        c.node("b", f"{NET}.172", seeds=[seed], args=common + ["--roles", "proxy,registrar"])
        c.node("c", f"{NET}.173", seeds=[seed], args=common + ["--roles", "auto"])
        c.node("d", f"{NET}.174", seeds=[seed], args=common + ["--roles", "auto"], roles=["proxy", "registrar"])
        for n in c.nodes:
            n.start()
        c.wait_active(seconds=30)
        c.add_user("alice")
        yield c


def roles(by, name):
    return next((sorted(m["roles"]) for m in by.members() if m["name"] == name), None)


def published(node):
    rows = json.loads(node.get("/v1/dns") or "{}").get("records", [])
    return {r["data"].split()[-1].split(".")[0] for r in rows if r["type"] == "SRV" and r["name"] == "_sip._udp.skald.test"}


@scenario("nodes with --roles auto claim what too few hold, and no more")
def _(c):
    a, _, _, d = c.nodes
    # Wanted: proxy=2 (a and b), registrar=3 (one more), dns=2 (one more; d may not).
    def enough():
        held = [r for m in a.members() for r in m["roles"]]
        return held.count("registrar") == 3 and held.count("dns") == 2
    wait_for("three registrars and two DNS servers", 20, enough)
    assert roles(a, "c").count("dns") == 1 and "dns" not in roles(a, "d")
    assert [r for m in a.members() for r in m["roles"]].count("proxy") == 2
    assert d.cli("roles")[0]["role"] == "proxy"


@scenario("when the holders of a role die, others that may hold it claim it, and calls go on there")
def _(c):
    a, b, third, d = c.nodes
    b.kill()
    wait_for("it is out of the view", 5, lambda: "b" not in a.seen())
    wait_for("two proxies again", 15, lambda: [r for m in a.members() for r in m["roles"]].count("proxy") == 2)
    heir = next(n for n in (third, d) if "proxy" in roles(a, n.name))
    wait_for("it is in SRV", 5, lambda: published(a) == {"a", heir.name})
    phone = Phone("alice", c.domain, (heir.address, 5060))
    assert phone.register().status == 200
    b.start()
    c.wait_active()


@scenario("roles are changed by hand while the node runs: in every view and in DNS within seconds")
def _(c):
    a, b, _, d = c.nodes
    assert b.cli("roles", "set", "registrar") == {"claimed": ["registrar"]}
    wait_for("all see it", 3, lambda: all(roles(n, "b") == ["registrar"] for n in c.nodes))
    wait_for("it is out of SRV", 5, lambda: "b" not in published(a))
    assert b.cli("roles", "set", "proxy,registrar,dns") == {"claimed": ["proxy", "registrar", "dns"]}
    wait_for("all see it", 3, lambda: all(roles(n, "b") == ["dns", "proxy", "registrar"] for n in c.nodes))
    wait_for("it is in SRV", 5, lambda: "b" in published(a))
    for wrong, says in (("relay", "not built"), ("cook", "does not exist")):
        try:
            b.cli("roles", "set", wrong)
            assert False, wrong
        except CommandFailed as e:
            assert says in e.stderr, e.stderr
    try:
        d.cli("roles", "set", "dns")
        assert False
    except CommandFailed as e:
        assert "does not permit" in e.stderr, e.stderr


@scenario("what was set by hand holds after a restart, until the configuration says something else or is asked for")
def _(c):
    a, b = c.nodes[:2]

    def restarted():
        assert b.stop() == 0
        b.start()
        c.wait_active()
        return roles(a, "b")
    assert b.cli("roles", "set", "registrar") == {"claimed": ["registrar"]}
    assert restarted() == ["registrar"]
    assert b.cli("status")["roles_set"] == ["registrar"]
    assert b.cli("roles", "set", "configured") == {"claimed": ["proxy", "registrar"]}
    assert restarted() == ["proxy", "registrar"]
    b.cli("roles", "set", "registrar")
    b.args[b.args.index("--roles") + 1] = "proxy,registrar,dns"
    assert restarted() == ["dns", "proxy", "registrar"]
    b.cli("roles", "set", "registrar")
    with open(os.path.join(b.state, "roles.json"), "w") as f:
        f.write("no json")
    assert restarted() == ["dns", "proxy", "registrar"]


@scenario("the minimums are a setting, and nonsense is refused")
def _(c):
    a = c.nodes[0]
    a.cli("set", "roles.min", "proxy=4")
    wait_for("four proxies", 20, lambda: [r for m in a.members() for r in m["roles"]].count("proxy") == 4)
    try:
        a.cli("set", "roles.min", "proxy=many")
        assert False
    except CommandFailed as e:
        assert "ROLE=NUMBER" in e.stderr, e.stderr


main(setup)
