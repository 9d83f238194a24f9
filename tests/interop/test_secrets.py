#!/usr/bin/env python3
"""What operators are shown, and what is logged, holds no TSIG secret, no private key and no password; and the public
certificate can be taken back."""
import base64
import contextlib
import glob
import os
import stat
import subprocess

from cluster import three_on_loopback
from lab import wait_for
from scenario import main, scenario

DOMAIN, NET = "skald.test", "127.0.35"
SECRET = base64.b64encode(b"a secret that nobody shall read!").decode()
SHOWN = (("set",), ("set", "dns.tsig.secret"), ("dns",), ("dns", "--setup"), ("status",), ("tls", "status"), ("members",), ("roles",),
         ("user", "list"), ("metrics",))


@contextlib.contextmanager
def setup():
    with three_on_loopback(DOMAIN, network=NET, args=["--log-level", "debug"]) as c:
        yield c


def public_certificate(c):
    cert, key = os.path.join(c.dir, "public.crt"), os.path.join(c.dir, "public.key")
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "90", "-subj",
                    f"/CN={DOMAIN}", "-addext", f"subjectAltName=DNS:{DOMAIN},DNS:*.{DOMAIN}", "-keyout", key, "-out", cert],
                   check=True, capture_output=True)
    return cert, key


@scenario("TSIG secret, private keys and passwords are in no answer and in no log")
def _(c):
    cert, key = public_certificate(c)
    with open(os.path.join(c.dir, "tsig"), "w") as f:
        f.write(f"hmac-sha256:skald:{SECRET}\n")
    one = c.nodes[0]
    one.cli("tls", "set", "--cert", cert, "--key", key)
    one.cli("dns", "set", "--server", "127.0.0.1:5399", "--tsig-file", os.path.join(c.dir, "tsig"))
    c.add_user("alice", "open sesame")
    wait_for("all have both", 5, lambda: all(
        n.cli("set", "dns.tsig.secret")[0]["set"] and not n.cli("tls", "status")[0]["missing"] for n in c.nodes))
    hidden = [SECRET, "open sesame"]
    for path in [key] + glob.glob(os.path.join(c.dir, "*.pem")):
        text, private = open(path).read(), False
        for line in text.split("\n"):
            private = "BEGIN" in line and "PRIVATE" in line or private and "END" not in line
            if private and "BEGIN" not in line and len(line) > 20:
                hidden.append(line)
    assert len(hidden) > 5
    for n in c.nodes:
        texts = {" ".join(words): n.text(*words) + n.text(*words, "--json") for words in SHOWN}
        texts |= {path: n.get(path) or "" for path in ("/v1/settings", "/v1/dns", "/v1/status", "/v1/tls")}
        texts["log"] = open(n.log, errors="replace").read()
        for what, text in texts.items():
            assert text, f"{n.name}: {what}: nothing"
            assert not any(h in text for h in hidden), f"{n.name}: {what} shows a secret"


@scenario("nobody else can enter the state directory or the control socket")
def _(c):
    for n in c.nodes:
        assert stat.S_IMODE(os.stat(n.state).st_mode) == 0o700
        for entry in os.scandir(n.state):
            assert stat.S_IMODE(entry.stat().st_mode) & 0o077 == 0 or entry.name.startswith("durable.db"), entry.name


@scenario("an empty value takes the public certificate back, and phones see the nodes' own again")
def _(c):
    def issuers():
        return {row["issuer"] for n in c.nodes for row in n.cli("tls", "status")}
    assert issuers() == {f"CN={DOMAIN}"}, issuers()
    c.nodes[1].cli("set", f"tls.{DOMAIN}", "")
    wait_for("the cluster's own CA", 5, lambda: f"CN={DOMAIN}" not in issuers())
    done = subprocess.run([c.nodes[0].binary, "set", "tls.never.test", "", "--control", c.nodes[0].control], capture_output=True, text=True)
    assert done.returncode != 0 and "tls set" in done.stdout + done.stderr, done


main(setup)
