#!/usr/bin/env python3
"""The operator's commands: what they print, what they refuse, and how they exit (0 done, 1 refused or not found,
2 usage, 3 node not reachable)."""
import json
import os
import re
import stat
import subprocess
import time

from cluster import skald, wait_for
from scenario import main, scenario
from sipbench import DOMAIN, Bench


def run(*argv, stdin=None, timeout=60, cwd=None):
    return subprocess.run([skald] + list(argv), input=stdin, capture_output=True, text=True, timeout=timeout, cwd=cwd)


def at(bench, node, *argv, **kw):
    return run(*argv, "--control", bench.nodes[node].control, **kw)


def code(done, wanted):
    assert done.returncode == wanted, f"exit {done.returncode}, wanted {wanted}: {done.stdout} {done.stderr}"
    return done


@scenario("0 done, 1 not found or refused, 2 usage, 3 node not reachable")
def _(bench):
    code(at(bench, "a", "status"), 0)
    code(at(bench, "a", "user", "del", f"nobody@{DOMAIN}"), 1)
    code(at(bench, "a", "set", "min_copies", "99"), 2)
    code(at(bench, "a", "user", "add"), 2)
    code(at(bench, "a", "no-such-command"), 2)
    code(at(bench, "a", "members", "--no-such-flag"), 2)
    code(run("members", "--control", os.path.join(bench.cluster.dir, "nothing.sock")), 3)


@scenario("with --json an error is an object with error and hint, on standard error")
def _(bench):
    done = code(at(bench, "b", "set", "inbuond", "peers", "--json"), 2)
    said = json.loads(done.stderr)
    assert said["error"] and "inbound" in said["hint"], said
    assert not done.stdout


@scenario("an unknown setting names the nearest known one; a value that does not fit is refused")
def _(bench):
    done = code(at(bench, "a", "set", "digest_algorithm", "MD5"), 2)
    assert "digest_algorithms" in done.stderr, done.stderr
    assert "peers" in code(at(bench, "a", "set", "inbound", "some"), 2).stderr


@scenario("an unknown key in the configuration file is an error that names the nearest known one; comments are allowed")
def _(bench):
    path = os.path.join(bench.cluster.dir, "skald.json")

    def check(text):
        with open(path, "w") as f:
            f.write(text)
        return run("config", "check", path)

    code(check('{\n // what this node does\n "workers": 2, /* and where */ "sip_port": 5062\n}\n'), 0)
    bad = check('{"wrokers": 2}')
    assert bad.returncode != 0 and "workers" in bad.stderr and "wrokers" in bad.stderr, bad
    bad = check('{"workers": "many"}')
    assert bad.returncode != 0 and "workers" in bad.stderr, bad
    assert check('{"workers": ').returncode != 0
    started = run("run", os.path.join(bench.cluster.dir, "a.pem"), "--config", path, timeout=10)
    assert started.returncode not in (0, None), started


@scenario("5000 subscribers are imported from standard input, bad rows are reported with their line, and all work")
def _(bench):
    rows = ["aor,password"] + [f"bulk{i}@{DOMAIN},secret" for i in range(5000)]
    bad = {1000: f"@{DOMAIN},secret", 2500: "bulk@elsewhere.example,secret", 4000: f"empty@{DOMAIN},"}
    for line, text in bad.items():
        rows[line - 1] = text
    started = time.monotonic()
    done = at(bench, "b", "user", "import", "-", stdin="\n".join(rows) + "\n")
    took = time.monotonic() - started
    code(done, 1)
    assert sorted(int(n) for n in re.findall(r"line (\d+)", done.stderr)) == sorted(bad), done.stderr
    assert "4997" in done.stdout, done.stdout
    assert took < 10, took
    for user, edge in (("bulk0", "a"), ("bulk2499", "b"), ("bulk4999", "c")):
        bench.phone(edge, user=user, register=True)
    total = bench.nodes["c"].cli("user", "list")
    assert len([u for u in total if "bulk" in u["aor"]]) == 4997, len(total)


@scenario("hashes are imported as they are: MD5 alone, and both")
def _(bench):
    import hashlib
    path = os.path.join(bench.cluster.dir, "hashes.csv")
    md5 = hashlib.md5(f"hashed:{DOMAIN}:secret".encode()).hexdigest()
    sha = hashlib.sha256(f"hashed:{DOMAIN}:secret".encode()).hexdigest()
    with open(path, "w") as f:
        f.write(f"aor,ha1-md5,ha1-sha256\nhashed@{DOMAIN},{md5},{sha}\n")
    code(at(bench, "a", "user", "import", path), 0)
    bench.phone("c", user="hashed", register=True)
    with open(path, "w") as f:
        f.write(f"aor,ha1-md5\nbroken@{DOMAIN},zz\n")
    code(at(bench, "a", "user", "import", path), 1)
    code(at(bench, "a", "user", "import", path + ".not-there"), 2)
    code(at(bench, "a", "user", "import", "-", stdin="name,secret\nx,y\n"), 1)


