"""A cluster of real skald processes: on loopback addresses, or one on each host of a Lab."""
import http.client
import json
import os
import shutil
import socket
import subprocess
import tempfile

from lab import SLOW, Lab, Process, Timeout, wait_for  # noqa: F401  (Lab: for callers)

root = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
skald = os.path.join(os.environ.get("SKALD_BUILD", os.path.join(root, "build")), "node", "skald")


class CommandFailed(Exception):
    def __init__(self, argv, done):
        super().__init__(f"{' '.join(argv)}: exit {done.returncode}: {done.stderr.strip()} {done.stdout.strip()}")
        self.code, self.stderr = done.returncode, done.stderr


class _UnixHttp(http.client.HTTPConnection):
    def __init__(self, path, timeout):
        super().__init__("localhost", timeout=timeout)
        self.path = path

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self.path)


class Node:
    """One `skald run`. `host`: a lab host, or None for loopback."""

    def __init__(self, cluster, name, address, host=None, args=()):
        self.cluster, self.name, self.address, self.host = cluster, name, address, host
        self.args = list(args)
        self.state = os.path.join(cluster.dir, "state-" + name)
        self.control = os.path.join(self.state, "control.sock")
        self.log = os.path.join(cluster.dir, name + ".log")
        self.binary = skald
        self.process = None

    def start(self, *more):
        if SLOW > 1 and not os.path.exists(self.state):
            os.makedirs(self.state, 0o700)
            with open(os.path.join(self.state, "cluster.json"), "w") as out:
                json.dump({"profile": "wan"}, out)
        argv = [self.binary, "run", os.path.join(self.cluster.dir, self.name + ".pem"), "--state", self.state,
                "--address", self.address] + self.args + list(more)
        if self.host:
            self.process = self.host.start(argv, log=self.name + ".log")
            self.log = self.process.log
        else:
            with open(self.log, "ab") as out:
                popen = subprocess.Popen(argv, stdout=out, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL)
            self.process = Process(popen, self.log)
        return self

    def cli(self, *argv, stdin=None, check=True, timeout=60):
        """The command's JSON (or None). It talks to the control socket, so it needs no namespace."""
        line = [self.binary] + list(argv) + ["--json", "--control", self.control]
        done = subprocess.run(line, input=stdin, capture_output=True, text=True, timeout=timeout)
        if check and done.returncode != 0:
            raise CommandFailed(line, done)
        return json.loads(done.stdout) if done.returncode == 0 and done.stdout.strip() else None

    def text(self, *argv):
        return subprocess.run([skald] + list(argv) + ["--control", self.control], capture_output=True, text=True,
                              timeout=60).stdout

    def get(self, path, timeout=2):
        """The body of GET on the control socket, without a process per question; None: no answer."""
        connection = _UnixHttp(self.control, timeout)
        try:
            connection.request("GET", path)
            answer = connection.getresponse()
            return answer.read().decode() if answer.status == 200 else None
        except (OSError, http.client.HTTPException):
            return None
        finally:
            connection.close()

    def members(self):
        text = self.get("/v1/members")
        return json.loads(text) if text else []

    def active(self):
        return sorted(m["name"] for m in self.members() if m["state"] == "active")

    def seen(self):
        """Who is in this node's view at all: a suspect still is, and owns what it owned."""
        return sorted(m["name"] for m in self.members() if m["state"] not in ("left", "dead"))

    def serving(self):
        """Sure of its view, with keys and settings: phones are served, not told to go elsewhere."""
        text = self.get("/v1/status")
        return bool(text) and json.loads(text)["serving"]

    def metric(self, name, label=""):
        """Sum over all label sets of one metric, or those that have that label."""
        total = 0.0
        for line in (self.get("/metrics") or "").split("\n"):
            if label in line and line.startswith(name) and (line[len(name):len(name) + 1] in (" ", "{")):
                total += float(line.rsplit(" ", 1)[1])
        return total

    def kill(self):
        self.process.kill()

    def stop(self):
        return self.process.stop()


