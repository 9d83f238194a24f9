"""Real nodes on hosts of a Lab, a load of phones on another, and what can go wrong between and in them."""
import json
import os
import queue
import shutil
import signal
import subprocess
import sys
import threading
import time

here = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(os.path.dirname(here), "interop"))

from cluster import Cluster, root  # noqa: E402
from lab import Lab, wait_for  # noqa: E402

DOMAIN = "skald.test"
program = os.path.join(os.environ.get("SKALD_BUILD", os.path.join(root, "build")), "tests", "chaos", "chaos_load")
NAT_MAPPING_S = 60
STATE_MB = 64  # of the small file system of the node whose disk fills: four times what it holds at the full rate (docs/operations.md)


class WireLab(Lab):
    """A Lab whose hosts are joined by tests/chaos/wire.cpp instead of a bridge: delay, which the kernel may not have."""

    def __init__(self, network, args):
        super().__init__(network)
        self.args, self.plugged, self.wire = args, [], None

    def _plug(self, h):
        self.plugged.append(h)  # the wire makes the devices, once it runs

    def connect(self):
        argv = [os.path.join(os.path.dirname(program), "chaos_wire"), "--delay-ms", str(self.args.delay), "--jitter-ms",
                str(self.args.jitter), "--seed", str(self.args.seed)]
        self.wire = subprocess.Popen(argv + [f"{h.ns},v{h.name},{h.ip}" for h in self.plugged], stdin=subprocess.PIPE,
                                     stdout=subprocess.PIPE, text=True)
        if self.wire.stdout.readline() != "ready\n":
            raise RuntimeError("the wire did not start")
        for h in self.plugged:
            self._address(h)

    def close(self):
        if self.wire:
            self.wire.kill()
            self.wire.wait()
        super().close()


class Load:
    """tests/chaos/load.cpp: commands in, JSON out."""

    def __init__(self, host, home, nodes, args):
        argv = [program, "--domain", DOMAIN, "--ip", host.ip, "--nat", f"{home.ns}={home.ip}"]
        for key in ("users", "rate", "calls", "hold", "seed"):
            argv += ["--" + key, str(getattr(args, key))]
        for n in nodes:
            argv += ["--node", f"{n.name}={n.address}:5060"]
        self.errors = open(os.path.join(host.dir, "load.log"), "w")
        self.process = subprocess.Popen(host.command(argv), stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                        stderr=self.errors, text=True, bufsize=1)
        self.lines = queue.Queue()
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self):
        for line in self.process.stdout:
            self.lines.put(json.loads(line))
        self.lines.put(None)

    def say(self, *words):
        self.process.stdin.write(" ".join(words) + "\n")

    def hear(self, key, seconds):
        answer = self.lines.get(timeout=seconds)
        if answer is None or key not in answer:
            raise RuntimeError(f"load: {answer}, not {key}")
        return answer

    def ask(self, command, key, seconds):
        self.say(command)
        return self.hear(key, seconds)

    def cpu_s(self):
        with open(f"/proc/{self.process.pid}/stat") as f:
            fields = f.read().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def close(self):
        self.process.kill()
        self.process.wait()
        self.errors.close()


