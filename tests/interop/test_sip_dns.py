#!/usr/bin/env python3
"""Calls to other domains by name (RFC 3263): NAPTR, SRV and addresses from a real DNS server, asked through c-ares."""
import contextlib
import os
import signal
import time

from cluster import Cluster
from dns_servers import Bind
from lab import Lab
from phone import SDP, Dialog, Phone, establish
from scenario import main, scenario
from sipbench import DOMAIN, ServerWire, answer_with, cancel_of, cancelled, hang_up, status
from sipmsg import token

# Foreign domains in one zone. ONE, TWO, DEAD and MUTE are addresses: two servers, a host that refuses, one that is silent.
ZONE = "example.org"
RECORDS = """
one IN A {one}
two IN A {two}
dead IN A {dead}
mute IN A {mute}

tcp IN NAPTR 10 10 "s" "SIP+D2T" "" _sip._tcp.tcp
tcp IN NAPTR 20 10 "s" "SIP+D2U" "" _sip._udp.tcp
_sip._tcp.tcp IN SRV 1 0 5070 dead
_sip._tcp.tcp IN SRV 2 0 5070 two
_sip._udp.tcp IN SRV 1 0 5090 one

udp IN NAPTR 10 10 "s" "SIP+D2U" "" _sip._udp.udp
_sip._udp.udp IN SRV 1 0 5090 one
_sip._udp.udp IN SRV 2 0 5090 two

srv IN A {dead}
_sip._udp.srv IN SRV 1 0 5090 two

plain IN A {one}

mute-first IN NAPTR 10 10 "s" "SIP+D2T" "" _sip._tcp.mute-first
_sip._tcp.mute-first IN SRV 1 0 5070 mute
_sip._tcp.mute-first IN SRV 2 0 5070 two

elsewhere IN NAPTR 10 10 "s" "SIP+D2U" "" _sip._udp.two.hosting
_sip._udp.two.hosting IN SRV 1 0 5090 two

all-dead IN NAPTR 10 10 "s" "SIP+D2T" "" _sip._tcp.all-dead
_sip._tcp.all-dead IN SRV 1 0 5070 dead
_sip._tcp.all-dead IN SRV 2 0 5071 dead

none IN NAPTR 10 10 "s" "SIP+D2T" "" _sip._tcp.none
_sip._tcp.none IN SRV 0 0 0 .
"""
LONG = "v=0\r\n" + "a=x-long:" + "y" * 1500 + "\r\n"


class World:
    """One node; a DNS server; a phone's host; the foreign servers, UDP on 5090 and TCP on 5070."""

    def __init__(self, lab, cluster, hosts):
        self.lab, self.cluster, self.hosts = lab, cluster, hosts
        self.node = cluster.nodes[0]
        self.servers = {}
        for name in ("one", "two"):
            with hosts[name].inside():
                self.servers[name, "udp"] = Phone("bill", ZONE, (self.node.address, 5060), local_ip=hosts[name].ip,
                                                  local_port=5090)
                self.servers[name, "tcp"] = Phone("bill", ZONE, None, "tcp", wire=ServerWire(hosts[name].ip, 5070))
        with hosts["one"].inside():  # where UDP says 5090 a long request tries TCP first
            self.servers["one", "long"] = Phone("bill", ZONE, None, "tcp", wire=ServerWire(hosts["one"].ip, 5090))
        with hosts["phone"].inside():
            self.alice = Phone("alice", DOMAIN, (self.node.address, 5060), local_ip=hosts["phone"].ip)
        status(self.alice.register(), 200)

    def quiet(self, *but, seconds=0.2):
        """No other server has heard anything."""
        for key, server in self.servers.items():
            if key not in but:
                server.expect_nothing(seconds / len(self.servers), lambda m: m.is_request and m.method != "ACK")


