#!/usr/bin/env python3
"""The operator asks any node, changes subscribers and settings, and reads metrics: every command, on a real cluster."""
import contextlib
import hashlib
import json
import os
import re
import stat
import urllib.error
import urllib.request

from lab import wait_for
from operator_kit import CAPACITY, DOMAIN, ZONES, answer, ask, phone, refused, shell, unlike_nodes
from phone import establish
from scenario import main, scenario
from sipbench import hang_up

NET = "127.0.35"
HEX40 = re.compile(r"[0-9a-f]{40}$")


def not_holding(c, aor):
    """A node that does not own `aor`, and what `owner` says of it there."""
    facts = answer(c.nodes[0], "owner", aor)
    name = next(n for n in c.by_name if n != facts["owner"])
    return c.by_name[name], facts


@scenario("members --json has id, name, state, roles, zone and address, the same at every node; the table shows them")
def _(c):
    rows = answer(c.nodes[1], "members")
    assert [r["name"] for r in rows] == ["a", "b", "c"]
    for r in rows:
        assert HEX40.match(r["id"]) and r["state"] == "active" and r["zone"] == ZONES[r["name"]], r
        assert r["address"] == c.by_name[r["name"]].address and r["roles"] == ["proxy", "registrar", "dns"], r
        assert r["capacity"] == CAPACITY[r["name"]]
    assert all(n.members() == rows for n in c.nodes)
    code, text, _ = ask(c.nodes[2], "members")
    assert code == 0 and text.startswith("NAME") and all(z in text for z in ("east", "west", rows[0]["id"])), text


@scenario("owner names key, partition, owner and copies, alike at every node, and shares follow capacity")
def _(c):
    said = [json.loads(n.get("/v1/owner?aor=x@skald.test")) for n in c.nodes]
    assert said[0] == said[1] == said[2], said
    facts = answer(c.nodes[1], "owner", f"x@{DOMAIN}")
    assert HEX40.match(facts["key"]) and isinstance(facts["partition"], int), facts
    assert sorted([facts["owner"]] + facts["copies"]) == ["a", "b", "c"], facts
    assert answer(c.nodes[1], "owner", "x") == facts == answer(c.nodes[1], "owner", f"sip:x@{DOMAIN.upper()}")
    count = dict.fromkeys("abc", 0)
    for i in range(1200):
        count[json.loads(c.nodes[i % 3].get(f"/v1/owner?aor=u{i}@{DOMAIN}", 10))["owner"]] += 1
    for name, n in count.items():
        share = n / 1200 / (CAPACITY[name] / 400)
        assert 0.8 < share < 1.2, count
    refused(c.nodes[0], 2, "address of record|user@domain", "owner", "::")


@scenario("users are added, listed, given a new password and deleted through nodes that do not own them")
def _(c):
    node, _ = not_holding(c, f"eve@{DOMAIN}")
    assert answer(node, "user", "add", "eve", "--password-stdin", stdin="one\n")
    refused(node, 1, "exists already|user passwd", "user", "add", "eve", "--password-stdin", stdin="one\n")
    eve = phone(c, "eve", "a", password="one")
    assert eve.register().status == 200
    code, text, _ = ask(node, "user", "passwd", "eve", "--password-stdin", stdin="two\n")
    assert code == 0 and "eve" in text
    assert eve.register().status == 403
    eve.password = "two"
    assert eve.register().status == 200
    for n in c.nodes:
        rows = json.loads(n.get("/v1/users", 10))
        row = next(r for r in rows if r["aor"] == f"sip:eve@{DOMAIN}")
        assert "MD5" in row["digests"] and row["owner"] in "abc" and set(row) == {"aor", "owner", "digests", "aliases"}, row
    code, text, _ = ask(node, "user", "list")
    assert code == 0 and "eve" in text and "two" not in text
    bound = answer(node, "registrations", "eve")
    assert len(bound) == 1 and bound[0]["aor"] == f"sip:eve@{DOMAIN}" and bound[0]["edge"] == "a", bound
    assert bound[0]["contact"] == eve.contact.strip("<>") and 200 < bound[0]["expires_s"] <= 300, bound
    assert ask(node, "user", "del", "eve")[0] == 0
    assert all(json.loads(n.get("/v1/registrations", 10)) == [] for n in c.nodes), "a deleted user's bindings are gone"
    assert answer(node, "registrations", "eve") == []
    assert eve.register().status in (403, 404)
    refused(node, 1, "there is no|user list", "user", "del", "eve")
    refused(node, 1, "there is no", "user", "passwd", "eve", "--password-stdin", stdin="x\n")
    refused(node, 1, "not in a domain|set domains", "user", "add", "x@other.test", "--password-stdin", stdin="x\n")
    refused(node, 2, "held no password", "user", "add", "fay", "--password-stdin", stdin="")
    refused(node, 2, "terminal|--password-stdin", "user", "add", "fay")


