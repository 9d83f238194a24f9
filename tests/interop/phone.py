"""A scripted phone: one socket (UDP, TCP or TLS), one subscriber, and the steps of a test written out.

    alice = Phone("alice", "skald.test", edge=("127.0.0.11", 5060))
    alice.register()
    call = alice.invite("bob"); ...

Nothing happens by itself: what arrives waits in `inbox` until a step asks for it. That is what makes wrong and rude
behaviour easy to write.
"""
import select
import socket
import ssl
import time

from sipmsg import Message, digest, parse, read_challenge, token

SDP = "v=0\r\no=- 1 1 IN IP4 {ip}\r\ns=-\r\nc=IN IP4 {ip}\r\nt=0 0\r\nm=audio 40000 RTP/AVP 0\r\n"


class NoAnswer(Exception):
    pass


class Wire:
    """Sends and receives whole messages."""

    def __init__(self, transport, local, remote, tls=None, server_name=None):
        self.transport = transport
        self.buffer = b""
        self.source = None  # of the last datagram
        if transport == "udp":
            self.sock = socket.socket(socket.AF_INET6 if ":" in local[0] else socket.AF_INET, socket.SOCK_DGRAM)
            self.sock.bind(local)
            self.remote = remote
        else:
            self.sock = socket.create_connection(remote, timeout=5, source_address=local)
            if transport == "tls":
                self.sock = tls.wrap_socket(self.sock, server_hostname=server_name)
        self.local = self.sock.getsockname()[:2]

    @classmethod
    def accepted(cls, sock):
        """The server's end of a TCP connection."""
        wire = cls.__new__(cls)
        wire.transport, wire.buffer, wire.source, wire.sock, wire.remote = "tcp", b"", None, sock, sock.getpeername()
        wire.local = sock.getsockname()[:2]
        return wire

    def send(self, data, to=None):
        if self.transport == "udp":
            self.sock.sendto(data, to or self.remote)
        else:
            self.sock.sendall(data)

    def receive(self, seconds):
        """One message's bytes, or None."""
        end = time.monotonic() + seconds
        while True:
            if self.transport != "udp":
                whole = self._take()
                if whole:
                    return whole
            left = end - time.monotonic()
            pending = self.transport == "tls" and self.sock.pending()
            if not pending and (left <= 0 or not select.select([self.sock], [], [], left)[0]):
                return None
            if self.transport == "udp":
                data, self.source = self.sock.recvfrom(65535)
                if data.strip():
                    return data
            else:
                data = self.sock.recv(65535)
                if not data:
                    raise ConnectionError("closed by the server")
                self.buffer += data

    def _take(self):
        self.buffer = self.buffer.lstrip(b"\r\n")
        end = self.buffer.find(b"\r\n\r\n")
        if end < 0:
            return None
        length = int(parse(self.buffer[:end + 4]).get("content-length", "0"))
        if len(self.buffer) < end + 4 + length:
            return None
        whole, self.buffer = self.buffer[:end + 4 + length], self.buffer[end + 4 + length:]
        return whole

    def close(self):
        self.sock.close()


