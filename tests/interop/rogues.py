"""Certificates that must not get in, made with openssl, and the bundles around them."""
import base64
import json
import os
import re
import subprocess

EXTENSIONS = """[ca]
default_ca = d
[d]
dir = {dir}
new_certs_dir = {dir}
database = {dir}/index.txt
rand_serial = yes
default_md = sha256
policy = p
copy_extensions = none
[p]
commonName = supplied
[v]
basicConstraints = CA:FALSE
keyUsage = digitalSignature
extendedKeyUsage = {usage}
subjectAltName = {names}
"""


def openssl(*argv, stdin=None):
    return subprocess.run(["openssl"] + list(argv), check=True, capture_output=True, text=True, input=stdin).stdout


def blocks(pem):
    """[(label, whole block)] of a PEM file."""
    return [(m.group(1), m.group(0)) for m in re.finditer(r"-----BEGIN ([A-Z ]+)-----.*?-----END \1-----\n?", pem, re.S)]


class Maker:
    """Signs what the operator never would, with the real CA's key."""

    def __init__(self, cluster):
        self.cluster = cluster
        self.dir = os.path.join(cluster.dir, "rogues")
        os.makedirs(self.dir)
        open(f"{self.dir}/index.txt", "w").close()
        self.ca_cert, self.ca_key = f"{cluster.dir}/ca.pem", f"{cluster.dir}/ca.key"

    def cert(self, name, start="20240101000000Z", end="20440101000000Z", usage="serverAuth,clientAuth", roles=("role:proxy", "role:registrar")):
        """Files (certificate, key) of a certificate by the cluster's own CA."""
        domain = self.cluster.domain
        names = [f"DNS:{name}.{domain}", f"DNS:{domain}", f"URI:sip:{domain}"]
        names += [f"URI:urn:skald:{r}" for r in roles]
        base = os.path.join(self.dir, name)
        with open(base + ".cnf", "w") as f:
            f.write(EXTENSIONS.format(dir=self.dir, usage=usage, names=",".join(names)))
        key = openssl("genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256")
        with open(base + ".key", "w") as f:
            f.write(key)
        openssl("req", "-new", "-key", base + ".key", "-subj", f"/CN={name}.{domain}", "-out", base + ".csr")
        openssl("ca", "-batch", "-config", base + ".cnf", "-extensions", "v", "-in", base + ".csr", "-out", base + ".crt",
                "-cert", self.ca_cert, "-keyfile", self.ca_key, "-startdate", start, "-enddate", end, "-notext")
        return base + ".crt", base + ".key"

    def foreign(self, name):
        """The same by another CA of the same name."""
        base = os.path.join(self.dir, name)
        openssl("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "300", "-subj",
                f"/CN=skald CA {self.cluster.domain}", "-keyout", base + "-ca.key", "-out", base + "-ca.pem")
        mine = self.ca_cert, self.ca_key
        self.ca_cert, self.ca_key = base + "-ca.pem", base + "-ca.key"
        try:
            return self.cert(name)
        finally:
            self.ca_cert, self.ca_key = mine

    def bundle(self, name, cert, key, seed):
        """A bundle as `cert issue` writes it, around this certificate."""
        text = open(f"{self.cluster.dir}/{self.cluster.nodes[1].name}.pem").read()
        kept = {label: b for label, b in blocks(text) if label == "SKALD CLUSTER"}["SKALD CLUSTER"]
        facts = json.loads(base64.b64decode("".join(kept.split("\n")[1:-2])))
        facts["seeds"], facts["founder"] = [seed], False
        body = base64.encodebytes(json.dumps(facts).encode()).decode()
        path = os.path.join(self.cluster.dir, name + ".pem")
        with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as f:
            f.write(open(key).read() + openssl("x509", "-in", cert) + open(self.ca_cert).read() +
                    f"-----BEGIN SKALD CLUSTER-----\n{body}-----END SKALD CLUSTER-----\n")
        return path


class PublicCa:
    """A CA that is not the cluster's, as phones and peers trust it."""

    def __init__(self, dir):
        self.dir = dir
        os.makedirs(dir)
        openssl("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "3650",
                "-subj", "/CN=Public Test CA", "-keyout", f"{dir}/ca.key", "-out", f"{dir}/ca.pem")

    def make(self, name, sans, days=90, key=("ec", "-pkeyopt", "ec_paramgen_curve:P-256"), more=""):
        """Files (certificate, key). `sans`: DNS names, or with their kind, as URI:sip:example.org; days 0: expired."""
        base = f"{self.dir}/{name}"
        openssl("req", "-new", "-newkey", *key, "-nodes", "-subj", f"/CN={name}", "-keyout", base + ".key",
                "-out", base + ".csr")
        with open(base + ".ext", "w") as f:
            f.write("subjectAltName=" + ",".join(s if ":" in s else "DNS:" + s for s in sans) + "\n" + more)
        if days > 0:
            openssl("x509", "-req", "-in", base + ".csr", "-CA", f"{self.dir}/ca.pem", "-CAkey", f"{self.dir}/ca.key",
                    "-CAcreateserial", "-extfile", base + ".ext", "-out", base + ".pem", "-days", str(days))
        else:  # only `ca` takes an end in the past
            with open(base + ".cnf", "w") as f:
                f.write(f"[ca]\ndefault_ca=d\n[d]\nnew_certs_dir={self.dir}\ndatabase={self.dir}/index.txt\nrand_serial=yes\n"
                        "default_md=sha256\npolicy=p\n[p]\ncommonName=supplied\n")
            open(f"{self.dir}/index.txt", "w").close()
            openssl("ca", "-batch", "-config", base + ".cnf", "-extfile", base + ".ext", "-in", base + ".csr", "-notext",
                    "-out", base + ".pem", "-cert", f"{self.dir}/ca.pem", "-keyfile", f"{self.dir}/ca.key",
                    "-startdate", "20240101000000Z", "-enddate", "20250101000000Z")
        return base + ".pem", base + ".key"


def dtls(address, port, cert=None, key=None):
    """One DTLS handshake by openssl; its text."""
    return _client(["-dtls1_2", "-connect", f"{address}:{port}"], cert, key)


def tls(address, port, cert=None, key=None, alpn="skald/1"):
    return _client(["-connect", f"{address}:{port}", "-alpn", alpn], cert, key)


def _client(argv, cert, key):
    line = ["timeout", "4", "openssl", "s_client"] + argv + (["-cert", cert, "-key", key] if cert else [])
    # It reads on after the handshake, so that a refusal in TLS 1.3 is seen.
    done = subprocess.run(["bash", "-c", "sleep 2 | \"$@\"", "x"] + line, capture_output=True, text=True)
    return done.stdout + done.stderr
