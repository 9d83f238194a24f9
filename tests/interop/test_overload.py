#!/usr/bin/env python3
"""Overload (sip.md §7): more registrations, or calls, than a worker can do. What is in a dialog and emergency calls go on
under both, calls under the first; phones that are turned away hear when to come again; and it ends by itself."""
import collections
import contextlib
import re
import socket
import subprocess
import sys
import time

from cluster import Cluster
from lab import wait_for
from phone import SDP, NoAnswer, Phone, establish
from scenario import main, scenario
from sipmsg import Message

EDGE = "127.0.37.11"
# RFC 3261 §17.1.2.2: timer E, until timer F ends it.
REPEATS = (0.5, 1, 2, 4, 4, 4, 4, 4, 4, 4)
# Sends requests of one method from SOURCES addresses and reads no answer; a third more of them for each line on its standard input,
# until that is closed.
FLOOD = r"""
import select, socket, sys, time
edge, sources, method, rate = sys.argv[1], int(sys.argv[2]), sys.argv[3].encode(), 5000.0
to = b"" if method == b"REGISTER" else b"nobody@"
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
                s.send(b"%b sip:%bskald.test SIP/2.0\r\nVia: SIP/2.0/UDP %b:%d;branch=z9hG4bKf%d\r\nMax-Forwards: 70\r\n"
                       b"From: <sip:f%d@skald.test>;tag=1\r\nTo: <sip:f%d@skald.test>\r\nCall-ID: %d@flood\r\nCSeq: 1 %b\r\n"
                       b"Contact: <sip:f@%b:%d>\r\nExpires: 300\r\nContent-Length: 0\r\n\r\n"
                       % (method, to, ip.encode(), port, n, n % 50000, n % 50000, n, method, ip.encode(), port))
            except OSError:
                pass
    if n >= due:
        time.sleep(0.002)
print(f"{n} {method.decode()}s sent from {sources} addresses, {rate:.0f} a second at last")
"""


@contextlib.contextmanager
def setup():
    with Cluster() as c:
        c.node("a", EDGE, args=["--workers", "1", "--dns-port", "5353"]).start()
        c.wait_active()
        for user in [f"u{i}" for i in range(20)] + ["112"]:
            c.add_user(user)
        yield c


@contextlib.contextmanager
def flood(c, sources, method="REGISTER"):
    """Until the block ends: a third more than what first had some of it turned away."""
    turned_away = turned_away_calls if method != "REGISTER" else turned_away_registrations
    before = turned_away(c)
    p = subprocess.Popen([sys.executable, "-c", FLOOD, EDGE, str(sources), method], stdin=subprocess.PIPE, stdout=subprocess.PIPE)

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
        yield faster
    finally:
        p.stdin.close()
        print(f"     {p.stdout.read().decode().strip()}", flush=True)
        p.wait()


def phone(c, i, user=None):
    return Phone(user or f"u{i}", c.domain, (EDGE, 5060), local_ip=f"127.0.37.{100 + i}")


def level(c):
    return c.nodes[0].cli("status")["overload_percent"]


def srv(node):
    """The nodes that its own DNS server names."""
    out = subprocess.run(["dig", "+time=1", "+tries=3", "+norec", "+short", "-p", "5353", f"@{node.address}", "_sip._udp.skald.test", "SRV"],
                         capture_output=True, text=True, timeout=20).stdout
    return sorted(line.split()[3].split(".")[0] for line in out.split("\n") if line.endswith("."))


def refused(c, kind):
    text = c.nodes[0].get("/metrics")
    return int(re.search(r'skald_sip_overloaded_total\{class="%s"\} (\d+)' % kind, text).group(1))


def turned_away_registrations(c):
    return refused(c, "registration") + refused(c, "flood")


def turned_away_calls(c):
    return refused(c, "call") + refused(c, "flood")


def register_in_the_end(p, seconds=90):
    """As a phone does: what has no answer is sent again, a 503 is obeyed. Gives the Retry-After values it was told."""
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
    """Sends as RFC 3261 §17 has it, again and again until something fits: under a flood some are lost, or dropped unheard."""
    for wait in REPEATS:
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
    for wait in REPEATS:
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


def goes_through(caller, callee, dialog, method):
    """A request in the dialog: the callee sees it, and the caller its 200. A refusal is an error."""
    request = dialog.request(method, body=SDP.format(ip=caller.ip) if method == "INVITE" else "")
    same = lambda m: m.is_request and m.method == method and m.get("cseq") == request.get("cseq") and m.get("call-id") == dialog.call_id
    for wait in REPEATS:
        caller.send(request)
        try:
            callee.reply(callee.expect(same, wait), 200, "OK", body=SDP.format(ip=callee.ip) if method == "INVITE" else "")
            break
        except NoAnswer:
            refusals = [m for m in caller.drain(0.01) if answer_to(request)(m)]
            assert not refusals, refusals[0].start
    answer = insist(caller, request, answer_to(request))
    assert answer.status == 200, answer.start
    if method == "INVITE":
        dialog.send("ACK", cseq=dialog.cseq)


