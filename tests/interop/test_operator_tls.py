#!/usr/bin/env python3
"""Certificates as an operator meets them: a public one for phones, set and taken back; bundles explained and refused."""
import contextlib
import json
import os
import socket
import ssl
import time

from cluster import Cluster
from lab import wait_for
from operator_kit import DOMAIN, answer, ask, private_file, refused, shell, unlike_nodes
from phone import Phone, tls_context
from rogues import Maker, PublicCa, blocks
from scenario import main, scenario

NET = "127.0.36"


def issuer_seen(c, node, server_name=DOMAIN):
    """Which of the two CAs a phone finds behind the certificate that this node shows for the name."""
    for who, context in (("public", c.public_trust), ("own", c.own_trust)):
        try:
            with socket.create_connection((node.address, 5061), timeout=5) as raw, \
                    context.wrap_socket(raw, server_hostname=server_name):
                return who
        except ssl.SSLCertVerificationError:
            continue
    return "neither"


@scenario("a wrong key, a certificate for another domain, an expired one and no certificate at all are refused, each with why")
def _(c):
    cert, key = c.public.make("good", [DOMAIN, f"a.{DOMAIN}"])
    other, other_key = c.public.make("other", ["other.test"])
    old, old_key = c.public.make("old", [DOMAIN], days=0)
    n = c.by_name["b"]
    refused(n, 1, "do not match|made for", "tls", "set", "--cert", cert, "--key", other_key)
    refused(n, 1, f"does not name {DOMAIN}|other.test", "tls", "set", "--cert", other, "--key", other_key)
    refused(n, 1, "expired on 2025-01-01", "tls", "set", "--cert", old, "--key", old_key)
    refused(n, 1, "no certificate", "tls", "set", "--cert", key, "--key", key)
    refused(n, 1, "/nowhere.pem", "tls", "set", "--cert", "/nowhere.pem", "--key", key)
    refused(n, 1, "no certificate was set", "tls", "unset")
    assert [issuer_seen(c, x) for x in c.nodes] == ["own"] * 3


@scenario("`tls set` at one node: every node shows it to new handshakes within 5 s, by SNI, and no connection is dropped")
def _(c):
    before = Phone("alice", DOMAIN, (c.by_name["c"].address, 5061), "tls", local_ip=f"{NET}.101", tls=c.own_trust)
    assert before.register().status == 200
    cert, key = f"{c.public.dir}/good.pem", f"{c.public.dir}/good.key"
    answer(c.by_name["b"], "tls", "set", "--cert", cert, "--key", key)
    started = time.monotonic()
    wait_for("every node shows the public certificate", 5, lambda: all(issuer_seen(c, n) == "public" for n in c.nodes), 0.1)
    print(f"     after {time.monotonic() - started:.1f} s")
    assert issuer_seen(c, c.by_name["a"], f"a.{DOMAIN}") == "public"
    assert issuer_seen(c, c.by_name["b"], f"b.{DOMAIN}") == "own", "a name that the public one lacks: the node's own"
    assert before.register().status == 200, "the connection from before is still there"
    after = Phone("bob", DOMAIN, (c.by_name["a"].address, 5061), "tls", local_ip=f"{NET}.102", tls=c.public_trust)
    assert after.register().status == 200
    before.wire.close(), after.wire.close()


@scenario("`tls status` tells for each node names, missing node names, issuer and days left, and warns below 21 days")
def _(c):
    rows = answer(c.by_name["c"], "tls", "status")
    assert [r["node"] for r in rows] == ["a", "b", "c"]
    for r in rows:
        assert r["names"] == [DOMAIN, f"a.{DOMAIN}"] and sorted(r["missing"]) == [f"b.{DOMAIN}", f"c.{DOMAIN}"], r
        assert r["issuer"] == "CN=Public Test CA" and 88 <= r["days_left"] <= 90 and r["warning"] == "", r
    cert, key = c.public.make("short", [f"*.{DOMAIN}", DOMAIN], days=20)
    answer(c.by_name["a"], "tls", "set", "--cert", cert, "--key", key)
    rows = wait_for("all nodes took the second", 5, lambda: [
        r for r in [answer(c.by_name["c"], "tls", "status")] if all("20" in x["warning"] or "19" in x["warning"] for x in r)])[0]
    assert all(r["missing"] == [] for r in rows), rows
    code, text, _ = ask(c.by_name["a"], "tls", "status")
    assert code == 0 and "expires in" in text and "Public Test CA" in text


@scenario("the private key is readable through no command and in no log, and lies on disk for the owner only")
def _(c):
    key = open(f"{c.public.dir}/short.key").read()
    lines = [x for x in key.split("\n") if len(x) > 40]
    shown = ""
    for command in (["set"], ["set", f"tls.{DOMAIN}"], ["tls", "status"], ["status"], ["dns"], ["metrics"], ["roles"]):
        for machine in ([], ["--json"]):
            shown += "".join(map(str, ask(c.by_name["a"], *command, *machine)))
    for path in ("/v1/settings", f"/v1/settings?key=tls.{DOMAIN}", "/v1/tls", "/v1/status", "/metrics"):
        shown += str(c.by_name["b"].get(path, 10))
    for n in c.nodes:
        shown += open(n.log, errors="replace").read()
    for secret in lines + ["PRIVATE KEY"]:
        assert secret not in shown, secret
    refused(c.by_name["a"], 2, "skald tls set", "set", f"tls.{DOMAIN}", "x")


