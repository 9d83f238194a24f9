#!/usr/bin/env python3
"""Overload (sip.md §7): more registrations than a worker can do. Calls go on, phones that are turned
away hear when to come again, and it ends by itself."""
import contextlib
import re
import socket
import subprocess
import sys
import time

from cluster import Cluster
from lab import wait_for
from phone import NoAnswer, Phone
from scenario import main, scenario
from sipmsg import Message

EDGE = "127.0.37.11"
# Sends REGISTERs from SOURCES addresses and reads no answer; a third more of them for each line on its standard input,
# until that is closed.
FLOOD = r"""
import select, socket, sys, time
edge, sources, rate = sys.argv[1], int(sys.argv[2]), 5000.0
socks = []
for i in range(sources):
    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    s.bind((f"127.0.38.{1 + i}", 0))
    s.connect((edge, 5060))
    s.setblocking(False)
    socks.append((s, s.getsockname()))
n, due, last = 0, 0.0, time.monotonic()
while True:
    if select.select([sys.stdin], [], [], 0)[0]:
        if not sys.stdin.readline():
            break
        rate *= 1.33
    now = time.monotonic()
    due = min(due + (now - last) * rate, n + rate / 10)
    last = now
    for s, (ip, port) in socks:
        for _ in range(4 if n < due else 0):
            n += 1
            try:
                s.send(b"REGISTER sip:skald.test SIP/2.0\r\nVia: SIP/2.0/UDP %b:%d;branch=z9hG4bKf%d\r\nMax-Forwards: 70\r\n"
                       b"From: <sip:f%d@skald.test>;tag=1\r\nTo: <sip:f%d@skald.test>\r\nCall-ID: %d@flood\r\nCSeq: 1 REGISTER\r\n"
                       b"Contact: <sip:f@%b:%d>\r\nExpires: 300\r\nContent-Length: 0\r\n\r\n"
                       % (ip.encode(), port, n, n % 50000, n % 50000, n, ip.encode(), port))
            except OSError:
                pass
    if n >= due:
        time.sleep(0.002)
print(f"{n} REGISTERs sent from {sources} addresses, {rate:.0f} a second at last")
"""


@contextlib.contextmanager
def setup():
    with Cluster() as c:
        c.node("a", EDGE, args=["--workers", "1", "--dns-port", "5353"]).start()
        c.wait_active()
        for i in range(6):
            c.add_user(f"u{i}")
        yield c


