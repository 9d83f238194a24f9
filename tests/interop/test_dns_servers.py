#!/usr/bin/env python3
"""The cluster publishes itself at real DNS servers, with TSIG, beside records that are not its own."""
import contextlib
import time

from cluster import three_on_loopback, wait_for
from dns_servers import ALL, WRONG
from scenario import main, scenario

ZONE = "skald.test"
FOREIGN = """_sip._udp 300 IN SRV 90 1 5060 pbx.elsewhere.test.
@ 300 IN NAPTR 90 10 "u" "E2U+web" "!^.*$!https://example.test/!" .
www IN A 203.0.113.80
"""


class World:
    """One server and one cluster that publishes to it."""

    def __init__(self, kind, number):
        # BIND listens on addresses that an interface has, and nowhere else in 127/8.
        self.server = kind("127.0.0.1", 5300 + number, ZONE, FOREIGN).start()
        try:
            self.cluster = three_on_loopback(ZONE, base=11, network=f"127.0.{number}")
        except Exception:
            self.server.stop()
            raise
        self.a = self.cluster.nodes[0]

    def close(self):
        self.cluster.close()
        self.server.stop()

    def set_key(self, path):
        self.a.cli("dns", "set", "--server", self.server.at, "--tsig-file", path)

    def running(self):
        return [n for n in self.cluster.nodes if n.process and n.process.alive()]

    def dns(self, name=None):
        """`skald dns` of the publisher."""
        for n in self.running():
            got = n.cli("dns")
            if got["publisher"] in (n.name, ""):
                return got
        return {"state": "nobody", "last_error": ""}

    def publisher(self):
        return self.running()[0].cli("dns")["publisher"]

    def srv(self, name="_sip._udp." + ZONE):
        return self.server.dig(name, "SRV")

    def targets(self):
        return sorted(l.split()[3].split(".")[0] for l in self.srv() if l.endswith(ZONE + "."))

    def wait_targets(self, names, seconds):
        started = time.monotonic()
        try:
            wait_for(f"SRV names {names}", seconds, lambda: self.targets() == names, 0.05)
        except Exception:
            print(self.srv(), [(n.name, n.cli("dns", check=False)) for n in self.running()][:1])
            raise
        return time.monotonic() - started