@scenario("`tls unset` goes back to the nodes' own certificates, everywhere")
def _(c):
    answer(c.by_name["c"], "tls", "unset")
    wait_for("every node shows its own", 5, lambda: all(issuer_seen(c, n) == "own" for n in c.nodes), 0.1)
    rows = answer(c.by_name["a"], "tls", "status")
    assert all(r["issuer"] == f"CN=skald CA {DOMAIN}" and r["names"] for r in rows), rows


@scenario("`cert show` explains a good bundle; of an expired one, or one by another CA, it says what is wrong, and exits 1")
def _(c):
    code, text, err = shell("cert", "show", f"{c.dir}/a.pem")
    assert code == 0 and f"a.{DOMAIN}" in text and "proxy" in text and "PRIVATE" not in text, text
    code, text, _ = shell("cert", "show", f"{c.dir}/b.pem", "--json")
    said = json.loads(text)
    assert code == 0 and said["name"] == "b" and said["domain"] == DOMAIN and said["problem"] == "" and not said["founder"]
    assert said["id"] == next(m["id"] for m in c.nodes[0].members() if m["name"] == "b")
    assert said["seeds"] == [f"{NET}.11:4260"] and "registrar" in said["roles"], said
    maker = Maker(c)
    seed = f"{NET}.11:4260"
    old = maker.bundle("old", *maker.cert("old", end="20250101000000Z"), seed)
    early = maker.bundle("early", *maker.cert("early", start="20400101000000Z"), seed)
    usage = maker.bundle("usage", *maker.cert("usage", usage="clientAuth"), seed)
    alien = maker.bundle("alien", *maker.foreign("alien"), seed)
    for path, words in ((old, "expired"), (early, "not yet valid"), (usage, "serverAuth"), (alien, "CA")):
        code, text, err = shell("cert", "show", path)
        assert code == 1 and words in text + err, (path, text, err)
        code, text, err = shell("run", path, "--state", f"{c.dir}/never", "--address", f"{NET}.19")
        assert code == 1 and words in err and not os.path.exists(f"{c.dir}/never"), (path, err)


@scenario("`cert show` of a bundle that others can read, that lacks a part, or that is not there says so")
def _(c):
    text = open(f"{c.dir}/a.pem").read()
    parts = dict(blocks(text))
    opened = private_file(f"{c.dir}/open.pem", text)
    os.chmod(opened, 0o640)
    keyless = private_file(f"{c.dir}/keyless.pem", "".join(b for label, b in parts.items() if label != "PRIVATE KEY"))
    other = dict(blocks(open(f"{c.dir}/b.pem").read()))
    mixed = private_file(f"{c.dir}/mixed.pem", text.replace(parts["PRIVATE KEY"].strip(), other["PRIVATE KEY"].strip()))
    for path, words in ((opened, "chmod 600"), (keyless, "PRIVATE KEY"), (mixed, "key"), (f"{c.dir}/absent.pem", "No such file")):
        code, out, err = shell("cert", "show", path)
        assert code == 1 and path in err and words in err and out == "", (path, out, err)
        assert not any(len(x) > 40 and x in err for x in parts["PRIVATE KEY"].split("\n")), err


@scenario("`cluster init` keeps its key 0600 and overwrites nothing; `cert issue` refuses a name or role that cannot be")
def _(c):
    with Cluster("second.test") as other:
        assert os.stat(f"{other.dir}/ca.key").st_mode & 0o777 == 0o600
        code, _, err = shell("cluster", "init", "second.test", "--dir", other.dir)
        assert code == 1 and "ca." in err, err
        assert shell("cert", "issue", "n1", "--dir", other.dir, "--role", "proxy")[0] == 0
        assert os.stat(f"{other.dir}/n1.pem").st_mode & 0o777 == 0o600
        for argv in (["a/b"], ["n2", "--role", "proxi"], ["n1"]):
            code, _, err = shell("cert", "issue", *argv, "--dir", other.dir)
            assert code == 1 and err and not os.path.exists(f"{other.dir}/n2.pem"), (argv, err)
        code, _, err = shell("run", f"{other.dir}/n1.pem", "--roles", "registrar", "--state", f"{other.dir}/never",
                             "--address", f"{NET}.19")
        assert code == 1 and "does not permit the role registrar" in err and "--role registrar" in err, err
        code, _, err = shell("run", f"{other.dir}/n1.pem", "--roles", "registrr", "--address", f"{NET}.19")
        assert code == 2 and "registrr" in err, err


@contextlib.contextmanager
def setup():
    with unlike_nodes(NET) as c:
        c.public = PublicCa(os.path.join(c.dir, "public"))
        c.public_trust = tls_context(f"{c.public.dir}/ca.pem")
        c.own_trust = tls_context(f"{c.dir}/ca.pem")
        c.add_user("alice")
        c.add_user("bob")
        yield c


main(setup)
