#!/usr/bin/env python3
"""What a node is told when it starts: flags, a configuration file, an address to show; and whom the CLI asks by itself."""
import contextlib
import json
import os
import pwd
import shutil
import stat
import subprocess
import urllib.request

from cluster import Cluster, skald
from lab import wait_for
from operator_kit import private_file, shell
from phone import Phone
from scenario import main, scenario

NET = "127.0.37"
DOMAIN = "skald.test"


@contextlib.contextmanager
def alone(name, address, *args, cluster=None):
    """A cluster of one, running; a `cluster` given is left as it is."""
    with contextlib.ExitStack() as stack:
        c = cluster or stack.enter_context(Cluster(DOMAIN))
        n = c.node(name, address, args=["--workers", "1", "--dns-port", "5353"] + list(args))
        try:
            n.start()
            wait_for(f"{name} is active", 20, lambda: n.active() == [name])
            yield n
        finally:
            n.kill()


def said_by(argv):
    code, out, err = shell(*argv)
    if "--json" in argv:
        return code, json.loads(err if code else out)
    return code, out + err


@scenario("config check takes comments, names the nearest key, the type that is wanted, and what is no JSON")
def _(dir):
    good = private_file(f"{dir}/good.json", '{ // where it is\n "sip_port": 5070, /* free */ "address": ["127.0.0.1"],\n "zone": "east" }\n')
    assert said_by(["config", "check", good]) == (0, f"{good} is good\n")
    assert said_by(["config", "check", good, "--json"]) == (0, {"file": good, "good": True})
    for text, words in (('{"sip_prot": 5070}', 'did you mean "sip_port"'), ('{"sip_port": "5070"}', '"sip_port" must be a port'),
                        ('{"sip_port": 70000}', '"sip_port" must be a port'), ('{"address": "127.0.0.1"}', "list of IP addresses"),
                        ('{"address": ["x"]}', "not an IP address"), ('{"roles": ["proxi"]}', "proxi"),
                        ('{"zone": "a",}', "not a JSON object"), ("[]", "not a JSON object"), ('{"log_level": "loud"}', "loud")):
        bad = private_file(f"{dir}/bad.json", text)
        for machine in ([], ["--json"]):
            code, said = said_by(["config", "check", bad] + machine)
            assert code == 1 and words in (" ".join(said.values()) if machine else said), (text, code, said)
        code, _, err = shell("run", "x.pem", "--config", bad)
        assert code == 2 and words in err, (text, code, err)
    code, said = said_by(["config", "check", f"{dir}/absent.json"])
    assert code == 1 and "absent.json" in said


@scenario("a configuration file says what flags do not: flags win; the address to advertise stands in Via, Record-Route and DNS")
def _(dir):
    config = private_file(f"{dir}/node.json", f'{{ "zone": "from-file", "capacity": 70, "sip_port": 5070, // a comment\n'
                                              f'"metrics": "{NET}.11:9464", "advertise": "192.0.2.7" }}')
    with alone("a", f"{NET}.11", "--config", config, "--zone", "from-flag") as n:
        row = n.members()[0]
        assert row["zone"] == "from-flag" and row["capacity"] == 70, row
        assert row["address"] == "192.0.2.7", row
        with urllib.request.urlopen(f"http://{NET}.11:9464/metrics", timeout=5) as got:
            assert b"skald_" in got.read()
        n.cluster.add_user("alice")
        n.cluster.add_user("bob")
        p, q = (Phone(u, DOMAIN, (n.address, 5070), local_ip=f"{NET}.10{i}") for i, u in ((1, "alice"), (2, "bob")))
        assert p.register().status == 200 and q.register().status == 200
        invite = p.start_call("bob")
        seen = q.expect_request("INVITE")
        assert "192.0.2.7:5070" in seen.all("via")[0], seen.all("via")
        assert seen.all("record-route") and all("192.0.2.7" in r for r in seen.all("record-route")), seen.all("record-route")
        q.reply(seen, 486, to_tag="x")
        p.ack_failure(invite, p.expect_final(invite))
        records = json.loads(n.get("/v1/dns"))["records"]
        assert [r["data"] for r in records if r["type"] == "A" and r["name"] == f"a.{DOMAIN}"] == ["192.0.2.7"], records
        assert f"{NET}.11" not in {r["data"] for r in records}