@scenario("a user who never registered is deleted as well")
def _(c):
    c.by_name["b"].cli("user", "add", "gus", "--password-stdin", stdin="x\n")
    assert ask(c.by_name["c"], "user", "del", "gus")[0] == 0
    assert all("gus" not in r["aor"] for r in json.loads(c.nodes[0].get("/v1/users", 10)))


def ha1(algorithm, user, password):
    return hashlib.new(algorithm, f"{user}:{DOMAIN}:{password}".encode()).hexdigest()


@scenario("user import takes passwords from standard input and hashes from a file; those users register")
def _(c):
    code, text, err = ask(c.nodes[1], "user", "import", "-", stdin=f"aor,password\nalice,secret\nbob@{DOMAIN},secret\r\n\n")
    assert code == 0 and text.startswith("2 ") and err == "", (text, err)
    path = os.path.join(c.dir, "users.csv")
    with open(path, "w") as f:
        f.write(f"aor,ha1-md5,ha1-sha256\ncarl,{ha1('md5', 'carl', 'secret')},{ha1('sha256', 'carl', 'secret')}\n"
                f"dora@{DOMAIN},{ha1('md5', 'dora', 'secret')}\n")
    assert answer(c.nodes[2], "user", "import", path)["imported"] == 2
    for user, edge in (("alice", "a"), ("bob", "b"), ("carl", "c"), ("dora", "a")):
        p = phone(c, user, edge)
        assert p.register().status == 200, user
        assert p.register(expires=0).status == 200
        p.wire.close()


@scenario("user import reports each bad row with its line, takes the others, and exits 1")
def _(c):
    rows = "aor,password\nhal,secret\nonly\nian@other.test,x\n\njan,\nkim,secret\n"
    code, text, err = ask(c.nodes[0], "user", "import", "-", stdin=rows)
    assert code == 1 and text.startswith("2 subscribers imported, 3 rows refused"), text
    assert re.findall(r"^line (\d+): \S", err, re.M) == ["3", "4", "6"], err
    code, text, err = ask(c.nodes[0], "user", "import", "-", "--json", stdin=rows)
    said = json.loads(text)
    assert code == 1 and said["imported"] == 2 and [r["line"] for r in said["rows"]] == [3, 4, 6] and err == "", (text, err)
    hashes = f"aor,ha1-md5\nleo,{ha1('md5', 'leo', 'x')}\nmia,nothex\n"
    code, _, err = ask(c.nodes[0], "user", "import", "-", stdin=hashes)
    assert code == 1 and "line 3:" in err and "nothex" not in err, err


@scenario("a header that is none, an empty file and a file that is not there are said so")
def _(c):
    refused(c.nodes[0], 1, "header|aor,password", "user", "import", "-", stdin="name,secret\nx,y\n")
    refused(c.nodes[0], 1, "empty|aor,password", "user", "import", "-", stdin="")
    refused(c.nodes[0], 2, "/nowhere/x.csv", "user", "import", "/nowhere/x.csv")


