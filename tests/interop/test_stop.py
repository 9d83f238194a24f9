#!/usr/bin/env python3
"""A node that ends while requests pour in: what is under way on its threads then is let go of in order. The exit status
is 0; under a sanitizer (tools/check asan, tsan) nothing is touched after its end, and nothing leaks.
"""
import contextlib
import socket
import threading
import time

from scenario import main, scenario
from sipbench import DOMAIN, Bench
from sipmsg import token

ROUNDS = 5
SENDERS = 3


def request(method, user, me):
    uri = f"sip:{DOMAIN}" if method == "REGISTER" else f"sip:{user}@{DOMAIN}"
    lines = [f"{method} {uri} SIP/2.0", f"Via: SIP/2.0/UDP {me[0]}:{me[1]};branch=z9hG4bK{token(8)};rport", "Max-Forwards: 70",
             f"From: <sip:{user}@{DOMAIN}>;tag={token(4)}", f"To: <sip:{user}@{DOMAIN}>", f"Call-ID: {token(8)}", f"CSeq: 1 {method}",
             f"Contact: <sip:{user}@{me[0]}:{me[1]}>", "Expires: 60", "Content-Length: 0", "", ""]
    return "\r\n".join(lines).encode()


def pour(edge, ip, users, over):
    with contextlib.closing(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as s:
        s.bind((ip, 0))
        s.setblocking(False)
        number = 0
        while not over.is_set():
            for method in ("REGISTER", "INVITE", "OPTIONS"):
                number += 1
                with contextlib.suppress(OSError):
                    s.sendto(request(method, users[number % len(users)], s.getsockname()), edge)
            with contextlib.suppress(OSError):
                while True:
                    s.recv(65536)
            time.sleep(0.001)


@scenario("a node ends in order while requests pour in, time after time")
def _(bench):
    c = bench.nodes["c"]
    for number in range(ROUNDS):
        over = threading.Event()
        senders = [threading.Thread(target=pour, args=(bench.edge("c"), f"{bench.network}.{120 + n}", bench.free, over))
                   for n in range(SENDERS)]
        for s in senders:
            s.start()
        try:
            time.sleep(1 + 0.37 * number)
            assert c.stop() == 0, c.process.text()[-2000:]
        finally:
            over.set()
            for s in senders:
                s.join()
        c.start()
        bench.cluster.wait_active(seconds=30)


main(lambda: Bench("127.0.44", users=60, workers=3))