class Phone:
    def __init__(self, user, domain, edge, transport="udp", password="secret", local_ip=None, local_port=0, tls=None,
                 server_name=None, wire=None, instance=None):
        self.user, self.domain, self.password, self.transport = user, domain, password, transport
        self.wire = wire or Wire(transport, (local_ip or "127.0.0.1", local_port), edge, tls,
                                 server_name or domain)
        self.ip, self.port = self.wire.local
        self.inbox = []
        self.cseq = 0
        self.instance = instance
        self.register_call_id = token() + "@test"
        self.register_tag = token(4)
        self.nonce_counts = {}

    @property
    def aor(self):
        return f"sip:{self.user}@{self.domain}"

    @property
    def contact(self):
        t = "" if self.transport == "udp" else f";transport={self.transport}"
        return f"<sip:{self.user}@{self.ip}:{self.port}{t}>"

    def via(self, branch=None):
        return f"SIP/2.0/{self.transport.upper()} {self.ip}:{self.port};rport;branch={branch or 'z9hG4bK' + token()}"

    # ---- sending
    def request(self, method, uri, to=None, call_id=None, from_tag=None, to_tag=None, cseq=None, headers=(), body="",
                content_type="application/sdp", contact=True, routes=(), max_forwards=70, from_uri=None):
        self.cseq = cseq or self.cseq + 1
        h = [("Via", self.via()), ("Max-Forwards", str(max_forwards)),
             ("From", f"<{from_uri or self.aor}>;tag={from_tag or token(4)}"),
             ("To", f"<{to or uri}>" + (f";tag={to_tag}" if to_tag else "")),
             ("Call-ID", call_id or token() + "@test"), ("CSeq", f"{self.cseq} {method}")]
        if contact:
            h.append(("Contact", self.contact))
        h += [("Route", r) for r in routes] + list(headers)
        if body:
            h.append(("Content-Type", content_type))
        return Message(f"{method} {uri} SIP/2.0", h, body)

    def send(self, message, to=None):
        self.wire.send(message.encode(), to)
        return message

    def reply(self, request, status, reason="", to_tag=None, headers=(), body=""):
        h = [(n, v) for n, v in request.headers if n.lower() in ("via", "from", "call-id", "cseq", "record-route")]
        to = request.get("to")
        if to_tag and ";tag=" not in to:
            to += f";tag={to_tag}"
        h.append(("To", to))
        if status < 300 and request.method in ("INVITE", "SUBSCRIBE", "UPDATE"):
            h.append(("Contact", self.contact))
        h += list(headers)
        if body:
            h.append(("Content-Type", "application/sdp"))
        # To where the request came from: another edge than this phone's may have sent it.
        return self.send(Message(f"SIP/2.0 {status} {reason or 'x'}", h, body), getattr(request, "source", None))

    # ---- receiving
    def expect(self, match, seconds=5, what=""):
        """The first message, waiting or arriving, for which match(message); others stay in the inbox."""
        end = time.monotonic() + seconds
        seen = 0
        while True:
            while seen < len(self.inbox):
                if match(self.inbox[seen]):
                    return self.inbox.pop(seen)
                seen += 1
            data = self.wire.receive(max(0.0, end - time.monotonic()))
            if data is None:
                raise NoAnswer(f"{self.user}: {what or 'nothing that fits'} within {seconds} s; inbox: "
                               f"{[m.start for m in self.inbox]}")
            self.inbox.append(parse(data))
            self.inbox[-1].source = self.wire.source

    def expect_request(self, method, seconds=5):
        return self.expect(lambda m: m.is_request and m.method == method, seconds, method)

    def expect_final(self, request, seconds=8):
        number, _, method = request.get("cseq").partition(" ")
        return self.expect(lambda m: not m.is_request and m.status >= 200 and m.get("call-id") == request.get("call-id")
                           and m.get("cseq").split() == [number, method.strip()], seconds, f"final answer to {method}")

    def expect_status(self, request, status, seconds=5):
        return self.expect(lambda m: not m.is_request and m.status == status
                           and m.get("call-id") == request.get("call-id")
                           and m.get("cseq").split() == request.get("cseq").split(), seconds, str(status))

    def expect_nothing(self, seconds, match=lambda m: True):
        try:
            found = self.expect(match, seconds)
        except NoAnswer:
            return
        raise AssertionError(f"{self.user}: unexpected {found.start}")

    def drain(self, seconds=0.2):
        try:
            self.expect(lambda m: False, seconds)
        except NoAnswer:
            pass
        out, self.inbox = self.inbox, []
        return out

    # ---- whole exchanges
    def authorized(self, request, answer, **kw):
        """The same request again with credentials for the challenge in `answer`."""
        challenge = answer.get("www-authenticate") or answer.get("proxy-authenticate")
        name = "Authorization" if answer.status == 401 else "Proxy-Authorization"
        nonce = read_challenge(challenge)["nonce"]
        count = kw.pop("nc", None) or self.nonce_counts.get(nonce, 0) + 1
        self.nonce_counts[nonce] = count
        again = Message(request.start, [(n, v) for n, v in request.headers if n.lower() != name.lower()], request.body)
        self.cseq = int(request.get("cseq").split()[0]) + 1
        method = request.start.split(" ")[0]
        again.headers = [(n, self.via() if n == "Via" else f"{self.cseq} {method}" if n == "CSeq" else v)
                         for n, v in again.headers]
        return again.set(name, digest(challenge, kw.pop("username", self.user), kw.pop("password", self.password),
                                      method, kw.pop("digest_uri", request.uri), count, **kw))

    def transact(self, request, seconds=8, authenticate=True):
        """Sends; answers one challenge; gives the final answer. ACKs a non-2xx to INVITE."""
        self.send(request)
        final = self.expect_final(request, seconds)
        if final.status >= 300 and request.method == "INVITE":
            self.ack_failure(request, final)
        if authenticate and final.status in (401, 407):
            request = self.authorized(request, final)
            return self.transact(request, seconds, "stale=true" in (final.get("www-authenticate") or
                                                                    final.get("proxy-authenticate") or ""))
        self.last_request = request
        return final

    def register(self, expires=300, contacts=None, headers=(), seconds=8, authenticate=True):
        contact = self.contact
        if self.instance:
            contact += f';+sip.instance="<{self.instance}>"'
        values = contacts if contacts is not None else [contact]
        r = self.request("REGISTER", f"sip:{self.domain}", to=self.aor, call_id=self.register_call_id,
                         from_tag=self.register_tag, contact=False,
                         headers=[("Contact", c) for c in values] + [("Expires", str(expires))] + list(headers))
        return self.transact(r, seconds, authenticate)

    def ack_failure(self, invite, final):
        h = [("Via", invite.get("via")), ("Max-Forwards", "70"), ("From", invite.get("from")), ("To", final.get("to")),
             ("Call-ID", invite.get("call-id")), ("CSeq", invite.get("cseq").split()[0] + " ACK")]
        h += [("Route", r) for r in invite.all("route")]
        self.send(Message(f"ACK {invite.uri} SIP/2.0", h))

    def invite_request(self, callee, **kw):
        uri = callee if callee.startswith(("sip:", "sips:", "tel:")) else f"sip:{callee}@{self.domain}"
        kw.setdefault("body", SDP.format(ip=self.ip))
        return self.request("INVITE", uri, **kw)

    def start_call(self, callee, challenged=True, **kw):
        """INVITE, the challenge answered if one comes (`challenged` False: none will, and nothing is waited for);
        returns the request that is now under way."""
        invite = self.send(self.invite_request(callee, **kw))
        if not challenged:
            return invite
        first = self.expect(lambda m: not m.is_request and m.status > 100 and m.get("call-id") == invite.get("call-id"), 8,
                            "answer to INVITE")
        if first.status != 407:
            self.inbox.insert(0, first)
            return invite
        self.ack_failure(invite, first)
        return self.send(self.authorized(invite, first))


