#!/usr/bin/env python3
"""A node's life in a cluster of real processes: it joins, leaves, is told to stop, is started wrongly."""
import contextlib
import os
import re
import signal
import socket
import subprocess
import tempfile
import time

from cluster import skald
from lab import SLOW, wait_for
from phone import NoAnswer, Phone
from scenario import main, scenario
from sipbench import DOMAIN, Bench

NET = "127.0.34"


def more_node(bench, name, address, seed="a"):
    n = bench.cluster.node(name, f"{NET}.{address}", seeds=[f"{bench.nodes[seed].address}:4260"],
                           args=["--workers", "1", "--dns-port", "5353"])
    return n


def log_of(node):
    with open(node.log, errors="replace") as f:
        return f.read()


def refused_start(argv, timeout=20):
    done = subprocess.run([skald] + argv, capture_output=True, text=True, timeout=timeout)
    assert done.returncode not in (0, -6, -11), done
    return done.returncode, done.stderr


@contextlib.contextmanager
def nothing_lost(bench, survivors):
    """Registrations answered 200 before are found through each of the survivors after; calls get through as well."""
    phones = [bench.phone(name, register=True) for name in survivors for _ in range(6)]
    yield phones
    for name in survivors:
        rows = {r["aor"] for r in bench.nodes[name].cli("registrations")}
        lost = [p.user for p in phones if f"sip:{p.user}@{DOMAIN}" not in rows]
        assert not lost, f"{name} does not know {lost}"
        for p in phones:
            answer = bench.phone(name, user=p.user).register(contacts=[])
            assert answer.status == 200 and any(str(p.port) in c for c in answer.all("contact")), f"{name}: {answer}"
    caller = bench.phone(survivors[0], register=True)
    for p in phones:
        request = caller.request("MESSAGE", p.aor, body="hello", content_type="text/plain", contact=False)
        caller.send(request)
        challenge = caller.expect_final(request)
        request = caller.authorized(request, challenge)
        caller.send(request)
        p.reply(p.expect_request("MESSAGE"), 200)
        assert caller.expect_final(request).status == 200
    for p in phones + [caller]:
        p.register(expires=0, contacts=["*"])


@scenario("from `skald run` to the first answered REGISTER it takes less than 5 s")
def _(bench):
    n = more_node(bench, "d", 14)
    user = bench.user()
    started = time.monotonic()
    n.start()
    while True:
        phone = Phone(user, DOMAIN, (n.address, 5060), local_ip=f"{NET}.99")
        try:
            answer = phone.register(seconds=0.3)
        except (NoAnswer, OSError):
            answer = None
        phone.wire.close()
        taken = time.monotonic() - started
        if answer and answer.status == 200:
            break
        # Not yet active: 503, or nobody there; never a no (401's 403, 404).
        assert answer is None or answer.status == 503, answer.start
        assert taken < 5 * SLOW, f"after {taken:.1f} s: {answer.start if answer else 'nothing'}; {log_of(n)}"
        time.sleep(0.05)
    print(f"     joined and serving after {taken:.1f} s")
    bench.cluster.wait_active(["a", "b", "c", "d"])


@scenario("`skald leave` is instant, and no registration is lost")
def _(bench):
    n = next(n for n in bench.cluster.nodes if n.name == "d")
    with nothing_lost(bench, ["a", "b", "c"]):
        started = time.monotonic()
        n.cli("leave")
        wait_for("the others know that it left", 5,
                 lambda: all(o.active() == ["a", "b", "c"] for o in bench.nodes.values()), 0.01)
        taken = time.monotonic() - started
        assert n.process.popen.wait(5 * SLOW) == 0
        print(f"     left after {taken:.2f} s")
        assert taken < 2 * SLOW, taken


@scenario("SIGTERM is a graceful leave: nobody suspects it, nothing is lost, the exit status is 0")
def _(bench):
    n = more_node(bench, "e", 15, seed="b").start()
    bench.cluster.wait_active(["a", "b", "c", "e"])
    wait_for("no suspicion is left", 5, lambda: all(m["state"] == "active" for m in bench.nodes["a"].members()
                                                    if m["name"] in "abce"))
    before = [o.metric("skald_swim_removals_total") for o in bench.nodes.values()]
    with nothing_lost(bench, ["a", "b", "c"]):
        assert n.stop() == 0
        wait_for("the others know that it left", 2,
                 lambda: all(o.active() == ["a", "b", "c"] for o in bench.nodes.values()), 0.01)
    assert [o.metric("skald_swim_removals_total") for o in bench.nodes.values()] == before
    assert "leaving" in log_of(n)


@scenario("a node that left, and is started again at once on the same address, is active again")
def _(bench):
    n = next(n for n in bench.cluster.nodes if n.name == "e").start()
    bench.cluster.wait_active(["a", "b", "c", "e"])
    assert n.stop() == 0


