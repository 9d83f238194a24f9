#!/usr/bin/env python3
"""REGISTER at three nodes (RFC 3261 §10, RFC 7616): who may, what is held, what a copy of it does."""
import re

from phone import Phone
from scenario import main, scenario
from sipbench import DOMAIN, Bench, status
from sipmsg import Message, read_challenge


def send_through(bench, phone, edge, request):
    """The same message from the phone's address through another edge; the final answer."""
    phone.wire.send(request.encode(), bench.edge(edge))
    return phone.expect_final(request)


def contacts(answer):
    return answer.all("contact")


@scenario("a phone registers, is listed by every node, and unregisters")
def _(bench):
    p = bench.phone("a", register=True)
    for node in bench.nodes.values():
        listed = node.cli("registrations", f"{p.user}@{DOMAIN}")
        assert len(listed) == 1 and listed[0]["edge"] == "a" and p.contact[1:-1] in listed[0]["contact"], listed
    answer = status(p.register(expires=0), 200)
    assert contacts(answer) == [], contacts(answer)
    assert bench.bindings(p.user) == []


@scenario("the answer holds all bindings with their expiry, a Date, and the tags of the request")
def _(bench):
    p = bench.phone("b")
    answer = status(p.register(expires=300), 200)
    assert re.search(r";expires=(30\d|29\d)", contacts(answer)[0]), contacts(answer)
    assert answer.get("date") and answer.tag("to") and answer.tag("from") == p.register_tag


@scenario("two phones of one subscriber at two edges: two bindings, and each learns of both")
def _(bench):
    p = bench.phone("a", register=True)
    q = bench.phone("b", user=p.user)
    answer = status(q.register(), 200)
    assert len(contacts(answer)) == 2, contacts(answer)
    assert sorted(r["edge"] for r in bench.bindings(p.user)) == ["a", "b"]


@scenario("REGISTER without Contact fetches, Contact: * with Expires 0 removes all (§10.2.2, §10.2.3)")
def _(bench):
    p = bench.phone("c", register=True)
    assert len(contacts(status(p.register(contacts=[]), 200))) == 1
    assert contacts(status(p.register(contacts=["*"], expires=0), 200)) == []


@scenario("Contact: * with another Expires, or beside another contact, is 400 and changes nothing")
def _(bench):
    p = bench.phone("a", register=True)
    status(p.register(contacts=["*"], expires=60), 400)
    status(p.register(contacts=["*", p.contact], expires=0), 400)
    assert len(bench.bindings(p.user)) == 1


@scenario("an expiry under a minute is 423 with Min-Expires, one over an hour is cut to an hour")
def _(bench):
    p = bench.phone("a", "tcp")
    answer = status(p.register(expires=10), 423)
    assert int(answer.get("min-expires")) == 60
    long = contacts(status(p.register(expires=100000), 200))[0]
    assert int(re.search(r"expires=(\d+)", long).group(1)) <= 3600, long


@scenario("an unknown extension in Require is 420 with Unsupported")
def _(bench):
    p = bench.phone("b")
    assert "nobody-knows" in status(p.register(headers=[("Require", "nobody-knows")]), 420).get("unsupported")


@scenario("the same REGISTER again through another edge gives the same answer again")
def _(bench):
    p = bench.phone("a", register=True)
    again = p.last_request
    for edge in "bc":
        answer = status(send_through(bench, p, edge, Message(again.start, [
            (n, p.via() if n == "Via" else v) for n, v in again.headers])), 200)
        assert len(contacts(answer)) == 1 and p.contact[1:-1] in contacts(answer)[0]
    assert len(bench.bindings(p.user)) == 1


@scenario("a replayed REGISTER with another contact is challenged as stale and binds nothing")
def _(bench):
    p = bench.phone("a", register=True)
    forged = Message(p.last_request.start, [(n, p.via() if n == "Via" else "<sip:thief@127.9.9.9>" if n == "Contact" else v)
                                            for n, v in p.last_request.headers])
    for edge in "abc":
        forged.headers[0] = ("Via", p.via())
        answer = status(send_through(bench, p, edge, forged), 401)
        assert "stale=true" in answer.get("www-authenticate"), answer.get("www-authenticate")
    assert len(bench.bindings(p.user)) == 1 and "thief" not in str(bench.bindings(p.user))


@scenario("a used nonce counts on: the next count is taken, the same count again is stale")
def _(bench):
    p = bench.phone("a")
    first = p.register(authenticate=False)
    status(first, 401)
    for count, wanted in ((1, 200), (2, 200), (2, 401), (3, 200)):
        ask = p.request("REGISTER", f"sip:{DOMAIN}", to=p.aor, contact=False, headers=[("Contact", p.contact)])
        answer = p.transact(p.authorized(ask, first, nc=count), authenticate=False)
        status(answer, wanted)
        if wanted == 401:
            assert "stale=true" in answer.get("www-authenticate")


@scenario("a wrong password is challenged, then 403, never stale")
def _(bench):
    p = bench.phone("b", password="wrong")
    first = status(p.register(authenticate=False), 401)
    assert "stale=true" not in first.get("www-authenticate")
    status(p.register(), 403)
    assert bench.bindings(p.user) == []