@scenario("a bundle that is not the founder's waits and says for whom; with --found it begins alone")
def _(dir):
    with Cluster(DOMAIN) as c:
        c.node("a", f"{NET}.12")
        second = c.node("b", f"{NET}.13", seeds=[f"{NET}.12:4260"], args=["--workers", "1", "--dns-port", "5353"])
        second.start()
        waits = wait_for("it says for whom it waits", 10, lambda: json.loads(second.get("/v1/status") or "{}").get("waiting_for"))
        assert f"{NET}.12:4260" in waits, waits
        status = json.loads(second.get("/v1/status"))
        assert status["state"] == "joining" and status["serving"] is False, status
        second.kill()
        second.start("--found")
        wait_for("it begins alone", 15, lambda: second.active() == ["b"])


def as_nobody(dir):
    """How a person without rights starts things: the user's id, and an environment with a state directory."""
    home = os.path.join(dir, "home")
    os.makedirs(home, exist_ok=True)
    env = {"XDG_STATE_HOME": home, "HOME": home, "PATH": os.environ["PATH"]}
    if os.geteuid() != 0:
        return env, {}
    nobody = pwd.getpwnam("nobody")
    os.chmod(dir, 0o711)
    os.chown(home, nobody.pw_uid, nobody.pw_gid)
    return env, {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}


@scenario("with no --control the CLI asks the only live node; of two it names both, with none it says how to start one")
def _(dir):
    env, who = as_nobody(dir)
    home = env["XDG_STATE_HOME"]
    binary = shutil.copy(skald, f"{dir}/skald")  # a build directory may be closed to others

    def typed(*argv):
        done = subprocess.run([binary] + list(argv), env=env, capture_output=True, text=True, timeout=30, **who)
        return done.returncode, done.stdout, done.stderr

    running = []
    try:
        for i, name in enumerate(("one", "two")):
            ca = f"{home}/{name}.d"
            assert typed("cluster", "init", DOMAIN, "--dir", ca)[0] == 0
            assert typed("cert", "issue", name, "--dir", ca)[0] == 0
        assert typed("members")[0] == 3 and "skald run NAME.pem" in typed("members")[2]
        for i, name in enumerate(("one", "two")):
            with open(f"{dir}/{name}.log", "ab") as out:
                running.append(subprocess.Popen([binary, "run", f"{home}/{name}.d/{name}.pem", "--address", f"{NET}.{14 + i}",
                                                 "--workers", "1", "--dns-port", "5353"], env=env, stdout=out, stderr=out, **who))
            wait_for(f"{name} answers", 15, lambda: os.path.exists(f"{home}/skald/{name}/control.sock"))
            if i == 0:
                code, text, err = wait_for("the only one is asked", 10, lambda: [
                    x for x in [typed("members", "--json")] if x[0] == 0 and '"active"' in x[1]])[0]
                assert [m["name"] for m in json.loads(text)] == ["one"]
                assert stat.S_IMODE(os.stat(f"{home}/skald/one").st_mode) == 0o700
        code, text, err = wait_for("both live", 10, lambda: [x for x in [typed("members")] if x[0] != 0])[0]
        assert code == 3 and text == "" and "several nodes run here" in err, (code, err)
        assert all(f"--control {home}/skald/{name}/control.sock" in err for name in ("one", "two")), err
        code, _, err = typed("members", "--json")
        assert code == 3 and set(json.loads(err)) == {"error", "hint"}
    finally:
        for p in running:
            p.kill()
            p.wait()


@contextlib.contextmanager
def setup():
    dir = os.path.join("/tmp", f"skald-start-{os.getpid()}")
    os.makedirs(dir, mode=0o700)
    try:
        yield dir
    finally:
        shutil.rmtree(dir, ignore_errors=True)


main(setup)