def dialog_goes_on(caller, callee, dialog):
    took = []
    for method in ["INVITE"] * 10 + ["BYE"]:
        began = time.monotonic()
        goes_through(caller, callee, dialog, method)
        took.append(time.monotonic() - began)
    print(f"     10 re-INVITEs and the BYE, {max(took) * 1000:.0f} ms at most", flush=True)


def retry_after_is_spread(c):
    """Forty that were turned away were told different times, in the bounds."""
    phones, told, end = [phone(c, 50 + i, f"u{i % 4}") for i in range(40)], [], time.monotonic() + 60
    while len(told) < 40:
        assert time.monotonic() < end, f"in 60 s: {told}"
        for p in phones:
            p.send(p.request("REGISTER", "sip:skald.test", to=p.aor, headers=[("Expires", "300")]))
        for p in phones:
            told += [int(m.get("retry-after")) for m in p.drain(0.01) if m.status == 503]
    counts = collections.Counter(told)
    print(f"     Retry-After: {sorted(counts.items())}", flush=True)
    assert 3 <= min(told) and max(told) <= 30, counts
    assert len(counts) >= 4 and counts.most_common(1)[0][1] <= len(told) / 2, counts


def serves_as_ever(c, caller, callee):
    """Once it is over nobody is turned away."""
    for i in range(6, 16):
        began = time.monotonic()
        assert phone(c, i).register().status == 200
        assert time.monotonic() - began < 1
    assert max(call(caller, callee) for _ in range(5)) < 1


@scenario("a flood of registrations from many addresses: some are turned away, calls are not, and it ends by itself")
def _(c):
    alice, bob = phone(c, 0), phone(c, 1)
    assert alice.register().status == 200 and bob.register().status == 200
    talk, _ = establish(alice, bob)
    with flood(c, 200):
        calls_go_on(alice, bob)
        dialog_goes_on(alice, bob, talk)
        retry_after_is_spread(c)
        print(f"     Retry-After heard by a phone: {register_in_the_end(phone(c, 2))}", flush=True)
    assert refused(c, "established") == 0 and refused(c, "call") == 0
    status = c.nodes[0].cli("status")
    assert status["memory_mb"] <= status["memory_budget_mb"], status
    recovers(c)
    serves_as_ever(c, alice, bob)


@scenario("a flood of calls from many addresses: new calls are turned away, what is in a dialog and emergency calls are not")
def _(c):
    alice, bob, rescue = phone(c, 16), phone(c, 17), phone(c, 30, "112")
    for p in (alice, bob, rescue):
        register_in_the_end(p)
    talk, _ = establish(alice, bob)
    with flood(c, 200, "MESSAGE"):
        took = [call(alice, rescue) for _ in range(10)]
        print(f"     10 emergency calls, {max(took) * 1000:.0f} ms at most", flush=True)
        dialog_goes_on(alice, bob, talk)
        assert level(c) > 100, level(c)
    assert refused(c, "established") == 0
    recovers(c)
    serves_as_ever(c, alice, bob)


@scenario("a flood from one address: that one is turned away, others register and call as if it were not there")
def _(c):
    alice, bob = phone(c, 0), phone(c, 5)
    register_in_the_end(alice), register_in_the_end(bob)
    with flood(c, 1):
        calls_go_on(alice, bob)
        told = [register_in_the_end(phone(c, i)) for i in range(6, 16)]
        assert not any(told), f"ten phones at other addresses were told to come again: {told}"
    assert refused(c, "established") == 0 and refused(c, "flood") > 0
    recovers(c)
    serves_as_ever(c, alice, bob)


@scenario("a node that is flooded leaves SRV while that lasts, its name stays, and it comes back later")
def _(c):
    b = c.node("b", "127.0.37.12", args=["--workers", "1", "--dns-port", "5353", "--seed", EDGE])
    b.start()
    c.wait_active()
    wait_for("SRV names both, as the floods before are over", 45, lambda: srv(b) == ["a", "b"], 0.2)
    with flood(c, 200) as faster:
        for _ in range(40):
            if level(c) >= 50:
                break
            faster()
            time.sleep(0.3)
        since = time.monotonic()
        wait_for("the flooded node leaves SRV", 5, lambda: srv(b) == ["b"], 0.05)
        print(f"     out of SRV {time.monotonic() - since:.1f} s after half were seen turned away", flush=True)
    address = subprocess.run(["dig", "+norec", "+short", "-p", "5353", f"@{b.address}", "a.skald.test", "A"], capture_output=True, text=True, timeout=20)
    assert address.stdout.split() == [EDGE], address.stdout
    recovers(c)
    at_ease = time.monotonic()
    wait_for("it is back in SRV", 45, lambda: srv(b) == ["a", "b"], 0.2)
    took = time.monotonic() - at_ease
    print(f"     back in SRV {took:.0f} s after that", flush=True)
    assert took > 20, took


main(setup)