@scenario("a node killed and started again at once, before anybody missed it, is active again")
def _(bench):
    c = bench.nodes["c"]
    with nothing_lost(bench, ["a", "b"]):
        c.kill()
        c.start()
        wait_for("c is active everywhere", 15, lambda: all(n.active() == ["a", "b", "c"] for n in bench.nodes.values()))


@scenario("a port that is taken ends the start with an error that names the port and who has it")
def _(bench):
    n = more_node(bench, "f", 16)
    for option, kind, port in (("--sip-port", socket.SOCK_DGRAM, 5060), ("--overlay-port", socket.SOCK_DGRAM, 4260),
                               ("--sips-port", socket.SOCK_STREAM, 5061), ("--link-port", socket.SOCK_STREAM, 4260)):
        with contextlib.closing(socket.socket(socket.AF_INET, kind)) as s:
            s.bind((n.address, port))
            if kind == socket.SOCK_STREAM:
                s.listen(1)
            code, error = refused_start(["run", f"{bench.cluster.dir}/f.pem", "--state", n.state, "--address", n.address,
                                         "--dns-port", "5353"])
            assert code == 1 and str(port) in error and n.address in error, (option, code, error)
            assert f"pid {os.getpid()}" in error, error


@scenario("a DNS port that is taken costs only the role dns, with a warning")
def _(bench):
    n = more_node(bench, "g", 17)
    with contextlib.closing(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as s:
        s.bind((n.address, 5353))
        n.start()
        bench.cluster.wait_active(["a", "b", "c", "g"])
        row = next(m for m in bench.nodes["a"].members() if m["name"] == "g")
        assert "dns" not in row["roles"] and "registrar" in row["roles"], row
        assert re.search(r"warning dns: .*5353", log_of(n)), log_of(n)
        assert n.stop() == 0


@scenario("a bundle that others can read, that is not there, or that is no bundle is refused with its name")
def _(bench):
    good = f"{bench.cluster.dir}/a.pem"
    with tempfile.TemporaryDirectory() as d:
        for name, text, mode, words in (("open.pem", open(good).read(), 0o644, r"read|0600|permission"),
                                        ("empty.pem", "", 0o600, ""), ("noise.pem", "hello\n" * 50, 0o600, ""),
                                        ("half.pem", open(good).read()[:700], 0o600, "")):
            path = f"{d}/{name}"
            with open(path, "w") as f:
                f.write(text)
            os.chmod(path, mode)
            code, error = refused_start(["run", path, "--state", f"{d}/state", "--address", f"{NET}.18"])
            assert code == 1 and path in error and re.search(words, error), (name, code, error)
            assert not any(line in error for line in open(good).read().split("\n")[1:4]), "a secret in an error"
        code, error = refused_start(["run", f"{d}/absent.pem", "--state", f"{d}/state", "--address", f"{NET}.18"])
        assert code == 1 and "absent.pem" in error and "No such file" in error, (code, error)


@scenario("a bundle whose certificate is expired is refused before anything is opened")
def _(bench):
    from rogues import Maker
    maker = Maker(bench.cluster)
    cert, key = maker.cert("old", end="20250101000000Z")
    path = maker.bundle("old", cert, key, f"{bench.nodes['a'].address}:4260")
    code, error = refused_start(["run", path, "--state", f"{bench.cluster.dir}/state-old", "--address", f"{NET}.18"])
    assert code == 1 and "expired" in error, (code, error)


@scenario("`skald dev --nodes 3` starts a cluster, prints how to use it, and stops all of it on SIGTERM")
def _(bench):
    with tempfile.TemporaryDirectory() as d:
        out = open(f"{d}/out", "w+")
        dev = subprocess.Popen([skald, "dev", "--nodes", "3", "--dir", f"{d}/dev"], stdout=out, stderr=subprocess.STDOUT)
        try:
            def printed():
                assert dev.poll() is None, open(f"{d}/out").read()
                return "stop it" in open(f"{d}/out").read()
            wait_for("it prints how to use it", 30, printed)
            text = open(f"{d}/out").read()
            assert all(w in text for w in ("127.0.0.11", "127.0.0.13", "alice", "bob", "ca.pem")), text
            password = re.search(r"sip:alice@\S+\s+password (\S+)", text).group(1)
            phone = Phone("alice", DOMAIN, ("127.0.0.12", 5060), password=password)
            assert phone.register().status == 200
            children = subprocess.run(["pgrep", "-P", str(dev.pid)], capture_output=True, text=True).stdout.split()
            assert len(children) == 3, children
            dev.send_signal(signal.SIGTERM)
            assert dev.wait(15) == 0
            assert not any(os.path.exists(f"/proc/{pid}") for pid in children)
        finally:
            dev.kill()
            out.close()


@contextlib.contextmanager
def setup():
    with Bench(NET, workers=1) as bench:
        yield bench


main(setup)
