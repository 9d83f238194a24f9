#!/usr/bin/env python3
"""The owner of a callee is killed (kill -9) in the middle of a call's set-up: test_takeover.py [TIMES [POINT…]]. It wants
the machine for itself. Whatever was under way (sip.md §6): the callee's phone sees one INVITE and answers no 482, no
phone is left ringing, the caller gets one final answer, and a call that was answered goes on.
"""
import os
import signal
import sys
import time
import traceback

from lab import wait_for
from phone import SDP, Dialog
from sipbench import DOMAIN, Bench, cancel_of, hang_up
from sipmsg import parse, token
from watchdog import Watchdog

FAIR_GAP, TRIES = 0.15, 3
REACHES = 0.1  # what was sent has arrived by then, at a process that may be stopped


class Round:
    """Two phones at the edges that live, the victim stopped or running; what each phone saw."""

    def __init__(self, bench, owners, victim, number):
        names = [n.name for n in bench.cluster.nodes if n is not victim]
        if number % 2:
            names.reverse()
        self.victim = victim
        mine = [u for u in owners if owners[u] == victim.name]
        others = [u for u in owners if owners[u] != victim.name]
        # The caller's owner dies with the callee's in every second round: two hops of one request are lost then.
        caller = (mine if number % 4 < 2 else others)[number % 5]
        callee = [u for u in mine if u != caller][5 + number % 5]
        self.caller = bench.phone(names[0], user=caller)
        self.callee = bench.phone(names[1], user=callee)
        for p in (self.caller, self.callee):
            # What an earlier round left, where it failed half-way.
            assert p.register(expires=0, contacts=["*"]).status == 200
            answer = p.register()
            assert answer.status == 200, answer.start
        self.seen, self.finals = [], []
        self.ringing = None
        for phone, log in ((self.callee, self.seen), (self.caller, self.finals)):
            self.record(phone, log)

    @staticmethod
    def record(phone, log):
        inner = phone.wire.receive

        def receive(seconds):
            data = inner(seconds)
            if data:
                log.append(data)
            return data
        phone.wire.receive = receive

    def prepare(self):
        """The INVITE with its credentials, ready to be sent."""
        first = self.caller.send(self.caller.invite_request(self.callee.user))
        challenge = self.caller.expect_status(first, 407)
        self.caller.ack_failure(first, challenge)
        self.invite = self.caller.authorized(first, challenge)

    def ring(self):
        self.caller.send(self.invite)
        self.take()
        self.caller.expect_status(self.invite, 180)

    def take(self):
        self.ringing = self.callee.expect_request("INVITE", 8)
        self.tag = token(4)
        self.callee.reply(self.ringing, 180, "Ringing", to_tag=self.tag)

    def stop(self):
        os.kill(self.victim.process.popen.pid, signal.SIGSTOP)

    def kill(self):
        self.victim.kill()

    def answer(self):
        self.ok_sent = self.callee.reply(self.ringing, 200, "OK", to_tag=self.tag, body=SDP.format(ip=self.callee.ip))

    def acknowledged(self):
        """The caller has its 200 and acknowledges it; then each hangs up."""
        ok = self.caller.expect_final(self.invite)
        assert ok.status == 200, ok.start
        self.goes_on(ok)

    def goes_on(self, ok):
        mine, theirs = Dialog(self.caller, self.invite, ok, True), Dialog(self.callee, self.ringing, self.ok_sent, False)
        mine.ack()
        self.callee.expect_request("ACK")
        hang_up(theirs, self.caller)

    def check(self, final):
        self.caller.drain(0.3)
        self.callee.drain(0.3)

        seen = [parse(d) for d in self.seen]
        call = self.invite.get("call-id")
        invites = {m.all("via")[0] for m in seen if m.is_request and m.method == "INVITE" and m.get("call-id") == call}
        assert len(invites) == 1, f"the callee saw {len(invites)} INVITEs"
        finals = {(m.status, m.tag("to")) for m in map(parse, self.finals)
                  if not m.is_request and m.status >= 200 and m.get("cseq") == self.invite.get("cseq")
                  and m.get("call-id") == call}
        assert len(finals) == 1 and finals.pop()[0] == final, f"the caller's final answers: {finals}"
        stopped = any(m.is_request and m.method in ("ACK", "CANCEL") and m.get("call-id") == call for m in seen)
        assert stopped, "the callee is left ringing"

    def close(self):
        for p in (self.caller, self.callee):
            p.wire.close()