@contextlib.contextmanager
def world():
    with Lab("198.51.100") as lab, Cluster(DOMAIN, dir=lab.dir + "/cluster") as cluster:
        dns_host = lab.host("dns")
        hosts = {name: lab.host(name, resolver=dns_host.ip) for name in ("node", "phone", "one", "two", "dead", "mute")}
        hosts["mute"].run(["nft", "-f", "-"], input="table ip f {\n chain in {\n type filter hook input priority 0\n drop\n }\n}\n")
        addresses = {name: h.ip for name, h in hosts.items()}
        dns = Bind(dns_host.ip, 53, ZONE, RECORDS.format(**addresses), host=dns_host).start()
        try:
            n = cluster.node("node", hosts["node"].ip, hosts["node"], args=["--workers", "2"]).start()
            cluster.wait_active(seconds=60)
            cluster.add_user("alice")
            w = World(lab, cluster, hosts)
            w.dns = dns
            yield w
        finally:
            dns.stop()


def refused_by(server, code):
    """An INVITE that has come to `server` is answered finally."""
    return answer_with(server, code, "No")


def call(w, domain, **kw):
    return w.alice.start_call(f"sip:bill@{domain}.{ZONE}", **kw)


def ended(w, invite, *wanted):
    final = status(w.alice.expect_final(invite, 12), *wanted)
    w.alice.ack_failure(invite, final)


@scenario("NAPTR prefers TCP; the first SRV target refuses the connection: the call runs whole through the second")
def _(w):
    z = w.servers["two", "tcp"]
    before = w.node.metric("skald_proxy_target_failovers_total")
    invite = call(w, "tcp")
    seen = z.expect_request("INVITE")
    assert seen.uri == f"sip:bill@tcp.{ZONE}" and seen.get("via").startswith("SIP/2.0/TCP"), repr(seen)
    sent = z.reply(seen, 200, "OK", to_tag=token(4), body=SDP.format(ip=z.ip))
    mine = Dialog(w.alice, invite, status(w.alice.expect_final(invite), 200), True)
    mine.ack()
    z.expect_request("ACK")
    info = z.send(Dialog(z, seen, sent, False).request("INFO"))
    w.alice.reply(w.alice.expect_request("INFO"), 200)
    status(z.expect_final(info), 200)
    hang_up(mine, z)
    assert w.node.metric("skald_proxy_target_failovers_total") == before + 1
    w.quiet()


@scenario("SRV priorities are kept: the first server alone is asked, and its 486 goes to the caller")
def _(w):
    invite = call(w, "udp")
    refused_by(w.servers["one", "udp"], 486)
    ended(w, invite, 486)
    w.quiet()


@scenario("a 503 from the first server: the second is asked, by a new branch, and the caller sees its answer alone")
def _(w):
    invite = call(w, "udp")
    one = refused_by(w.servers["one", "udp"], 503)
    two = w.servers["two", "udp"].expect_request("INVITE")
    assert one.get("via") != two.get("via") and one.get("call-id") == two.get("call-id")
    assert int(one.get("max-forwards")) == int(two.get("max-forwards"))
    w.servers["two", "udp"].reply(two, 180, "Ringing", to_tag="x")
    w.alice.expect_status(invite, 180)
    w.servers["two", "udp"].reply(two, 486, to_tag="x")
    w.servers["two", "udp"].expect_request("ACK")
    ended(w, invite, 486)
    assert not [m for m in w.alice.drain(0) if m.status in (500, 503)]


@scenario("503 from both is 500 to the caller, since 503 speaks of this server only")
def _(w):
    invite = call(w, "udp")
    for name in ("one", "two"):
        refused_by(w.servers[name, "udp"], 503)
    ended(w, invite, 500)


@scenario("MESSAGE: the next server after a 503, too")
def _(w):
    ask = w.alice.request("MESSAGE", f"sip:bill@udp.{ZONE}", body="hello", content_type="text/plain")
    ask = w.alice.authorized(ask, status(w.alice.expect_final(w.alice.send(ask)), 407))
    w.alice.send(ask)
    for name, code in (("one", 503), ("two", 200)):
        server = w.servers[name, "udp"]
        server.reply(server.expect_request("MESSAGE"), code, to_tag="x")
    status(w.alice.expect_final(ask), 200)