@contextlib.contextmanager
def flood(c, sources):
    """Until the block ends: a third more than what first had some of it turned away."""
    before = turned_away(c)
    p = subprocess.Popen([sys.executable, "-c", FLOOD, EDGE, str(sources)], stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    def faster():
        p.stdin.write(b"more\n")
        p.stdin.flush()

    try:
        for _ in range(40):
            time.sleep(0.3)
            faster()
            if turned_away(c) > before:
                break
        assert turned_away(c) > before, "no overload"
        yield
    finally:
        p.stdin.close()
        print(f"     {p.stdout.read().decode().strip()}", flush=True)
        p.wait()


def phone(c, i):
    return Phone(f"u{i}", c.domain, (EDGE, 5060), local_ip=f"127.0.37.{100 + i}")


def level(c):
    return c.nodes[0].cli("status")["overload_percent"]


def refused(c, kind):
    text = c.nodes[0].get("/metrics")
    return int(re.search(r'skald_sip_overloaded_total\{class="%s"\} (\d+)' % kind, text).group(1))


def turned_away(c):
    return refused(c, "registration") + refused(c, "flood")


def register_in_the_end(p, seconds=60):
    """As a phone does: what is lost is sent again, a 503 is obeyed. Gives the Retry-After values it was told."""
    told, end = [], time.monotonic() + seconds
    while time.monotonic() < end:
        r = p.request("REGISTER", "sip:skald.test", to=p.aor, call_id=p.register_call_id, from_tag=p.register_tag, contact=False,
                      headers=[("Contact", p.contact), ("Expires", "300")])
        answer = insist(p, r, answer_to(r))
        if answer.status == 401:
            r = p.authorized(r, answer)
            answer = insist(p, r, answer_to(r))
        if answer.status == 200:
            return told
        assert answer.status == 503, answer.start
        told.append(int(answer.get("retry-after")))
        time.sleep(told[-1] / 10)  # a tenth of it: the test has less time than a phone
    raise AssertionError(f"not registered in {seconds} s; 503 with Retry-After {told}")


def recovers(c):
    ended = time.monotonic()
    wait_for("the node is at ease again", 10, lambda: level(c) == 0, 0.2)
    print(f"     at ease {time.monotonic() - ended:.1f} s after the flood; lost in the kernel: "
          f"{c.nodes[0].metric('skald_udp_kernel_lost_total'):.0f} of {c.nodes[0].metric('skald_udp_received_total'):.0f}", flush=True)


def insist(p, message, match, to=None):
    """Sends as RFC 3261 §17 has it, again after T1, 2 T1, …, until something fits: a flood makes the kernel lose some."""
    for wait in (0.5, 1, 2, 4):
        p.send(message, to)
        try:
            return p.expect(match, wait)
        except NoAnswer:
            pass
    raise NoAnswer(f"{p.user}: {message.start}")


def answer_to(m):
    return lambda a: not a.is_request and a.status > 100 and a.get("call-id") == m.get("call-id") and a.get("cseq") == m.get("cseq")


def call(caller, callee):
    """INVITE, 407, INVITE, 486, ACK. Any other end is a call that failed. Gives how long it took."""
    began = time.monotonic()
    invite = caller.invite_request(callee.user)
    answer = insist(caller, invite, answer_to(invite))
    caller.ack_failure(invite, answer)
    assert answer.status == 407, answer.start
    invite = caller.authorized(invite, answer)
    answer = through(caller, callee, invite)
    caller.ack_failure(invite, answer)
    assert answer.status == 486, answer.start
    return time.monotonic() - began


def through(caller, callee, invite):
    """The final answer; the callee is busy."""
    rings = lambda m: m.is_request and m.method == "INVITE" and m.get("call-id") == invite.get("call-id")
    for wait in (0.5, 1, 2, 4):
        caller.send(invite)
        try:
            seen = callee.expect(rings, wait)
        except NoAnswer:
            refusals = [m for m in caller.inbox + caller.drain(0.01) if answer_to(invite)(m)]
            if refusals:
                return refusals[0]
            continue
        busy = Message("SIP/2.0 486 Busy Here", [(n, v) for n, v in seen.headers if n.lower() in ("via", "from", "call-id", "cseq")] +
                       [("To", seen.get("to") + ";tag=1")])
        insist(callee, busy, lambda m: m.is_request and m.method == "ACK" and m.get("call-id") == invite.get("call-id"))
        return insist(caller, invite, answer_to(invite))
    raise NoAnswer(f"{callee.user} saw no INVITE")


def calls_go_on(caller, callee):
    took = sorted(call(caller, callee) for _ in range(20))
    print(f"     20 calls, {took[10] * 1000:.0f} ms in the middle, {took[-1] * 1000:.0f} ms at most", flush=True)


@scenario("a flood of registrations from many addresses: some are turned away, calls are not, and it ends by itself")
def _(c):
    alice, bob = phone(c, 0), phone(c, 1)
    assert alice.register().status == 200 and bob.register().status == 200
    with flood(c, 200):
        calls_go_on(alice, bob)
        print(f"     Retry-After heard by a phone: {register_in_the_end(phone(c, 2))}", flush=True)
    assert refused(c, "established") == 0 and refused(c, "call") == 0
    status = c.nodes[0].cli("status")
    assert status["memory_mb"] <= status["memory_budget_mb"], status
    recovers(c)
    assert phone(c, 3).register().status == 200


@scenario("a flood from one address: that one is turned away, others register and call as if it were not there")
def _(c):
    alice, bob = phone(c, 0), phone(c, 5)
    register_in_the_end(alice), register_in_the_end(bob)
    with flood(c, 1):
        calls_go_on(alice, bob)
        register_in_the_end(phone(c, 4))
    assert refused(c, "established") == 0 and refused(c, "flood") > 0
    recovers(c)


main(setup)
