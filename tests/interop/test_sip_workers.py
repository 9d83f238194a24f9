#!/usr/bin/env python3
"""Four workers, one address (sip.md §5): what the kernel hands to another worker finds its transaction all the same.

Every message of a transaction goes out from another source port of the phone's address, so that each lands at a worker
by chance; ten rounds of each make sure that all meet.
"""
import contextlib

from phone import SDP, Dialog, establish
from scenario import main, scenario
from sipbench import DOMAIN, Bench, cancel_of, cancelled, hang_up, other_socket, receive, status
from sipmsg import token

ROUNDS = 10


def spread(phone, edge, message, count=1):
    """The message `count` times, each from a new socket of the phone's address."""
    for _ in range(count):
        wire = other_socket(phone, edge)
        wire.send(message.encode())
        phone.spare.append(wire)


@contextlib.contextmanager
def from_another_port(phone, edge):
    """What the phone sends meanwhile goes out from a new socket of its address."""
    wire = other_socket(phone, edge)
    phone.spare.append(wire)
    kept, phone.wire.send = phone.wire.send, wire.send
    try:
        yield
    finally:
        phone.wire.send = kept


def wide_via(phone, message):
    """Without rport: responses go to the Via's port, where the phone listens (RFC 3261 §18.2.2)."""
    message.headers = [(n, v.replace(";rport", "") if n == "Via" else v) for n, v in message.headers]
    return message


def pair(bench, one="a", other="b"):
    p, q = bench.pair(one, other)
    p.spare, q.spare = [], []
    return p, q


def close(*phones):
    for p in phones:
        for w in p.spare:
            w.close()


def finals(phone, wires, request):
    """All answers to the request at the phone's socket and the spare ones."""
    found = []
    for wire in [phone.wire] + wires:
        while True:
            m = receive(wire, 0.05)
            if m is None:
                break
            if m.status and m.get("cseq") == request.get("cseq") and m.get("call-id") == request.get("call-id"):
                found.append(m)
    return found


@scenario("an INVITE retransmitted from other ports rings the callee once")
def _(bench):
    p, q = pair(bench)
    for _ in range(ROUNDS):
        invite = p.start_call(q.user)
        p.expect_status(invite, 100)  # the first copy is the one that was sent first: answers go where it came from
        spread(p, bench.edge("a"), invite, 3)
        seen = q.expect_request("INVITE")
        spread(p, bench.edge("a"), invite, 3)
        q.expect_nothing(0.05, lambda m: m.is_request and m.method == "INVITE")
        q.reply(seen, 486, "Busy Here", to_tag=token(4))
        p.ack_failure(invite, status(p.expect_final(invite), 486))
        q.expect_request("ACK")
        q.drain(0.05)
        p.drain(0.05)
    close(p, q)


@scenario("an INFO retransmitted from other ports reaches the callee once (a digit is not dialled twice)")
def _(bench):
    p, q = pair(bench)
    mine, theirs = establish(p, q)
    for _ in range(ROUNDS):
        info = mine.request("INFO")
        spread(p, bench.edge("a"), info, 6)
        q.reply(q.expect_request("INFO"), 200)
        spread(p, bench.edge("a"), info, 2)
        q.expect_nothing(0.1, lambda m: m.is_request and m.method == "INFO")
        assert any(m.status == 200 for m in finals(p, p.spare[-8:], info))
    hang_up(mine, q)
    close(p, q)


@scenario("a CANCEL from another port finds its INVITE, and is answered 200")
def _(bench):
    p, q = pair(bench)
    for _ in range(ROUNDS):
        invite = p.start_call(q.user)
        seen = q.expect_request("INVITE")
        q.reply(seen, 180, "Ringing", to_tag=token(4))
        p.expect_status(invite, 180)
        cancel = cancel_of(invite)
        spread(p, bench.edge("a"), cancel)
        cancelled(q, seen)
        p.ack_failure(invite, status(p.expect_final(invite), 487))
        assert any(m.status == 200 for m in finals(p, p.spare[-1:], cancel))
    close(p, q)