@scenario("an unknown user looks like a wrong password: the same challenge, then 403")
def _(bench):
    wrong, nobody = bench.phone("a", password="wrong"), bench.phone("a", user="nobody")
    seen = []
    for p in (wrong, nobody):
        first = status(p.register(authenticate=False), 401)
        second = status(p.register(), 403)
        challenge = read_challenge(first.get("www-authenticate"))
        challenge["nonce"] = len(challenge["nonce"])
        seen.append((first.start, sorted(n for n, _ in first.headers), challenge, second.start,
                     sorted(n for n, _ in second.headers)))
    assert seen[0] == seen[1], seen


@scenario("credentials of one subscriber do not register another: 403")
def _(bench):
    p, q = bench.phone("a"), bench.phone("a")
    ask = p.request("REGISTER", f"sip:{DOMAIN}", to=q.aor, from_uri=q.aor, contact=False, headers=[("Contact", p.contact)])
    status(p.transact(ask), 403)
    assert bench.bindings(q.user) == []


@scenario("REGISTER for a foreign domain is 403, a foreign To at our registrar is 404")
def _(bench):
    p = bench.phone("c")
    ask = p.request("REGISTER", "sip:example.org", to=p.aor, contact=False, headers=[("Contact", p.contact)])
    status(p.transact(ask), 403)
    ask = p.request("REGISTER", f"sip:{DOMAIN}", to=f"sip:{p.user}@example.org", contact=False, headers=[("Contact", p.contact)])
    status(p.transact(ask), 404)


@scenario("a REGISTER whose CSeq does not rise under the same Call-ID is refused, and the binding stays")
def _(bench):
    p = bench.phone("a")
    first = status(p.register(authenticate=False), 401)
    p.cseq = 500
    ask = p.request("REGISTER", f"sip:{DOMAIN}", to=p.aor, call_id="order@test", contact=False, headers=[("Contact", p.contact)])
    status(p.transact(p.authorized(ask, first, nc=1)), 200)
    older = p.authorized(ask, first, nc=2)
    older.set("CSeq", "100 REGISTER")
    status(p.transact(older, authenticate=False), 500)
    assert len(bench.bindings(p.user)) == 1


@scenario("over TCP and TLS (verified by the cluster's CA) a phone registers at each edge")
def _(bench):
    for edge in "abc":
        for transport in ("tcp", "tls"):
            p = bench.phone(edge, transport, register=True)
            assert bench.bindings(p.user)[0]["edge"] == edge


@scenario("a phone that speaks outbound gets Require: outbound and Flow-Timer (RFC 5626)")
def _(bench):
    p = bench.phone("b", "tcp", instance="urn:uuid:00000000-0000-1000-8000-aabbccddeeff")
    contact = p.contact + f';reg-id=1;+sip.instance="<{p.instance}>"'
    answer = status(p.register(contacts=[contact], headers=[("Supported", "outbound, path")]), 200)
    assert "outbound" in answer.get("require", "") and answer.get("flow-timer"), repr(answer)
    status(p.register(contacts=[contact, contact.replace("reg-id=1", "reg-id=2")], headers=[("Supported", "outbound")]), 400)


@scenario("the same instance with the same reg-id from a new connection replaces its binding")
def _(bench):
    user = bench.user()
    for _ in range(2):
        p = bench.phone("a", "tcp", user=user, instance="urn:uuid:11111111-0000-1000-8000-aabbccddeeff")
        answer = p.register(contacts=[p.contact + f';reg-id=1;+sip.instance="<{p.instance}>"'],
                            headers=[("Supported", "outbound, path")])
        assert len(contacts(status(answer, 200))) == 1


@scenario("the registrar understands compact header names (RFC 3261 §7.3.3)")
def _(bench):
    p = bench.phone("a")
    short = {"Via": "v", "From": "f", "To": "t", "Call-ID": "i", "Contact": "m", "Supported": "k"}

    def compact(message):
        text = message.encode().decode()
        for name, letter in short.items():
            text = re.sub(rf"(?m)^{name}:", f"{letter}:", text)
        return text.replace("Content-Length:", "l:").encode()

    ask = p.request("REGISTER", f"sip:{DOMAIN}", to=p.aor, contact=False, headers=[("Contact", p.contact)])
    p.wire.send(compact(ask))
    again = p.authorized(ask, status(p.expect_final(ask), 401))
    p.wire.send(compact(again))
    assert len(contacts(status(p.expect_final(again), 200))) == 1


@scenario("a username of user@realm is taken for the same subscriber, where the password is known")
def _(bench):
    user = "whole"
    bench.cluster.add_user(user)
    p = Phone(user, DOMAIN, bench.edge("a"))
    ask = p.request("REGISTER", f"sip:{DOMAIN}", to=p.aor, contact=False, headers=[("Contact", p.contact)])
    first = status(p.transact(ask, authenticate=False), 401)
    status(p.transact(p.authorized(ask, first, username=f"{user}@{DOMAIN}"), authenticate=False), 200)


main(lambda: Bench("127.0.21"))
