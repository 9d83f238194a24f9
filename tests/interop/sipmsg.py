"""SIP messages for test phones: built by hand, so that wrong ones can be built too."""
import hashlib
import os
import re

COMPACT = {"v": "via", "f": "from", "t": "to", "i": "call-id", "m": "contact", "l": "content-length",
           "c": "content-type", "k": "supported", "e": "content-encoding", "s": "subject"}


def token(n=8):
    return os.urandom(n).hex()


class Message:
    """start: the first line; headers: list of (name, value) in order; body: str."""

    def __init__(self, start, headers=(), body=""):
        self.start, self.headers, self.body = start, list(headers), body

    @property
    def is_request(self):
        return not self.start.startswith("SIP/2.0 ")

    @property
    def status(self):
        return None if self.is_request else int(self.start.split(" ")[1])

    @property
    def method(self):
        return self.start.split(" ")[0] if self.is_request else self.get("cseq").split()[1]

    @property
    def uri(self):
        return self.start.split(" ")[1]

    def get(self, name, default=None):
        for n, v in self.headers:
            if n.lower() == name.lower():
                return v
        return default

    def all(self, name):
        """All values; comma lists split at top level."""
        out = []
        for n, v in self.headers:
            if n.lower() == name.lower():
                out += split_commas(v) if name.lower() in ("via", "route", "record-route", "contact", "path") else [v]
        return out

    def set(self, name, value):
        self.headers = [(n, v) for n, v in self.headers if n.lower() != name.lower()] + [(name, value)]
        return self

    def tag(self, name):
        m = re.search(r";\s*tag=([^;>\s]+)", self.get(name, ""))
        return m.group(1) if m else ""

    def encode(self):
        head = [(n, v) for n, v in self.headers if n.lower() != "content-length"]
        lines = [self.start] + [f"{n}: {v}" for n, v in head] + [f"Content-Length: {len(self.body.encode())}"]
        return ("\r\n".join(lines) + "\r\n\r\n" + self.body).encode()

    def __repr__(self):
        return self.encode().decode(errors="replace")


def split_commas(value):
    out, depth, quoted, start = [], 0, False, 0
    for i, c in enumerate(value):
        if c == '"':
            quoted = not quoted
        elif not quoted and c == "<":
            depth += 1
        elif not quoted and c == ">":
            depth -= 1
        elif c == "," and not quoted and depth == 0:
            out.append(value[start:i].strip())
            start = i + 1
    return out + [value[start:].strip()]


def parse(data):
    head, _, body = data.partition(b"\r\n\r\n")
    lines = re.sub(r"\r\n[ \t]+", " ", head.decode(errors="replace")).split("\r\n")
    headers = []
    for line in lines[1:]:
        name, _, value = line.partition(":")
        name = name.strip()
        headers.append((COMPACT.get(name.lower(), name), value.strip()))
    return Message(lines[0], headers, body.decode(errors="replace"))


def read_challenge(value):
    return {k.lower(): q or v for k, q, v in re.findall(r'(\w+)\s*=\s*(?:"([^"]*)"|([^\s,"]+))', value)}


def digest(challenge, user, password, method, uri, nc=1, cnonce=None, algorithm=None):
    """The Authorization value for a challenge (RFC 7616, RFC 2617)."""
    c = read_challenge(challenge)
    algorithm = algorithm or c.get("algorithm", "MD5")
    h = {"MD5": hashlib.md5, "SHA-256": hashlib.sha256}[algorithm.upper()]

    def hx(text):
        return h(text.encode()).hexdigest()

    ha1, ha2 = hx(f"{user}:{c['realm']}:{password}"), hx(f"{method}:{uri}")
    value = f'Digest username="{user}", realm="{c["realm"]}", nonce="{c["nonce"]}", uri="{uri}", algorithm={algorithm}'
    if "qop" in c:
        cnonce, count = cnonce or token(4), f"{nc:08x}"
        response = hx(":".join([ha1, c["nonce"], count, cnonce, "auth", ha2]))
        value += f', qop=auth, nc={count}, cnonce="{cnonce}", response="{response}"'
    else:
        value += ', response="%s"' % hx(":".join([ha1, c["nonce"], ha2]))
    if "opaque" in c:
        value += f', opaque="{c["opaque"]}"'
    return value