@scenario("after a fail-over CANCEL and the dialog go to the server that answered")
def _(w):
    z = w.servers["two", "udp"]
    invite = call(w, "udp")
    refused_by(w.servers["one", "udp"], 503)
    seen = z.expect_request("INVITE")
    z.reply(seen, 180, "Ringing", to_tag=token(4))
    w.alice.expect_status(invite, 180)
    status(w.alice.expect_final(w.alice.send(cancel_of(invite))), 200)
    cancelled(z, seen)
    ended(w, invite, 487)
    w.quiet()


@scenario("a server that swallows the connection is given up within 5 s, for the next one")
def _(w):
    z = w.servers["two", "tcp"]
    began = time.monotonic()
    invite = call(w, "mute-first")
    seen = z.expect_request("INVITE", 10)
    taken = time.monotonic() - began
    assert 3 < taken < 7, taken
    z.reply(seen, 486, to_tag=token(4))
    z.expect_request("ACK")
    ended(w, invite, 486)


@scenario("no NAPTR: SRV decides, not the name's own address; no SRV either: the address, port 5060")
def _(w):
    invite = call(w, "srv")
    refused_by(w.servers["two", "udp"], 486)
    ended(w, invite, 486)
    with w.hosts["one"].inside():
        z = Phone("bill", ZONE, (w.node.address, 5060), local_ip=w.hosts["one"].ip, local_port=5060)
    invite = call(w, "plain")
    refused_by(z, 486)
    ended(w, invite, 486)
    z.wire.close()


@scenario("NAPTR may lead to another name: that one's SRV is asked, and the Request-URI stays")
def _(w):
    invite = call(w, "elsewhere")
    assert refused_by(w.servers["two", "udp"], 486).uri == f"sip:bill@elsewhere.{ZONE}"
    ended(w, invite, 486)


@scenario("a port in the URI: neither NAPTR nor SRV; transport=tcp: SRV of TCP alone (RFC 3263 §4.1, §4.2)")
def _(w):
    invite = w.alice.start_call(f"sip:bill@two.{ZONE}:5090")
    refused_by(w.servers["two", "udp"], 486)
    ended(w, invite, 486)
    invite = w.alice.start_call(f"sip:bill@tcp.{ZONE};transport=udp")
    refused_by(w.servers["one", "udp"], 486)
    ended(w, invite, 486)


@scenario("over 1300 bytes: TCP to the same target although the DNS says UDP; UDP where nobody listens (RFC 3261 §18.1.1)")
def _(w):
    invite = call(w, "udp", body=LONG)
    seen = refused_by(w.servers["one", "long"], 486)
    assert seen.get("via").startswith("SIP/2.0/TCP") and seen.body == LONG
    ended(w, invite, 486)
    invite = call(w, "srv", body=LONG)  # server two has no TCP there
    seen = refused_by(w.servers["two", "udp"], 486)
    assert seen.get("via").startswith("SIP/2.0/UDP") and seen.body == LONG
    ended(w, invite, 486)
    w.quiet()


@scenario("targets that all refuse, a domain without SIP (SRV \".\"), a name that does not exist: answered at once")
def _(w):
    for domain, wanted in (("all-dead", [480]), ("none", [404, 480, 500]), ("nobody", [404, 480, 500])):
        began = time.monotonic()
        invite = call(w, domain)
        ended(w, invite, *wanted)
        assert time.monotonic() - began < 3, domain
    w.quiet()


@scenario("the DNS server is dead: the caller has an answer, and calls inside the domain go on meanwhile")
def _(w):
    os.kill(w.dns.process.pid, signal.SIGSTOP)
    try:
        began = time.monotonic()
        invite = call(w, "not-asked-before")
        with w.hosts["phone"].inside():
            two = [Phone("alice", DOMAIN, (w.node.address, 5060), local_ip=w.hosts["phone"].ip) for _ in range(2)]
        assert two[0].register().status == 200
        mine, theirs = establish(two[1], two[0], uri=f"sip:alice@{DOMAIN}")
        hang_up(mine, two[0])
        final = status(w.alice.expect_final(invite, 32), 404, 480, 500)
        w.alice.ack_failure(invite, final)
        print(f"     answered {final.status} after {time.monotonic() - began:.1f} s")
    finally:
        os.kill(w.dns.process.pid, signal.SIGCONT)


main(world)
