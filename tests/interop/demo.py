#!/usr/bin/env python3
"""The main job, as a person would like to see it: three certificates, three nodes, and a call."""
import sys
import time

import baresip
from cluster import Cluster
from lab import Lab, wait_for
from scenario_tls import tls_check


def title(text):
    print(f"\n\033[1m{text}\033[0m" if sys.stdout.isatty() else f"\n# {text}", flush=True)


def show(text):
    print("\n".join("    " + line for line in text.rstrip().split("\n")), flush=True)


def edge_of(cluster, user):
    rows = cluster.nodes[0].cli("registrations", f"{user}@{cluster.domain}")
    return rows[0]["edge"] if rows else None


def phone_elsewhere(cluster, host, dns, taken):
    """bob's phone, by TLS, at another node than `taken`: SRV gives each phone a node by chance, so it may try again."""
    for _ in range(12):
        bob = baresip.Baresip(host, "bob", cluster.domain, dns, "tls", hertz=660)
        bob.wait_registered()
        if edge_of(cluster, "bob") != taken:
            return bob
        bob.stop()
    raise SystemExit(f"twelve times in a row, SRV gave bob the node {taken}")


def srv_without(host, gone):
    """The domain's UDP servers once `gone` is not among them: within 2 s."""
    def rows():
        found = baresip.dig(host, host.ip, "_sip._udp.skald.test", "SRV")
        return found if found and not any(gone in row for row in found) else None
    return wait_for(f"SRV without {gone}", 2, rows)


def run():
    """The whole show. What was found comes back, for the test of the same path."""
    found = {}
    with Lab() as lab, Cluster("skald.test", dir=lab.dir + "/cluster-files") as cluster:
        title("A cluster's CA, and a bundle for each of three machines (skald cluster init, skald cert issue)")
        hosts = [lab.host(name) for name in ("one", "two", "three")]
        seed = f"{hosts[0].ip}:4260"
        for i, host in enumerate(hosts):
            cluster.node(host.name, host.ip, host, seeds=[] if i == 0 else [seed])
        show(f"{cluster.dir}: {', '.join(n.name + '.pem' for n in cluster.nodes)}")

        title("Three nodes, each started with its bundle (skald run NAME.pem)")
        started = time.monotonic()
        for n in cluster.nodes:
            n.start()
        cluster.wait_active(seconds=60)
        show(f"all three active after {time.monotonic() - started:.1f} s")
        show(cluster.nodes[1].text("members"))

        title("Two subscribers (skald user add), and who owns them")
        for user in ("alice", "bob"):
            cluster.add_user(user)
            show(cluster.nodes[2].text("owner", f"{user}@skald.test"))

        title("What the cluster publishes in DNS, by its own server")
        for name, kind in (("skald.test", "NAPTR"), ("_sip._udp.skald.test", "SRV"), ("_sips._tcp.skald.test", "SRV"),
                           ("one.skald.test", "A")):
            rows = wait_for(f"{kind} {name}", 10, lambda: baresip.dig(hosts[0], hosts[0].ip, name, kind))
            show("\n".join(f"{name} {kind} {row}" for row in rows))

        title("Two baresip phones that know nothing but the domain: alice by UDP, bob by TLS")
        p1, p2 = lab.host("phone1"), lab.host("phone2")
        alice = baresip.Baresip(p1, "alice", cluster.domain, f"{hosts[0].ip}:53", "udp", hertz=440)
        alice.wait_registered()
        bob = phone_elsewhere(cluster, p2, f"{hosts[1].ip}:53", edge_of(cluster, "alice"))
        show(cluster.nodes[0].text("registrations"))
        found["edges"] = {user: edge_of(cluster, user) for user in ("alice", "bob")}

        title("Another TLS client checks the certificate that phones see (baresip checks none)")
        found["tls"] = tls_check(p1, hosts[0].ip, "skald.test", cluster.dir + "/ca.pem")
        show(found["tls"])

        title("alice calls bob; each plays a tone and records what it hears")
        share_alice, share_bob = baresip.talk(alice, bob, "sip:bob@skald.test")
        show(f"bob heard alice's 440 Hz: {share_bob:.0%} of the recording; alice heard bob's 660 Hz: {share_alice:.0%}")
        found["shares"] = (share_alice, share_bob)
        if min(share_alice, share_bob) < 0.8:
            raise SystemExit("the tone did not arrive")
        alice.stop()
        bob.stop()

        title("One node leaves (skald leave), and the cluster says so everywhere")
        cluster.nodes[2].text("leave")
        wait_for("the others see it gone", 5, lambda: cluster.nodes[0].active() == ["one", "two"])
        show(cluster.nodes[1].text("members"))
        found["srv"] = srv_without(hosts[0], "three.skald.test.")
        show("\n".join("_sip._udp.skald.test SRV " + row for row in found["srv"]))
        found["exits"] = [n.stop() for n in cluster.nodes]
    title("Done. build/skald --help tells the rest; README.md how to start a real cluster.")
    return found


if __name__ == "__main__":
    run()