@scenario("an ACK for a failure from another port ends the retransmissions of it")
def _(bench):
    p, q = pair(bench)
    last = []
    for _ in range(ROUNDS):
        invite = p.start_call(q.user)
        q.reply(q.expect_request("INVITE"), 486, "Busy Here", to_tag=token(4))
        final = status(p.expect_final(invite), 486)
        with from_another_port(p, bench.edge("a")):
            p.ack_failure(invite, final)
        last.append(invite.get("call-id"))
    p.expect_nothing(1.2, lambda m: m.status == 486 and m.get("call-id") in last)
    close(p, q)


@scenario("an ACK for a 2xx from another port reaches the callee, as does every request of the dialog")
def _(bench):
    p, q = pair(bench)
    for _ in range(ROUNDS):
        invite = p.start_call(q.user)
        seen = q.expect_request("INVITE")
        q.reply(seen, 200, "OK", to_tag=token(4), body=SDP.format(ip=q.ip))
        mine = Dialog(p, invite, status(p.expect_final(invite), 200), True)
        spread(p, bench.edge("a"), mine.request("ACK", cseq=mine.invite_cseq))
        q.expect_request("ACK")
        bye = mine.request("BYE")
        spread(p, bench.edge("a"), bye)
        q.reply(q.expect_request("BYE"), 200)
        assert any(m.status == 200 for m in finals(p, p.spare[-1:], bye))
    close(p, q)


@scenario("a challenged INVITE, its ACK and the second INVITE each from another port make one call")
def _(bench):
    p, q = pair(bench)
    for _ in range(ROUNDS):
        invite = wide_via(p, p.invite_request(q.user))
        spread(p, bench.edge("a"), invite)
        # We answer to the packet's source whatever Via says (RFC 3581 §4), so look at all sockets.
        first = next(m for m in finals(p, p.spare[-1:], invite) if m.status >= 200)
        status(first, 407)
        second = p.authorized(invite, first)
        wide_via(p, second)
        spread(p, bench.edge("a"), second)
        seen = q.expect_request("INVITE")
        q.reply(seen, 486, to_tag=token(4))
        q.expect_request("ACK")
        assert any(m.status == 486 for m in finals(p, p.spare[-1:], second))
    q.drain(0.1)
    close(p, q)


@scenario("a callee whose answers come from other ports is heard: the branch finds the worker")
def _(bench):
    p, q = pair(bench)
    for _ in range(ROUNDS):
        invite = p.start_call(q.user)
        seen = q.expect_request("INVITE")
        with from_another_port(q, bench.edge("b")):
            q.reply(seen, 180, "Ringing", to_tag="p")
            q.reply(seen, 486, "Busy Here", to_tag="p")
        p.expect_status(invite, 180)
        p.ack_failure(invite, status(p.expect_final(invite), 486))
        q.drain(0.02)
    close(p, q)


@scenario("REGISTER retransmitted from other ports and to other edges gives 200 every time and one binding")
def _(bench):
    p = bench.phone("a", register=True)
    p.spare = []
    for i in range(ROUNDS):
        r = p.last_request
        wires = [other_socket(p, bench.edge("abc"[(i + k) % 3])) for k in range(3)]
        for w in wires:
            w.send(r.encode())
        answers = [m for m in finals(p, wires, r) if m.status >= 200]
        assert [m.status for m in answers] == [200] * len(answers) and len(answers) >= 1, [m.start for m in answers]
        for w in wires:
            w.close()
        assert p.register().status == 200
    assert len(bench.bindings(p.user)) == 1, bench.bindings(p.user)


@scenario("forty calls at once through four workers of each node: all answered, all ended")
def _(bench):
    pairs = [pair(bench, "abc"[i % 3], "bca"[i % 3]) for i in range(8)]
    for _ in range(5):
        under_way = [(p, q, p.start_call(q.user)) for p, q in pairs]
        dialogs = []
        for p, q, invite in under_way:
            seen = q.expect_request("INVITE")
            q.reply(seen, 200, "OK", to_tag=token(4), body=SDP.format(ip=q.ip))
            mine = Dialog(p, invite, status(p.expect_final(invite), 200), True)
            mine.ack()
            dialogs.append((mine, q))
        for mine, q in dialogs:
            q.expect_request("ACK")
            hang_up(mine, q)


main(lambda: Bench("127.0.25", workers=4))