def scenarios_for(kind):
    label = kind.name

    @scenario(f"{label}: a wrong TSIG key is a named state, and nothing is fatal")
    def _(w):
        world = w[label]
        world.set_key(world.server.key_file(WRONG))
        wait_for("a named state", 20, lambda: world.dns()["state"] in ("bad_key", "refused", "notauth"), 0.2)
        got = world.dns()
        print(f"     {label} says: {got['state']}: {got['last_error']}")
        assert "update" in got["last_error"], got
        assert len(world.running()) == 3 and world.targets() == []

    @scenario(f"{label}: with the right key the records of the cluster appear")
    def _(w):
        world = w[label]
        world.set_key(world.server.key_file())
        world.wait_targets(["a", "b", "c"], 10)
        wait_for("published", 10, lambda: world.dns()["state"] == "published", 0.2)
        dig, ip = world.server.dig, {n.name: n.address for n in world.cluster.nodes}
        naptr = dig(ZONE, "NAPTR")
        assert f'10 10 "S" "SIP+D2T" "" _sip._tcp.{ZONE}.'.lower() in [l.lower() for l in naptr], naptr
        assert f'10 20 "S" "SIP+D2U" "" _sip._udp.{ZONE}.'.lower() in [l.lower() for l in naptr], naptr
        assert not [l for l in naptr if "SIPS" in l], naptr  # no public certificate yet
        for prefix, port in (("_sip._udp", 5060), ("_sip._tcp", 5060), ("_sips._tcp", 5061), ("_skald._udp", 4260)):
            got = dig(f"{prefix}.{ZONE}", "SRV")
            for name in ip:
                assert f"10 100 {port} {name}.{ZONE}." in got, (prefix, got)
        assert world.server.ttl(f"_sip._tcp.{ZONE}", "SRV") == {15}
        for name, address in ip.items():
            assert dig(f"{name}.{ZONE}", "A") == [address]
            own = dig(f"_sip._tcp.{name}.{ZONE}", "SRV")
            assert len(own) == 3 and own[0] == f"0 100 5060 {name}.{ZONE}.", own
            assert all(l.startswith("10 ") for l in own[1:]), own
            assert dig(f"_skald.{name}.{ZONE}", "TXT") == ['"skald node"']
        assert "skald publisher" in dig(f"_skald.{ZONE}", "TXT")[0]
        assert all(r["published"] for r in world.dns()["records"]), world.dns()

    @scenario(f"{label}: a node that leaves disappears from SRV within 2 s, and its name stays")
    def _(w):
        world = w[label]
        leaver = next(n for n in world.cluster.nodes if n.name != world.publisher())
        rest = sorted(n.name for n in world.cluster.nodes if n is not leaver)
        started = time.monotonic()
        leaver.cli("leave")
        world.wait_targets(rest, 2 - (time.monotonic() - started))
        took = time.monotonic() - started
        print(f"     gone after {took:.2f} s")
        assert took <= 2
        wait_for("the node ends", 20, lambda: not leaver.process.alive())
        wait_for("the publisher has nothing left to send", 10, lambda: world.dns()["state"] == "published" and
                 all(r["published"] for r in world.dns()["records"]))
        assert world.server.dig(f"{leaver.name}.{ZONE}", "A"), "the name of a node that left points at live edges"
        leaver.start()
        world.wait_targets(["a", "b", "c"], 20)

    @scenario(f"{label}: the publisher itself leaves, and another one says so within 2 s")
    def _(w):
        world = w[label]
        name = world.publisher()
        leaver = next(n for n in world.cluster.nodes if n.name == name)
        started = time.monotonic()
        leaver.cli("leave")
        world.wait_targets(sorted({"a", "b", "c"} - {name}), 2 - (time.monotonic() - started))
        wait_for("the node ends", 20, lambda: not leaver.process.alive())
        leaver.start()
        world.wait_targets(["a", "b", "c"], 20)

    @scenario(f"{label}: the publisher is killed, and the next one publishes")
    def _(w):
        world = w[label]
        name = world.publisher()
        dead = next(n for n in world.cluster.nodes if n.name == name)
        dead.kill()
        took = world.wait_targets(sorted({"a", "b", "c"} - {name}), 10)
        print(f"     out of SRV after {took:.2f} s")
        live = {n.address for n in world.running()}
        wait_for("its name points at the others", 5, lambda: set(world.server.dig(f"{name}.{ZONE}", "A")) == live)
        dead.start()
        world.wait_targets(["a", "b", "c"], 20)
        wait_for("its name is its own again", 5, lambda: world.server.dig(f"{name}.{ZONE}", "A") == [dead.address])

    @scenario(f"{label}: foreign records stayed through all of it, and are reported")
    def _(w):
        world = w[label]
        assert "90 1 5060 pbx.elsewhere.test." in world.srv(), world.srv()
        assert [l for l in world.server.dig(ZONE, "NAPTR") if "E2U+web" in l], world.server.dig(ZONE, "NAPTR")
        assert world.server.dig(f"www.{ZONE}", "A") == ["203.0.113.80"]
        wait_for("published", 10, lambda: world.dns()["state"] == "published", 0.2)
        assert any("pbx.elsewhere.test" in l for l in world.dns()["foreign"]), world.dns()["foreign"]
        # Exactly what is wanted, and nothing twice.
        assert all(r["published"] for r in world.dns()["records"])


for each in ALL:
    scenarios_for(each)


class Lazy(dict):
    """A world is made when its first scenario asks, and the one before it is ended."""

    failed = set()

    def __missing__(self, label):
        if label in self.failed:
            raise RuntimeError("did not start, see above")
        self.failed.add(label)
        self.end()
        number = [k.name for k in ALL].index(label) + 71
        self[label] = World(next(k for k in ALL if k.name == label), number)
        return self[label]

    def end(self):
        for world in self.values():
            world.close()
        self.clear()


@contextlib.contextmanager
def setup():
    lazy = Lazy()
    try:
        yield lazy
    finally:
        lazy.end()


main(setup)
