#!/usr/bin/env python3
"""Nodes that are half dead, paused, or wrong about the time (consistency.md §5, §7), with real disks, signals and clocks."""
import contextlib
import json
import os
import signal
import subprocess
import tempfile
import time

from cluster import three_on_loopback
from lab import wait_for
from phone import Phone
from scenario import main, scenario

USERS = [f"u{i}" for i in range(8)]


@contextlib.contextmanager
def small_disk(node):
    """Twelve megabytes of memory in the place of the node's state directory."""
    os.makedirs(node.state, mode=0o700, exist_ok=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=12m,mode=0700", "skald-test", node.state], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", node.state], check=False)


@contextlib.contextmanager
def setup():
    with three_on_loopback(base=241) as c:
        for user in USERS:
            c.add_user(user)
        yield c


def status(node):
    return json.loads(node.get("/v1/status") or "{}")


def states(by, name):
    return [m["state"] for m in by.members() if m["name"] == name]


def register_all(c, edge):
    phones = [Phone(u, c.domain, (edge.address, 5060)) for u in USERS]
    answers = [p.register().status for p in phones]
    for p in phones:
        p.wire.close()
    return answers


@scenario("a node whose disk is full steps back: others own its share, and it is back when there is room")
def _(c):
    a, b, _ = c.nodes
    b.stop()
    with small_disk(b):
        b.start()
        c.wait_active(seconds=30)
        filler = os.path.join(b.state, "filler")
        fd = os.open(filler, os.O_CREAT | os.O_WRONLY)
        with contextlib.suppress(OSError):
            while os.write(fd, b"x" * 4096) == 4096:
                pass
        os.close(fd)
        # Writes reach it as owner or copy, and fail there.
        def steps_back():
            register_all(c, a)
            return status(b).get("half_dead")
        why = wait_for("it says that it stepped back", 30, steps_back)
        assert "disk" in why, why
        wait_for("it owns nothing any more", 15, lambda: states(a, "b") == ["joining"])
        assert b.metric("skald_cluster_half_dead") == 1
        wait_for("every registration is taken", 10, lambda: register_all(c, a) == [200] * len(USERS))
        phone = Phone("u0", c.domain, (b.address, 5060))
        assert phone.register().status == 503
        os.remove(filler)
        wait_for("it is back", 40, lambda: states(a, "b") == ["active"] and not status(b).get("half_dead"))
        assert phone.register().status == 200
        b.stop()
    b.start()
    c.wait_active(seconds=30)


@scenario("a node that can open no link, while the overlay hears it, steps back")
def _(c):
    a, b, _ = c.nodes
    ways = [f"ip {side} {b.address} tcp {port} 4260 reject with tcp reset" for side in ("saddr", "daddr") for port in ("dport", "sport")]
    rules = "\n".join(["table ip half {", "chain out {", "type filter hook output priority 0;"] + ways + ["}", "}"]) + "\n"
    subprocess.run(["nft", "-f", "-"], input=rules, text=True, check=True)
    try:
        why = wait_for("it says that it stepped back", 15, lambda: status(b).get("half_dead"))
        assert "links to 2 of 2" in why, why
        wait_for("the others see it", 10, lambda: states(a, "b") in (["draining"], ["joining"]))
        assert status(a)["half_dead"] == "" and status(c.nodes[2])["half_dead"] == ""
    finally:
        subprocess.run(["nft", "delete", "table", "ip", "half"], check=True)
    wait_for("it is back", 40, lambda: states(a, "b") == ["active"] and not status(b).get("half_dead"))


@scenario("a node that was stopped for two seconds says no firm no, and takes nothing on, until it knows where it stands")
def _(c):
    a, b, d = c.nodes
    c.wait_active(seconds=30)
    phones = [Phone(u, c.domain, (a.address, 5060)) for u in USERS]
    b.process.popen.send_signal(signal.SIGSTOP)
    try:
        wait_for("it is out of both views", 3, lambda: a.seen() == d.seen() == ["a", "c"], 0.02)
        for p in phones:  # what it owned is written without it
            assert p.register(contacts=[f"<sip:{p.user}@127.0.0.250:7000>"]).status == 200
        time.sleep(max(0, 2 - 1))
    finally:
        b.process.popen.send_signal(signal.SIGCONT)
    missed = []
    ends = time.monotonic() + 3
    while time.monotonic() < ends:
        for p in phones:
            text = b.get(f"/v1/registrations?aor={p.user}@{c.domain}")
            if text is not None and not any("127.0.0.250" in row["contact"] for row in json.loads(text)):
                missed.append((p.user, text))
    assert not missed, missed[:3]
    wait_for("it is back", 10, lambda: a.active() == b.active() == ["a", "b", "c"])
    assert "may be stale" in b.process.text()