class Dialog:
    """A UA's end of a dialog (RFC 3261 §12), made from the INVITE and its 2xx."""

    def __init__(self, phone, invite, ok, caller):
        self.phone, self.caller = phone, caller
        self.call_id = invite.get("call-id")
        mine, theirs = ("from", "to") if caller else ("to", "from")
        self.local, self.remote = ok.get(mine), ok.get(theirs)
        peer = ok if caller else invite
        self.target = peer.get("contact").split("<")[1].split(">")[0]
        routes = (ok if caller else invite).all("record-route")
        self.routes = list(reversed(routes)) if caller else routes
        self.cseq = int(invite.get("cseq").split()[0]) if caller else 1000
        self.invite_cseq = self.cseq

    def request(self, method, cseq=None, headers=(), body=""):
        if cseq is None:
            self.cseq += 1
        number = cseq or self.cseq
        h = [("Via", self.phone.via()), ("Max-Forwards", "70")] + [("Route", r) for r in self.routes] + \
            [("From", self.local), ("To", self.remote), ("Call-ID", self.call_id), ("CSeq", f"{number} {method}"),
             ("Contact", self.phone.contact)] + list(headers)
        if body:
            h.append(("Content-Type", "application/sdp"))
        return Message(f"{method} {self.target} SIP/2.0", h, body)

    def send(self, method, **kw):
        return self.phone.send(self.request(method, **kw))

    def ack(self):
        return self.send("ACK", cseq=self.invite_cseq)


def establish(caller, callee, uri=None, **kw):
    """A whole call set-up between two phones; returns the two dialogs (caller's, callee's)."""
    invite = caller.start_call(uri or callee.user, **kw)
    incoming = callee.expect_request("INVITE")
    callee.reply(incoming, 180, "Ringing", to_tag=token(4))
    tag = token(4)
    ok_sent = callee.reply(incoming, 200, "OK", to_tag=tag, body=SDP.format(ip=callee.ip))
    ok = caller.expect_final(invite)
    assert ok.status == 200, ok.start
    mine, theirs = Dialog(caller, invite, ok, True), Dialog(callee, incoming, ok_sent, False)
    mine.ack()
    callee.expect_request("ACK")
    return mine, theirs


def tls_context(ca_file=None):
    context = ssl.create_default_context(cafile=ca_file) if ca_file else ssl.create_default_context()
    return context
