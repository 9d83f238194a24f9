#!/usr/bin/env python3
"""sipp as caller and callee through two different edges: 1000 calls, none failed, every final answer seen once."""
import collections
import os
import re
import subprocess

from scenario import main, scenario
from sipbench import DOMAIN, Bench, free_port
from sipmsg import parse

CALLS = int(os.environ.get("SKALD_SIPP_CALLS", "1000"))
RATE = int(os.environ.get("SKALD_SIPP_RATE", "60"))
LIMIT_S = 60 + CALLS // RATE  # for sipp itself; the scenario waits half a minute longer
here = os.path.join(os.path.dirname(os.path.abspath(__file__)), "sipp")


class Sipp:
    """One sipp; its message trace is read when it has ended."""

    def __init__(self, bench, name, edge, ip, port, calls, transport="u1", keys=(), more=()):
        self.trace = os.path.join(bench.cluster.dir, f"{name}-{ip}-{port}.msg")
        self.name, self.log = name, self.trace + ".log"
        argv = ["sipp", f"{bench.nodes[edge].address}:5060", "-sf", os.path.join(here, name + ".xml"), "-i", ip, "-p",
                str(port), "-t", transport, "-m", str(calls), "-nostdin", "-trace_msg", "-message_file", self.trace,
                "-message_overwrite", "false", "-timeout", str(LIMIT_S), "-timeout_error"]
        for key, value in dict(keys, domain=DOMAIN).items():
            argv += ["-key", key, value]
        self.out = open(self.log, "w")
        self.process = subprocess.Popen(argv + list(more), stdout=self.out, stderr=self.out, stdin=subprocess.DEVNULL,
                                        cwd=bench.cluster.dir)

    def end(self, seconds=LIMIT_S + 30):
        """Waits; the last lines of its screen if it was not content."""
        try:
            code = self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.process.kill()
            code = self.process.wait()
        self.out.close()
        if code != 0:
            with open(self.log, errors="replace") as f:
                raise AssertionError(f"sipp {self.name} ended with {code}\n" + f.read()[-3000:])

    def stop(self):
        self.process.kill()
        self.process.wait()
        self.out.close()

    def received(self):
        """The messages that came in, parsed."""
        with open(self.trace, "rb") as f:
            parts = re.split(rb"(?m)^-{20,}.*\r?\n", f.read())
        for part in parts:
            head, _, rest = part.partition(b"\n\n")
            if b"message received" in head:
                yield parse(rest.lstrip(b"\r\n"))


def register_callee(bench, edge, ip, port, transport="udp"):
    """Binds the address where sipp will answer; the phone that did it is closed before."""
    p = bench.phone(edge, local_ip=ip, local_port=port)
    p.via = lambda branch=None, made=p.via: made(branch).replace(";rport", ";rport;keep")
    assert p.register().status == 200
    p.wire.close()
    return p


def caller(bench, edge, ip, port, calls, transport, callee):
    user = bench.user()
    return Sipp(bench, "uac", edge, ip, port, calls, transport, {"user": user, "callee": callee.user},
                ["-r", str(RATE), "-au", user, "-ap", "secret"])


def twice(messages, key):
    seen = collections.Counter(key(m) for m in messages)
    return {k: n for k, n in seen.items() if n > 1}


def final_key(m):
    return (m.get("call-id"), m.get("cseq"), m.status)


@scenario(f"{CALLS} calls from edge a to edge b: none failed, every final answer and every INVITE seen once")
def _(bench):
    ip, other_ip = f"{bench.network}.200", f"{bench.network}.201"
    port, other_port = free_port(ip), free_port(other_ip)
    callee = register_callee(bench, "b", ip, port)
    uas = Sipp(bench, "uas", "b", ip, port, CALLS)
    uac = caller(bench, "a", other_ip, other_port, CALLS, "u1", callee)
    try:
        uac.end()
        uas.end(20)
    finally:
        uac.stop()
        uas.stop()
    finals = [m for m in uac.received() if m.status and m.status >= 200]
    by_method = collections.Counter((m.status, m.method) for m in finals)
    assert by_method[(407, "INVITE")] >= CALLS and by_method[(200, "INVITE")] >= CALLS, by_method
    assert by_method[(200, "BYE")] >= CALLS and set(by_method) <= {(407, "INVITE"), (200, "INVITE"), (200, "BYE")}, by_method
    assert not twice(finals, final_key), list(twice(finals, final_key).items())[:5]
    asked = [m for m in uas.received() if m.is_request and m.method in ("INVITE", "BYE")]
    assert len(asked) == 2 * CALLS, len(asked)
    assert not twice(asked, lambda m: (m.get("call-id"), m.get("cseq")))


@scenario("100 calls from a TCP caller to a UDP callee: none failed")
def _(bench):
    ip, other_ip = f"{bench.network}.202", f"{bench.network}.203"
    port, other_port = free_port(ip), free_port(other_ip)
    callee = register_callee(bench, "c", ip, port)
    uas = Sipp(bench, "uas", "c", ip, port, 100)
    uac = caller(bench, "b", other_ip, other_port, 100, "t1", callee)
    try:
        uac.end()
        uas.end(20)
    finally:
        uac.stop()
        uas.stop()


@scenario("300 subscribers register through one edge, and every node lists them")
def _(bench):
    users = [f"reg{i}" for i in range(300)]
    rows = "aor,password\n" + "".join(f"{u}@{DOMAIN},secret\n" for u in users)
    bench.nodes["b"].cli("user", "import", "-", stdin=rows)
    path = os.path.join(bench.cluster.dir, "users.csv")
    with open(path, "w") as f:
        f.write("SEQUENTIAL\n" + "".join(f"{u};[authentication username={u} password=secret];\n" for u in users))
    ip = f"{bench.network}.204"
    sipp = Sipp(bench, "register", "c", ip, free_port(ip), 300, more=["-r", "100", "-inf", path])
    try:
        sipp.end()
    finally:
        sipp.stop()
    for node in bench.nodes.values():
        listed = {r["aor"] for r in node.cli("registrations") if r["edge"] == "c"}
        assert len([a for a in listed if "reg" in a]) == 300, len(listed)


main(lambda: Bench("127.0.28"))