shim = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdlib.h>
#include <sys/time.h>
#include <time.h>
static long off(void) { const char* s = getenv("CLOCK_SHIFT_S"); return s ? atol(s) : 0; }
int clock_gettime(clockid_t which, struct timespec* t) {
  static int (*real)(clockid_t, struct timespec*);
  if (!real) real = dlsym(RTLD_NEXT, "clock_gettime");
  int rc = real(which, t);
  if (rc == 0 && (which == CLOCK_REALTIME || which == CLOCK_REALTIME_COARSE)) t->tv_sec += off();
  return rc;
}
int gettimeofday(struct timeval* t, void* z) {
  struct timespec s; clock_gettime(CLOCK_REALTIME, &s); t->tv_sec = s.tv_sec; t->tv_usec = s.tv_nsec / 1000; (void)z; return 0;
}
time_t time(time_t* t) { struct timespec s; clock_gettime(CLOCK_REALTIME, &s); if (t) *t = s.tv_sec; return s.tv_sec; }
"""


@contextlib.contextmanager
def shifted_clock(seconds):
    with tempfile.TemporaryDirectory() as dir:
        with open(f"{dir}/shift.c", "w") as f:
            f.write(shim)
        subprocess.run(["cc", "-shared", "-fPIC", "-o", f"{dir}/shift.so", f"{dir}/shift.c", "-ldl"], check=True)
        os.environ["LD_PRELOAD"], os.environ["CLOCK_SHIFT_S"] = f"{dir}/shift.so", str(seconds)
        try:
            yield
        finally:
            del os.environ["LD_PRELOAD"], os.environ["CLOCK_SHIFT_S"]


@scenario("a node whose clock is an hour ahead says so, expires nothing, and wins nothing")
def _(c):
    a, b, d = c.nodes
    phones = [Phone(u, c.domain, (a.address, 5060)) for u in USERS]
    assert [p.register(expires=120).status for p in phones] == [200] * len(phones)
    d.stop()
    with shifted_clock(3600):
        d.start()
        wait_for("it has loaded the shifted clock", 10, lambda: d.get("/v1/status"))
    c.wait_active(seconds=30)
    wait_for("it says so", 40, lambda: status(d).get("clock_wrong"))  # among few members clocks are compared every ten seconds
    assert abs(status(d)["clock_deviation_ms"] - 3_600_000) < 5000, status(d)["clock_deviation_ms"]
    assert not status(a)["clock_wrong"] and not status(b)["clock_wrong"]
    assert "this machine's clock is" in d.process.text()
    assert d.metric("skald_clock_deviation_ms") > 3_500_000
    for n in c.nodes:  # each of them, whoever owns it, from its own copies
        for p in phones:
            rows = [r for r in n.cli("registrations", f"{p.user}@{c.domain}") if f":{p.port}" in r["contact"]]
            assert len(rows) == 1 and 0 < rows[0]["expires_s"] <= 120, (n.name, p.user, rows)
    # What is written through it is not above what is written later elsewhere.
    for p in phones:
        via_d = Phone(p.user, c.domain, (d.address, 5060))
        assert via_d.register(contacts=[f"<sip:{p.user}@127.0.0.251:7000>"]).status == 200
        assert via_d.register(contacts=[f"<sip:{p.user}@127.0.0.251:7000>;expires=0"]).status == 200
        via_a = Phone(p.user, c.domain, (a.address, 5060))
        assert via_a.register(contacts=[f"<sip:{p.user}@127.0.0.251:7000>"]).status == 200
        via_d.wire.close()
        via_a.wire.close()
    for n in c.nodes:
        for p in phones:
            rows = n.cli("registrations", f"{p.user}@{c.domain}")
            assert any("127.0.0.251" in r["contact"] for r in rows), (n.name, p.user, rows)


@scenario("all off, and one of three wakes an hour ahead: whichever it is, the cluster begins with the time of the two")
def _(c):
    phones = [Phone(u, c.domain, (c.nodes[0].address, 5060)) for u in USERS]
    assert [p.register(expires=1800).status for p in phones] == [200] * len(phones)
    for wrong in c.nodes:
        for n in c.nodes:
            n.stop()
        with shifted_clock(3600):
            wrong.start()
            wait_for("it has loaded the shifted clock", 10, lambda: wrong.get("/v1/status"))
        for n in c.nodes:
            if n is not wrong:
                n.start()
        c.wait_active(seconds=30)
        wait_for(f"{wrong.name} says so", 40, lambda: status(wrong).get("clock_wrong"))
        for n in c.nodes:
            assert status(n)["clock_wrong"] == (n is wrong), (wrong.name, n.name, status(n))
            for p in phones:  # an hour later they would have expired
                rows = [r for r in n.cli("registrations", f"{p.user}@{c.domain}") if f":{p.port}" in r["contact"]]
                assert len(rows) == 1 and 0 < rows[0]["expires_s"] <= 1800, (wrong.name, n.name, p.user, rows)


main(setup)
