#!/usr/bin/env python3
"""Trusted peers by TLS name (sip.md §3, RFC 5922 §7): gateways with every kind of certificate, and phones that have one."""
import contextlib
import os
import shutil
import ssl
import tempfile
import time

from lab import wait_for
from operator_kit import refused, shell
from phone import NoAnswer, tls_context
from rogues import Maker, PublicCa
from scenario import main, scenario
from sipbench import DOMAIN, Bench, status

BOSS = "<sip:boss@carrier.test>"
NAMES = ["URI:sip:Carrier.test", "sbc.shop.test"]  # where a SIP URI stands, DNS names do not count
ENCIPHERMENT = "keyUsage=keyEncipherment\n"
STRANGERS = ("none", "wrong CA", "wrong name", "wildcard", "expired", "for servers", "for encipherment",
             "a phone's", "an old phone's", "node's")


def certificates(bench, ca):
    """Files (certificate, key) by kind. The settings name carrier.test, dns.test and the cluster's own domain."""
    alien = PublicCa(f"{ca.dir}/alien")
    return {"good": ca.make("good", NAMES), "by DNS": ca.make("dns", ["DNS.test"]), "wrong CA": alien.make("good", NAMES),
            "wrong name": ca.make("other", ["URI:sip:shop.test", "carrier.test"]),
            "wildcard": ca.make("wild", ["*.test", "*.dns.test"]), "expired": ca.make("old", NAMES, days=0),
            "for servers": ca.make("server", NAMES, more="extendedKeyUsage=serverAuth\n"),
            "a phone's": ca.make("maker", ["phone-0815.maker.test"], key=("rsa:2048",)),
            "an old phone's": ca.make("old-maker", ["phone-0815.maker.test"], key=("rsa:1024",)),
            "for encipherment": ca.make("enc", NAMES, key=("rsa:2048",), more=ENCIPHERMENT),
            "node's": Maker(bench.cluster).cert("x"), "none": None}


def connect(bench, kind, edge="a", tls12=False, **who):
    context = tls_context(f"{bench.cluster.dir}/ca.pem")
    context.set_ciphers("DEFAULT@SECLEVEL=0")  # else OpenSSL keeps the old phone's certificate to itself
    if tls12:
        context.maximum_version = ssl.TLSVersion.TLSv1_2
    if bench.shown[kind]:
        context.load_cert_chain(*bench.shown[kind])
    bench.tls = context
    return bench.phone(edge, "tls", **who)


def gateway(bench, kind, edge="a", tls12=False):
    return connect(bench, kind, edge, tls12, user="dan", domain="carrier.test", server_name=DOMAIN)


def asserts(z, q):
    """z asserts an identity in a MESSAGE to q: "kept", "cut off", or "refused" with 403."""
    ask = z.send(z.request("MESSAGE", q.aor, headers=[("P-Asserted-Identity", BOSS)]))
    end = time.monotonic() + 8
    while time.monotonic() < end:
        with contextlib.suppress(NoAnswer):
            seen = q.expect_request("MESSAGE", 0.05)
            q.reply(seen, 200)
            status(z.expect_final(ask), 200)
            return "kept" if seen.get("p-asserted-identity") == BOSS else "cut off"
        with contextlib.suppress(NoAnswer):
            status(z.expect_final(ask, 0.05), 403)
            return "refused"
    raise AssertionError(f"no answer to {ask.start}")


def set_on_all(bench, key, value):
    bench.nodes["b"].cli("set", key, value)
    wait_for(f"{key} at every node", 5, lambda: all(
        [r["value"] for r in n.cli("set", key)] == [value] for n in bench.nodes.values()), 0.1)