class World:
    def __init__(self, args, random):
        self.args, self.random = args, random
        self.lab = WireLab("198.51.100", args) if args.delay or args.jitter else Lab("198.51.100")
        self.cluster = self.load = None
        self.mounts = []
        self.blocked = {}  # node name: addresses that it does not hear

    def __enter__(self):
        self.lab.__enter__()
        try:
            self._start()
        except BaseException:
            self.__exit__(*sys.exc_info())
            raise
        return self

    def _start(self):
        hosts = [self.lab.host(f"n{i + 1}") for i in range(self.args.nodes)]
        more = self.lab.host("more", 99)
        street, gateway = self.lab.host("phones", 100), self.lab.host("gateway", 101)
        if isinstance(self.lab, WireLab):
            self.lab.connect()
        self.cluster = Cluster(DOMAIN, dir=os.path.join(self.lab.dir, "cluster"))
        for i, host in enumerate(hosts):
            seeds = [f"{self.lab.hosts['n1'].ip}:4260"] if i else []
            self.cluster.node(host.name, host.ip, host, seeds=seeds, args=["--workers", str(self.args.workers)])
        self.nodes = list(self.cluster.nodes)
        if "join" in self.args.scenario:
            self.extra = self.cluster.node("more", more.ip, more, seeds=[f"{self.lab.hosts['n1'].ip}:4260"])
        self.names = [n.name for n in self.nodes]
        self.small = self.random.choice(self.nodes)
        if "diskfull" in self.args.scenario:
            self._mount(self.small)
        for n in self.nodes:
            n.start()
        self.cluster.wait_active(seconds=60)
        rows = "aor,password\n" + "".join(f"p{i}@{DOMAIN},secret\n" for i in range(self.args.users))
        self.nodes[0].cli("user", "import", "-", stdin=rows, timeout=300)
        if self.args.profile != "lan":
            self.nodes[0].cli("set", "profile", self.args.profile)
        for n in self.nodes:
            self._filter(n)
        home = self.lab.behind(gateway, "home", mapping_s=NAT_MAPPING_S)
        self.load = Load(street, home, self.nodes, self.args)

    def _mount(self, node):
        os.makedirs(node.state, mode=0o700, exist_ok=True)
        subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={STATE_MB}m,mode=700", "tmpfs", node.state], check=True)
        self.mounts.append(node.state)

    def __exit__(self, kind, *_):
        if self.load:
            self.load.close()
        if self.cluster:
            if kind is not None or self.args.logs:
                self._show_logs()
            for n in self.cluster.nodes:
                if n.process:
                    n.process.kill()
        for m in self.mounts:
            subprocess.run(["umount", "-l", m], check=False)
        self.lab.close()

    def _show_logs(self):
        for n in self.nodes:
            if n.process and os.path.exists(n.log):
                with open(n.log, errors="replace") as f:
                    print(f"---- {n.name}:\n" + "".join(f.readlines()[-30:]), flush=True)

    # ---- the network
    def _filter(self, node):
        """Loads the rules of what this node hears."""
        drops = "".join(f"  ip saddr {ip} drop\n" for ip in sorted(self.blocked.get(node.name, ())))
        loss = f"  numgen random mod 10000 < {int(self.args.loss * 10000)} drop\n" if self.args.loss else ""
        node.host.run(["nft", "-f", "-"], input="table ip chaos\ndelete table ip chaos\ntable ip chaos {\n chain in {\n"
                      f"  type filter hook input priority 0\n{drops}{loss} }}\n}}\n")

    def deafen(self, node, others):
        """From now on `node` hears nothing of `others`."""
        self.blocked.setdefault(node.name, set()).update(o.address for o in others)
        self._filter(node)

    def cut(self, one, other):
        for n in one:
            self.deafen(n, other)
        for n in other:
            self.deafen(n, one)

    def heal(self):
        cut, self.blocked = self.blocked, {}
        for n in self.nodes:
            if n.name in cut:
                self._filter(n)

    # ---- nodes
    def kill(self, node):
        self.load.say("fell", node.name)
        node.kill()

    def away(self, node, seconds):
        """Waits that long; within the first second, if it lasts, the node's phones notice that it does not answer."""
        notice = self.random.uniform(0, 1)
        time.sleep(min(notice, seconds))
        if notice < seconds:
            self.load.say("down", node.name)
            time.sleep(seconds - notice)

    def pause(self, node):
        node.process.popen.send_signal(signal.SIGSTOP)

    def resume(self, node):
        node.process.popen.send_signal(signal.SIGCONT)

    def one_more(self):
        """A node that is not among those that phones know, as new as on its first day."""
        shutil.rmtree(self.extra.state, ignore_errors=True)
        return self.extra

    def wait_agreed(self, seconds, *more):
        """Seconds until all views agree that all are there."""
        began = time.monotonic()
        names = sorted(self.names + [n.name for n in more])
        wait_for("all views show all nodes active", seconds, lambda: all(n.active() == names for n in self.nodes + list(more)), 0.02)
        return time.monotonic() - began

    def wait_one_view(self, seconds):
        """Seconds until all views are the same, and all nodes are alive in it."""
        began = time.monotonic()

        def one():
            views = [sorted((m["name"], m["state"]) for m in n.members()) for n in self.nodes]
            return views.count(views[0]) == len(views) and len(views[0]) == len(self.nodes) and all(s not in ("dead", "left") for _, s in views[0])

        wait_for("all views are one", seconds, one, 0.02)
        return time.monotonic() - began

    def fill_disk(self):
        path = os.path.join(self.small.state, "fill")
        with open(path, "wb", buffering=0) as f:
            try:
                while True:
                    f.write(b"\0" * 65536)
            except OSError:
                pass
            try:
                while True:
                    f.write(b"\0")
            except OSError:
                pass
        return path

    def listed(self):
        """For each node: the phones that `skald registrations` does not list there."""
        wanted = {f"sip:p{i}@{DOMAIN}" for i in range(self.args.users)}
        out = {}
        for n in self.nodes:
            rows = n.cli("registrations", timeout=120)
            out[n.name] = sorted(wanted - {r["aor"] for r in rows})
        return out
