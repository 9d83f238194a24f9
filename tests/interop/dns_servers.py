"""Real DNS servers as child processes on a loopback address: BIND, Knot, PowerDNS, with one zone and one TSIG key."""
import base64
import glob
import os
import shutil
import subprocess
import tempfile

from lab import Process, wait_for

KEY = "skald-key"
SECRET = base64.b64encode(b"a secret of 32 bytes for testing").decode()
WRONG = base64.b64encode(b"another one of 32 bytes, unknown").decode()

ZONE = """$TTL 300
@ IN SOA ns.{zone}. hostmaster.{zone}. 1 300 60 3600 {minimum}
@ IN NS ns.{zone}.
ns IN A {ip}
{more}
"""


def tsig_file(secret):
    return f'key "{KEY}" {{\n\talgorithm hmac-sha256;\n\tsecret "{secret}";\n}};\n'


class Server:
    name = ""

    def __init__(self, ip, port, zone, more="", minimum=15, host=None):
        """`host`: the lab host that it runs on; None: here."""
        self.ip, self.port, self.zone, self.more, self.minimum = ip, port, zone, more, minimum
        self.command = host.command if host else list
        self.dir = tempfile.mkdtemp(prefix=f"skald-{self.name}-")
        self.process = None

    @property
    def at(self):
        return f"{self.ip}:{self.port}"

    def write(self, name, text):
        path = os.path.join(self.dir, name)
        with open(path, "w") as f:
            f.write(text)
        return path

    def key_file(self, secret=SECRET):
        return self.write("right.key" if secret == SECRET else "wrong.key", tsig_file(secret))

    def zone_text(self):
        return ZONE.format(zone=self.zone, ip=self.ip, more=self.more, minimum=self.minimum)

    def start(self):
        argv = self.configure()
        log = os.path.join(self.dir, "log")
        with open(log, "ab") as out:
            popen = subprocess.Popen(self.command(argv), stdout=out, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, cwd=self.dir)
        self.process = Process(popen, log)
        try:
            wait_for(f"{self.name} answers", 20, lambda: self.dig(self.zone, "SOA"), 0.2)
        except Exception:
            print(self.process.text()[-3000:])
            self.stop()
            raise
        return self

    def stop(self):
        if self.process:
            self.process.stop()
        shutil.rmtree(self.dir, ignore_errors=True)

    def dig(self, name, kind):
        """The data of all records, as dig writes them."""
        done = subprocess.run(self.command(["dig", "+short", "+time=1", "+tries=2", "+norec", "-p", str(self.port),
                                            f"@{self.ip}", name, kind]), capture_output=True, text=True, timeout=10)
        return sorted(l for l in done.stdout.split("\n") if l and not l.startswith(";"))

    def ttl(self, name, kind):
        done = subprocess.run(self.command(["dig", "+noall", "+answer", "+time=1", "+norec", "-p", str(self.port),
                                            f"@{self.ip}", name, kind]), capture_output=True, text=True, timeout=10)
        return {int(l.split()[1]) for l in done.stdout.split("\n") if l and not l.startswith(";")}


class Bind(Server):
    name = "bind"

    def configure(self):
        self.write("zone", self.zone_text())
        conf = self.write("named.conf", f"""
options {{ directory "{self.dir}"; listen-on port {self.port} {{ {self.ip}; }}; listen-on-v6 {{ none; }}; recursion no;
  pid-file none; session-keyfile none; dnssec-validation no; empty-zones-enable no; notify no; }};
controls {{ }};
{tsig_file(SECRET)}
zone "{self.zone}" {{ type primary; file "{self.dir}/zone"; update-policy {{ grant {KEY} zonesub ANY; }}; }};
""")
        return ["named", "-g", "-n", "1", "-c", conf]


class Knot(Server):
    name = "knot"

    def configure(self):
        self.write("zone", self.zone_text())
        conf = self.write("knot.conf", f"""
server:
    rundir: "{self.dir}"
    listen: {self.ip}@{self.port}
    udp-workers: 1
    tcp-workers: 1
database:
    storage: "{self.dir}"
key:
  - id: {KEY}
    algorithm: hmac-sha256
    secret: {SECRET}
acl:
  - id: updates
    key: {KEY}
    action: update
template:
  - id: default
    storage: "{self.dir}"
zone:
  - domain: {self.zone}
    file: zone
    acl: updates
""")
        return ["knotd", "-c", conf]


class PowerDns(Server):
    name = "powerdns"

    def configure(self):
        schema = sorted(glob.glob("/usr/share/pdns-backend-sqlite3/schema/schema.sqlite3.sql")
                        + glob.glob("/usr/share/doc/pdns-backend-sqlite3/schema.sqlite3.sql"))[0]
        with open(schema) as f:
            subprocess.run(["sqlite3", f"{self.dir}/db"], stdin=f, check=True)
        self.write("pdns.conf", f"""
launch=gsqlite3
gsqlite3-database={self.dir}/db
local-address={self.ip}
local-port={self.port}
socket-dir={self.dir}
dnsupdate=yes
allow-dnsupdate-from=127.0.0.0/8
daemon=no
guardian=no
""")
        util = ["pdnsutil", f"--config-dir={self.dir}"]
        zone_file = self.write("zone", self.zone_text())
        for argv in (["load-zone", self.zone, zone_file], ["import-tsig-key", KEY, "hmac-sha256", SECRET],
                     ["set-meta", self.zone, "TSIG-ALLOW-DNSUPDATE", KEY], ["set-meta", self.zone, "SOA-EDIT-DNSUPDATE", "INCREASE"]):
            subprocess.run(util + argv, check=True, capture_output=True)
        return ["pdns_server", f"--config-dir={self.dir}"]


ALL = (Bind, Knot, PowerDns)