class Cluster:
    def __init__(self, domain="skald.test", dir=None):
        self.domain = domain
        self.dir = dir or tempfile.mkdtemp(prefix="skald-cluster-")
        os.makedirs(self.dir, exist_ok=True)
        os.chmod(self.dir, 0o700)
        self.nodes = []
        self.run_cli("cluster", "init", domain, "--dir", self.dir)

    def run_cli(self, *argv, stdin=None):
        line = [skald] + list(argv)
        done = subprocess.run(line, input=stdin, capture_output=True, text=True, timeout=60)
        if done.returncode != 0:
            raise CommandFailed(line, done)
        return done.stdout

    def node(self, name, address, host=None, args=(), seeds=(), roles=()):
        issue = ["cert", "issue", name, "--dir", self.dir]
        for s in seeds:
            issue += ["--seed", s]
        for r in roles:
            issue += ["--role", r]
        self.run_cli(*issue)
        n = Node(self, name, address, host, args)
        self.nodes.append(n)
        return n

    def start_all(self, seconds):
        """Starts all nodes, and waits until each sees all of them active."""
        if SLOW > 1:
            self.nodes[0].start()
            self.wait_active(seconds=seconds)
            self.nodes[0].cli("set", "profile", "wan")
        for n in self.nodes[1 if SLOW > 1 else 0:]:
            n.start()
        self.wait_active(seconds=seconds)

    def wait_active(self, names=None, seconds=15):
        """Every running node sees exactly these nodes active, and these serve phones. A node that ends meanwhile is an error at once."""
        running = [n for n in self.nodes if n.process and n.process.alive()]
        wanted = sorted(names or [n.name for n in running])

        def agreed():
            for n in running:
                assert n.process.alive(), f"{n.name} ended with status {n.process.popen.returncode}: {n.process.text()[-2000:]}"
            return all(n.active() == wanted and (n.name not in wanted or n.serving()) for n in running)
        try:
            wait_for(f"all views show {wanted} active", seconds, agreed, 0.1)
        except Timeout as e:
            views = {n.name: {m["name"]: m["state"] for m in n.members()} for n in running}
            raise Timeout(f"{e}; the views: {views}") from None

    def add_user(self, user, password="secret"):
        aor = user if "@" in user else f"{user}@{self.domain}"
        self.nodes[0].cli("user", "add", aor, "--password-stdin", stdin=password + "\n")

    def close(self, keep=False):
        for n in self.nodes:
            if n.process and SLOW > 1:
                n.process.stop()
            elif n.process:
                n.process.kill()
        if not keep:
            shutil.rmtree(self.dir, ignore_errors=True)

    def __enter__(self):
        return self

    def __exit__(self, kind, *_):
        if kind is not None:
            for n in self.nodes:
                if n.process and os.path.exists(n.log):
                    print(f"---- {n.name}:")
                    with open(n.log, errors="replace") as f:
                        print("".join(f.readlines()[-25:]))
        self.close()


def three_on_loopback(domain="skald.test", base=11, workers=1, args=(), names=("a", "b", "c"), network="127.0.0"):
    """Three nodes on NETWORK.base and up, joined and active. The first is the founder."""
    c = Cluster(domain)
    try:
        seed = f"{network}.{base}:4260"
        for i, name in enumerate(names):
            c.node(name, f"{network}.{base + i}", seeds=[] if i == 0 else [seed],
                   args=["--workers", str(workers), "--dns-port", "5353"] + list(args))
        # In peace it is 3 s. A machine that keeps nodes waiting for longer than a LAN's timers allow removes them at times,
        # and from the third time on they pause for 10 s (decision 20).
        c.start_all(seconds=40)
    except Exception:
        c.__exit__(Exception)
        raise
    return c