def before_100(r):
    r.stop()
    r.caller.send(r.invite)
    time.sleep(REACHES)
    r.kill()
    r.take()
    r.answer()
    r.acknowledged()
    return 200


def after_180(r):
    r.ring()
    r.kill()
    r.callee.expect_nothing(1.0, lambda m: m.is_request)  # the retry has come by then, and the view changed
    r.answer()
    r.acknowledged()
    return 200


def between_200_and_ack(r, stuck):
    r.ring()
    if stuck:  # the 200 dies with the victim
        r.stop()
        r.answer()
        time.sleep(REACHES)
        r.kill()
        r.acknowledged()
        return 200
    r.answer()
    ok = r.caller.expect_final(r.invite)
    r.kill()
    assert ok.status == 200, ok.start
    r.goes_on(ok)
    return 200


def during_cancel(r, stuck):
    r.ring()
    if stuck:  # the CANCEL dies with the victim
        r.stop()
        r.caller.send(cancel_of(r.invite))
        time.sleep(REACHES)
        r.kill()
    else:
        r.kill()
        r.caller.send(cancel_of(r.invite))
    cancel = r.callee.expect_request("CANCEL", 5)
    r.callee.reply(cancel, 200, "OK")
    r.callee.reply(r.ringing, 487, "Request Terminated", to_tag=r.tag)
    r.callee.expect_request("ACK")
    final = r.caller.expect_final(r.invite)
    r.caller.ack_failure(r.invite, final)
    return final.status


POINTS = {
    "before 100": lambda r, n: (before_100(r), 200),
    "after 180": lambda r, n: (after_180(r), 200),
    "between 200 and ACK": lambda r, n: (between_200_and_ack(r, n % 2 == 0), 200),
    "during CANCEL": lambda r, n: (during_cancel(r, n % 2 == 0), 487),
}


def one(bench, owners, point, number, watchdog):
    victim = bench.cluster.nodes[number % 3]
    r = Round(bench, owners, victim, number)
    watchdog.reset()
    started = time.monotonic()
    try:
        r.prepare()
        final, wanted = POINTS[point](r, number)
        assert final == wanted, f"the caller got {final}"
        r.check(final)
        return None, time.monotonic() - started
    except Exception:
        return traceback.format_exc() + f"the callee got {[d.split(bytes([13]))[0] for d in r.seen]}, " \
            f"the caller {[d.split(bytes([13]))[0] for d in r.finals]}", time.monotonic() - started
    finally:
        r.kill()
        victim.start()
        r.close()
        wait_for(f"{victim.name} is active again everywhere", 20,
                 lambda: all(n.active() == ["a", "b", "c"] for n in bench.cluster.nodes))


def main():
    times = int(sys.argv[1]) if len(sys.argv) > 1 else 4
    points = sys.argv[2:] or list(POINTS)
    passed = failed = 0
    with Watchdog() as watchdog, Bench("127.0.34", workers=2, users=90) as bench:
        a = bench.cluster.nodes[0]
        owners = {u: a.cli("owner", f"{u}@{DOMAIN}")["owner"] for u in bench.free}
        for point in points:
            for number in range(times):
                for attempt in range(TRIES):
                    wrong, took = one(bench, owners, point, number, watchdog)
                    gap = watchdog.gap()
                    if wrong is None or gap <= FAIR_GAP:
                        break
                    print(f"{point} {number + 1}: the scheduler kept us from running for {gap * 1000:.0f} ms: void", flush=True)
                passed, failed = passed + (wrong is None), failed + (wrong is not None)
                print(f"{'ok  ' if wrong is None else 'FAIL'} {point}, {number + 1} of {times} ({took:.1f} s)"
                      + (f"\n{wrong}" if wrong else ""), flush=True)
        retries = bench.metric("skald_proxy_owner_retries_total")
        print(f"since their last start the nodes sent {retries:.0f} requests on to another owner")
    print(f"{passed} passed, {failed} failed")
    sys.exit(0 if failed == 0 and passed > 0 else 1)


if __name__ == "__main__":
    main()
