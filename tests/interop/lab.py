"""Hosts on one machine: network namespaces on one bridge, and the processes that run in them.

    with Lab() as lab:
        a = lab.host("a")                 # 10.77.0.1, its own namespace
        a.run(["ip", "addr"])
        p = a.start(["server"], log="server.log")

Everything it made is gone when the block ends: processes by their pid, namespaces by their name.
"""
import contextlib
import ctypes
import os
import shutil
import signal
import subprocess
import tempfile
import time


# Nodes under a sanitizer are so many times slower: whoever waits for them waits so many times longer, their cluster takes
# the WAN profile, and they end in order at last, so that the sanitizer says what they leak (tools/check asan, tsan).
SLOW = float(os.environ.get("SKALD_SLOW_NODES", "1"))


class Timeout(Exception):
    pass


def wait_for(what, seconds, condition, period=0.05):
    """The first true value of `condition()`; Timeout after `seconds`. `what` is said then."""
    end = time.monotonic() + seconds * SLOW
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > end:
            raise Timeout(f"after {seconds} s: {what}")
        time.sleep(period)


CLONE_NEWNET = 0x40000000
_libc = ctypes.CDLL(None, use_errno=True)


def _enter(fd):
    if _libc.setns(fd, CLONE_NEWNET) != 0:
        raise OSError(ctypes.get_errno(), "setns")


class Process:
    def __init__(self, popen, log):
        self.popen, self.log = popen, log

    @property
    def pid(self):
        return self.popen.pid

    def alive(self):
        return self.popen.poll() is None

    def text(self):
        with open(self.log, errors="replace") as f:
            return f.read()

    def kill(self):
        if self.alive():
            self.popen.kill()
        self.popen.wait()

    def stop(self, seconds=5):
        if self.alive():
            self.popen.send_signal(signal.SIGTERM)
            try:
                self.popen.wait(seconds * SLOW)
            except subprocess.TimeoutExpired:
                self.popen.kill()
        return self.popen.wait()


class Host:
    def __init__(self, lab, name, number):
        self.lab, self.name, self.number = lab, name, number
        self.ns = f"{lab.prefix}{name}"
        self.ip = f"{lab.network}.{number}"
        self.dir = os.path.join(lab.dir, name)
        os.makedirs(self.dir, mode=0o700, exist_ok=True)

    def command(self, argv):
        # A mount namespace of its own gives the host its own /etc/resolv.conf.
        return ["ip", "netns", "exec", self.ns] + argv

    def run(self, argv, check=True, timeout=60, **kw):
        return subprocess.run(self.command(argv), check=check, capture_output=True, text=True, timeout=timeout, **kw)

    @contextlib.contextmanager
    def inside(self):
        """Sockets that this thread makes meanwhile are this host's, and stay so."""
        with open("/proc/thread-self/ns/net") as here, open(f"/run/netns/{self.ns}") as there:
            _enter(there.fileno())
            try:
                yield self
            finally:
                _enter(here.fileno())

    def start(self, argv, log=None, **kw):
        path = os.path.join(self.dir, log or os.path.basename(argv[0]) + ".log")
        with open(path, "ab") as out:
            popen = subprocess.Popen(self.command(argv), stdout=out, stderr=subprocess.STDOUT,
                                     stdin=subprocess.DEVNULL, cwd=kw.pop("cwd", self.dir), **kw)
        process = Process(popen, path)
        self.lab.processes.append(process)
        return process