@scenario("2000 rows are imported, and listed by a node that they did not come through")
def _(c):
    rows = "aor,ha1-md5\n" + "".join(f"m{i},{i:032x}\n" for i in range(2000))
    assert answer(c.nodes[0], "user", "import", "-", stdin=rows)["imported"] == 2000
    listed = answer(c.nodes[1], "user", "list")
    assert len([r for r in listed if r["aor"].startswith("sip:m")]) == 2000


@scenario("calls --json shows a call in progress at every node, and not after it ended")
def _(c):
    a, b = phone(c, "alice", "a"), phone(c, "bob", "b", 102)
    assert a.register().status == 200 and b.register().status == 200
    mine, _ = establish(a, b)
    rows = answer(c.by_name["c"], "calls")
    assert len(rows) == 1 and "alice" in rows[0]["caller"] and "bob" in rows[0]["callee"], rows
    assert rows[0]["call_id"] == mine.call_id and sorted(rows[0]["edges"]) == ["a", "b"], rows
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", rows[0]["since"])
    code, text, _ = ask(c.by_name["a"], "calls")
    assert code == 0 and "alice" in text
    hang_up(mine, b)
    wait_for("no call is left", 5, lambda: json.loads(c.by_name["c"].get("/v1/calls", 10)) == [])
    rows = answer(c.by_name["c"], "registrations")
    assert [(r["aor"], r["edge"]) for r in rows] == [(f"sip:alice@{DOMAIN}", "a"), (f"sip:bob@{DOMAIN}", "b")], rows
    code, text, _ = ask(c.by_name["b"], "registrations")
    assert code == 0 and text.startswith("AOR") and a.contact.strip("<>") in text


@scenario("a setting is changed for the whole cluster, shown, refused when wrong, and given back")
def _(c):
    def everywhere():
        return [next(r["value"] for r in json.loads(n.get("/v1/settings")) if r["key"] == "ring_seconds") for n in c.nodes]
    assert answer(c.by_name["b"], "set", "ring_seconds", "45") == {"key": "ring_seconds", "set": True}
    wait_for("all nodes have it", 5, lambda: everywhere() == ["45"] * 3)
    code, text, _ = ask(c.by_name["c"], "set", "ring_seconds")
    assert code == 0 and "45" in text and "180" in text, text
    refused(c.by_name["c"], 2, "ring_seconds", "set", "ring_seconds", "long")
    refused(c.by_name["c"], 2, 'did you mean "ring_seconds"', "set", "ring_second", "45")
    refused(c.by_name["c"], 1, 'did you mean "ring_seconds"', "set", "ring_second")
    assert ask(c.by_name["c"], "set", "ring_seconds", "")[0] == 0
    wait_for("all nodes forgot it", 5, lambda: everywhere() == ["180"] * 3)


@scenario("status, roles, dns and version answer for people and for machines")
def _(c):
    status = answer(c.by_name["b"], "status")
    assert status["name"] == "b" and status["state"] == "active" and status["members"] == 3, status
    assert status["serving"] is True and status["domain"] == DOMAIN and status["uptime_s"] > 0
    held = {r["role"]: r["holders"] for r in answer(c.by_name["b"], "roles")}
    assert sorted(held["proxy"]) == ["a", "b", "c"] and held["relay"] == [], held
    dns = answer(c.by_name["b"], "dns")
    assert any(r["type"] == "SRV" and r["name"].startswith("_sip._udp") for r in dns["records"]), dns
    assert "IN NS" in answer(c.by_name["b"], "dns", "--setup")["setup"]
    assert answer(c.by_name["b"], "version")["version"]
    for command in (["status"], ["roles"], ["dns"], ["version"]):
        code, text, err = ask(c.by_name["c"], *command)
        assert code == 0 and text and not text.startswith(("{", "[")) and err == "", command