@scenario("a peer whose certificate names it is believed at every edge, over TLS 1.3 and 1.2; nobody is before it is named")
def _(bench):
    q = bench.phone("b", register=True)
    early = gateway(bench, "good")
    assert asserts(early, q) == "cut off"
    set_on_all(bench, "peers", f"carrier.test, DNS.test, {DOMAIN}")
    for edge in "abc":
        assert asserts(gateway(bench, "good", edge), q) == "kept", edge
    assert asserts(gateway(bench, "good", tls12=True), q) == "kept"
    assert asserts(gateway(bench, "by DNS"), q) == "kept"
    assert asserts(early, q) == "kept", "its certificate was judged when it connected, its name counts from now on"


@scenario("no certificate, another CA's, another name, a wildcard, an expired one, a wrong usage, a node's: strangers, but served")
def _(bench):
    q = bench.phone("c", register=True)
    for kind in STRANGERS:
        for tls12 in (False, True):
            assert asserts(gateway(bench, kind, "a", tls12), q) == "cut off", (kind, tls12)
    for reason in ("untrusted", "expired", "wrong_usage", "nameless", "own_cluster"):
        name = f'skald_sip_peer_certificates_refused_total{{reason="{reason}"}}'
        assert f"{name} 0\n" not in bench.nodes["a"].get("/metrics"), name


@scenario("inbound: peers lets the peer in by its certificate, and refuses all others with 403")
def _(bench):
    q = bench.phone("b", register=True)
    peer, others = gateway(bench, "good"), {kind: gateway(bench, kind) for kind in STRANGERS}
    bench.nodes["c"].cli("set", "inbound", "peers")
    try:
        wait_for("strangers are refused", 5, lambda: asserts(others["none"], q) == "refused", 0.1)
        for kind, z in others.items():
            assert asserts(z, q) == "refused", kind
        assert asserts(peer, q) == "kept"
        # Taken off the list, it is a stranger on the connection that it has.
        set_on_all(bench, "peers", "dns.test")
        wait_for("the former peer is refused", 5, lambda: asserts(peer, q) == "refused", 0.1)
    finally:
        bench.nodes["c"].cli("set", "inbound", "all")
        set_on_all(bench, "peers", f"carrier.test, DNS.test, {DOMAIN}")


@scenario("a phone's certificate never ends its connection: whatever it shows, it registers and calls")
def _(bench):
    q = bench.phone("c", register=True)
    for kind in bench.shown:
        for tls12 in (False, True):
            p = connect(bench, kind, "b", tls12, register=True)
            p.send(p.authorized(ask := p.request("MESSAGE", q.aor), status(p.transact(ask, authenticate=False), 407)))
            q.reply(q.expect_request("MESSAGE"), 200)


@scenario("a name that cannot be a peer is refused with why; so is a CA file that is none")
def _(bench):
    a = bench.nodes["a"]
    for wrong, words in (("*.carrier.test", "wildcard"), ("192.0.2.300", "neither an IP address"), ("10.0.0.0/8", "each address"),
                         ("sip:carrier.test", "without sip:"), ("carrier.test:5061", "without a port")):
        refused(a, 2, f'"{wrong}"|{words}', "set", "peers", f"good.test, {wrong}")
    assert a.cli("set", "peers")[0]["value"] == f"carrier.test, DNS.test, {DOMAIN}"
    for file, words in ((f"{bench.cluster.dir}/none.pem", "No such file"), (bench.shown["good"][1], "holds no certificate")):
        code, _, err = shell("run", f"{bench.cluster.dir}/a.pem", "--state", f"{bench.cluster.dir}/never", "--address",
                             f"{bench.network}.19", "--peer-ca", file)
        assert code in (1, 2) and file in err and words in err, (code, err)


@contextlib.contextmanager
def setup():
    dir = tempfile.mkdtemp(prefix="skald-peers-")
    try:
        ca = PublicCa(os.path.join(dir, "ca"))
        with Bench("127.0.38", args=["--peer-ca", f"{ca.dir}/ca.pem"]) as bench:
            bench.shown = certificates(bench, ca)
            yield bench
    finally:
        shutil.rmtree(dir)


main(setup)