@scenario("a subscriber is added once, gets a new password, is listed everywhere without it, and deleted")
def _(bench):
    aor = f"olga@{DOMAIN}"
    code(at(bench, "a", "user", "add", aor, "--password-stdin", stdin="first-word\n"), 0)
    code(at(bench, "b", "user", "add", aor, "--password-stdin", stdin="other\n"), 1)
    bench.phone("c", user="olga", password="first-word", register=True)
    code(at(bench, "c", "user", "passwd", aor, "--password-stdin", stdin="second-word\n"), 0)
    p = bench.phone("a", user="olga", password="first-word")
    assert p.register().status == 403
    bench.phone("a", user="olga", password="second-word", register=True)
    for node in "abc":
        text = at(bench, node, "user", "list", "--json").stdout
        assert "olga" in text and "word" not in text
    code(at(bench, "b", "user", "del", aor), 0)
    code(at(bench, "b", "user", "del", aor), 1)
    assert bench.phone("c", user="olga", password="second-word").register().status == 403


@scenario("members, owner and registrations have the keys that programs rely on, the same at every node")
def _(bench):
    p = bench.phone("b", register=True)
    seen = []
    for node in bench.nodes.values():
        members = node.cli("members")
        assert [sorted({"id", "name", "state", "roles", "zone", "address"} - set(m)) for m in members] == [[]] * 3
        assert all(re.fullmatch(r"[0-9a-f]{40}", m["id"]) and m["state"] == "active" for m in members)
        owner = node.cli("owner", f"{p.user}@{DOMAIN}")
        assert {"key", "partition", "owner", "copies"} <= set(owner) and owner["owner"] not in owner["copies"]
        assert len(owner["copies"]) == 2 and re.fullmatch(r"[0-9a-f]{40}", owner["key"])
        listed = node.cli("registrations", f"{p.user}@{DOMAIN}")
        assert {"aor", "contact", "expires_s", "edge"} <= set(listed[0])
        seen.append((sorted(m["id"] for m in members), owner, listed[0]["contact"], listed[0]["edge"]))
    assert seen[0] == seen[1] == seen[2], seen


@scenario("a cluster setting made at one node is seen at the others")
def _(bench):
    code(at(bench, "a", "set", "ring_seconds", "90"), 0)
    for node in "bc":
        wait_for("the setting is there", 5, lambda: "90" in at(bench, node, "set", "ring_seconds").stdout)
    code(at(bench, "c", "set", "ring_seconds", ""), 0)
    wait_for("the default is back", 5, lambda: "180" in at(bench, "a", "set", "ring_seconds").stdout)


@scenario("status, roles, calls, version and metrics answer for people and for machines")
def _(bench):
    for command in ("status", "roles", "calls", "version", "members"):
        assert code(at(bench, "b", command), 0).stdout.strip(), command
        json.loads(code(at(bench, "b", command, "--json"), 0).stdout)
    assert "skald_" in code(at(bench, "b", "metrics"), 0).stdout


@scenario("a new cluster and a certificate in the current directory; private files are 0600; nothing is overwritten")
def _(bench):
    where = os.path.join(bench.cluster.dir, "fresh")
    os.mkdir(where, 0o700)
    code(run("cluster", "init", "fresh.test", cwd=where), 0)
    code(run("cert", "issue", "one", "--seed", "127.0.0.1:4260", "--role", "proxy", cwd=where), 0)
    pem = os.path.join(where, "one.pem")
    assert stat.S_IMODE(os.stat(pem).st_mode) == 0o600
    shown = code(run("cert", "show", pem), 0).stdout
    assert "one.fresh.test" in shown and "proxy" in shown and "PRIVATE" not in shown, shown
    assert run("cluster", "init", "fresh.test", cwd=where).returncode != 0
    keys = [f for f in os.listdir(where) if "key" in f]
    assert keys and all(stat.S_IMODE(os.stat(os.path.join(where, f)).st_mode) == 0o600 for f in keys), os.listdir(where)


@scenario("a bundle that others can read, one that is none, and a port that is taken are errors with a reason")
def _(bench):
    where = os.path.join(bench.cluster.dir, "open.pem")
    with open(os.path.join(bench.cluster.dir, "a.pem")) as f, open(where, "w") as g:
        g.write(f.read())
    os.chmod(where, 0o644)
    done = run("run", where, "--address", f"{bench.network}.77", timeout=10)
    assert done.returncode != 0 and re.search(r"read|0600|permission", done.stdout + done.stderr), done
    done = run("run", skald + ".not-there.pem", timeout=10)
    assert done.returncode != 0 and (done.stdout + done.stderr).strip()
    os.chmod(where, 0o600)
    done = run("run", where, "--address", bench.nodes["a"].address, "--state", where + ".state", timeout=10)
    assert done.returncode != 0 and re.search(r"(5060|4260|5061)", done.stdout + done.stderr), done


@scenario("passwords and hashes stand in no log and no answer of the control API")
def _(bench):
    aor = f"quiet@{DOMAIN}"
    at(bench, "a", "user", "add", aor, "--password-stdin", stdin="Zx81-unguessable\n")
    bench.phone("b", user="quiet", password="Zx81-unguessable", register=True)
    for node in bench.nodes.values():
        with open(node.log, errors="replace") as f:
            assert "unguessable" not in f.read()
        for command in (("user", "list"), ("registrations",), ("set",), ("status",)):
            assert "unguessable" not in at(bench, node.name, *command, "--json").stdout


@scenario("a node that leaves is gone from every view, and ends with 0")
def _(bench):
    c = bench.nodes["c"]
    code(at(bench, "c", "leave"), 0)
    wait_for("the node has ended", 10, lambda: not c.process.alive())
    assert c.process.popen.returncode == 0, c.process.popen.returncode
    wait_for("it is gone from the views", 3, lambda: bench.nodes["a"].active() == bench.nodes["b"].active() == ["a", "b"])


main(lambda: Bench("127.0.27", workers=2, users=10))