@scenario("without a DNS server nothing is published, and the TSIG key is kept until it is taken away by name")
def _(c):
    a, b = c.by_name["a"], c.by_name["b"]
    assert "note" not in answer(a, "dns", "set", "--server", "")
    path = os.path.join(c.dir, "tsig.key")
    with open(path, "w") as f:
        f.write('key "skald" {\n\talgorithm hmac-sha256;\n\tsecret "c2VjcmV0IHNlY3JldCBzZWNyZXQh";\n};\n')

    def setting(key):
        return answer(b, "set", key)[0]
    answer(a, "dns", "set", "--server", "127.0.0.1:5399", "--tsig-file", path)
    wait_for("it is known elsewhere", 5, lambda: setting("dns.server")["value"] == "127.0.0.1:5399")
    assert "TSIG key is kept" in answer(a, "dns", "set", "--server", "")["note"]
    wait_for("it is not any more", 5, lambda: not setting("dns.server")["set"])
    assert setting("dns.tsig.name")["value"] == "skald" and setting("dns.tsig.secret")["set"]
    for key in ("dns.tsig.secret", "dns.tsig.name", "dns.tsig.algorithm"):
        answer(a, "set", key, "")
    wait_for("the key is gone", 5, lambda: not setting("dns.tsig.secret")["set"])


@scenario("a node that is not there is exit code 3; a wrong command line 2, and names what was meant")
def _(c):
    class absent:
        control = "/nowhere/control.sock"
    refused(absent, 3, "/nowhere/control.sock|skald run", "members")
    refused(absent, 3, "skald run", "user", "add", "x", "--password-stdin", stdin="x\n")
    refused(absent, 2, "AOR", "owner")
    refused(absent, 2, 'did you mean "members"', "member")
    refused(absent, 2, 'did you mean "import"', "user", "imports", "-")
    assert shell("--help")[0] == 0 and "members" in shell("--help")[1]


def is_exposition(text):
    """Prometheus text 0.0.4: HELP and TYPE before the samples of each name, names and values well formed."""
    typed, samples = set(), 0
    for line in text.rstrip("\n").split("\n"):
        if line.startswith("# TYPE "):
            name, kind = line.split()[2:]
            assert name not in typed and kind in ("counter", "gauge"), line
            typed.add(name)
        elif not line.startswith("# HELP "):
            m = re.fullmatch(r'([a-z_:][a-z0-9_:]*)(\{[a-z_]+="[^"]*"(,[a-z_]+="[^"]*")*\})? -?[0-9.e+]+', line)
            assert m and m.group(1) in typed, line
            samples += 1
    return samples


@scenario("metrics are Prometheus text on the control socket, and over TCP nothing but them")
def _(c):
    code, text, _ = ask(c.nodes[0], "metrics")
    assert code == 0 and is_exposition(text) > 50 and "skald_sip_requests_total" in text
    at = f"http://{c.nodes[0].address}:9464"
    with urllib.request.urlopen(at + "/metrics", timeout=5) as got:
        assert got.headers["Content-Type"].startswith("text/plain") and is_exposition(got.read().decode()) > 50
    for path, method in (("/v1/members", "GET"), ("/v1/users", "GET"), ("/v1/leave", "POST"), ("/", "GET")):
        try:
            urllib.request.urlopen(urllib.request.Request(at + path, method=method, data=b"" if method == "POST" else None),
                                   timeout=5)
            raise AssertionError(path)
        except urllib.error.HTTPError as e:
            assert e.code == 404 and b"alice" not in e.read()


@scenario("the control socket is 0600 in a state directory of 0700, and no file in it is open to others")
def _(c):
    for n in c.nodes:
        assert stat.S_IMODE(os.stat(n.control).st_mode) == 0o600 and stat.S_IMODE(os.stat(n.state).st_mode) == 0o700
        for where, _, files in os.walk(n.state):
            for f in files:
                path = os.path.join(where, f)
                assert stat.S_IMODE(os.stat(path).st_mode) & 0o077 == 0, path


@contextlib.contextmanager
def setup():
    with unlike_nodes(NET, a=["--metrics", f"{NET}.11:9464"]) as c:
        yield c


main(setup)