class Lab:
    def __init__(self, network="10.77.0", keep=False):
        self.prefix = f"sk{os.getpid() % 100000}-"
        self.network, self.keep = network, keep
        self.dir = tempfile.mkdtemp(prefix="skald-lab-")
        os.chmod(self.dir, 0o700)
        self.hosts, self.processes, self.spaces = {}, [], []

    def __enter__(self):
        try:
            self._space("hub")
            self._ip(["-n", self.prefix + "hub", "link", "add", "name", "lan0", "type", "bridge"])
            self._ip(["-n", self.prefix + "hub", "link", "set", "lan0", "up"])
            # What the bridge carries is none of the filters' business, and costs a part of each packet. (-e: it may not be there.)
            self._ip(["netns", "exec", self.prefix + "hub", "sysctl", "-qew", "net.bridge.bridge-nf-call-iptables=0"])
        except Exception:
            self.close()
            raise
        return self

    def __exit__(self, *_):
        self.close()

    def _ip(self, argv):
        subprocess.run(["ip"] + argv, check=True, capture_output=True)

    def _space(self, name):
        self._ip(["netns", "add", self.prefix + name])
        self.spaces.append(self.prefix + name)
        self._ip(["-n", self.prefix + name, "link", "set", "lo", "up"])

    def host(self, name, number=None, resolver=None):
        """A host with one address; `resolver`: IP of the DNS server in its resolv.conf (port 53)."""
        h = Host(self, name, number or len(self.hosts) + 1)
        self._space(name)
        self._plug(h)
        etc = f"/etc/netns/{h.ns}"
        os.makedirs(etc, exist_ok=True)
        with open(f"{etc}/resolv.conf", "w") as f:
            f.write(f"nameserver {resolver or h.ip}\noptions timeout:1 attempts:2\n")
        self.hosts[name] = h
        return h

    def _plug(self, h):
        """The host's cable: a device called v and its name, with its address."""
        inside, hub = f"v{h.name}", self.prefix + "hub"
        self._ip(["link", "add", inside, "netns", h.ns, "type", "veth", "peer", "name", f"p{h.name}", "netns", hub])
        self._ip(["-n", hub, "link", "set", f"p{h.name}", "master", "lan0", "up"])
        self._address(h)

    def _address(self, h):
        inside = f"v{h.name}"
        self._ip(["-n", h.ns, "addr", "add", f"{h.ip}/24", "dev", inside])
        self._ip(["-n", h.ns, "link", "set", inside, "up"])
        self._ip(["-n", h.ns, "route", "add", "default", "via", f"{self.network}.254", "dev", inside])

    def behind(self, gateway, name, subnet="192.168.7", mapping_s=30):
        """A host behind `gateway`, a host that becomes a NAT with one mapping for each pair of ends (RFC 4787: address-
        and port-dependent mapping and filtering, ports chosen at random). A mapping lives `mapping_s` without packets."""
        h = Host(self, name, 0)
        h.ip = f"{subnet}.2"
        self._space(name)
        self._ip(["link", "add", f"v{name}", "netns", h.ns, "type", "veth", "peer", "name", f"p{name}", "netns", gateway.ns])
        for ns, device, ip in ((gateway.ns, f"p{name}", f"{subnet}.1"), (h.ns, f"v{name}", h.ip)):
            self._ip(["-n", ns, "addr", "add", f"{ip}/24", "dev", device])
            self._ip(["-n", ns, "link", "set", device, "up"])
        self._ip(["-n", h.ns, "route", "add", "default", "via", f"{subnet}.1"])
        gateway.run(["nft", "-f", "-"], input="table ip nat {\n chain out {\n  type nat hook postrouting priority srcnat\n"
                    f"  ip saddr {subnet}.0/24 oifname v{gateway.name} masquerade fully-random\n }}\n}}\n")
        settings = ["net.ipv4.ip_forward=1"] + [f"net.netfilter.nf_conntrack_udp_timeout{t}={mapping_s}" for t in ("", "_stream")]
        gateway.run(["sysctl", "-qw"] + settings)
        self.hosts[name] = h
        return h

    def close(self):
        for p in reversed(self.processes):
            try:
                p.kill()
            except ProcessLookupError:
                pass
        for ns in self.spaces:
            subprocess.run(["ip", "netns", "del", ns], capture_output=True)
            shutil.rmtree(f"/etc/netns/{ns}", ignore_errors=True)
        self.spaces = []
        if not self.keep:
            shutil.rmtree(self.dir, ignore_errors=True)
