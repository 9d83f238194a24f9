"""A real phone: baresip in a host of a Lab, steered over its ctrl_tcp module.

It plays a tone into every call and records what it hears; `tone_share` says how much of a recording is that tone.
"""
import glob
import json
import math
import os
import socket
import struct
import subprocess
import threading
import time
import wave

from lab import wait_for

MODULES = "/usr/lib/baresip/modules"


def make_tone(path, hertz, seconds=30, rate=8000):
    with wave.open(path, "wb") as w:
        w.setnchannels(1)
        w.setsampwidth(2)
        w.setframerate(rate)
        w.writeframes(b"".join(struct.pack("<h", int(12000 * math.sin(2 * math.pi * hertz * i / rate)))
                               for i in range(rate * seconds)))


def tone_share(path, hertz):
    """The part of a recording's energy that lies at `hertz` (0..1), by the Goertzel algorithm over 100 ms blocks; blocks
    of silence (before and after the talk) do not count."""
    with wave.open(path, "rb") as w:
        rate, channels = w.getframerate(), w.getnchannels()
        raw = w.readframes(w.getnframes())
    samples = struct.unpack(f"<{len(raw) // 2}h", raw)[::channels]
    block = rate // 10
    shares = []
    for start in range(0, len(samples) - block, block):
        s = samples[start:start + block]
        energy = sum(x * x for x in s)
        if energy < block * 100 * 100:
            continue
        k = 2 * math.cos(2 * math.pi * hertz / rate)
        a = b = 0.0
        for x in s:
            a, b = x + k * a - b, a
        power = a * a + b * b - k * a * b
        shares.append(min(1.0, 2 * power / (block * energy)))
    return sum(shares) / len(shares) if shares else 0.0


class Baresip:
    def __init__(self, host, user, domain, dns, transport="udp", password="secret", hertz=440, ctrl_port=4444,
                 outbound="", answer="auto", regint=60):
        self.host, self.user, self.domain, self.hertz = host, user, domain, hertz
        self.dir = os.path.join(host.dir, "baresip-" + user)
        os.makedirs(self.dir, exist_ok=True)
        make_tone(os.path.join(self.dir, "tone.wav"), hertz)
        modules = ["g711", "aufile", "sndfile", "uuid", "account", "contact", "menu", "ctrl_tcp"]
        lines = [f"module_path {MODULES}", f"sip_listen {host.ip}:5060", f"dns_server {dns}",
                 f"audio_source aufile,{self.dir}/tone.wav", f"audio_player aufile,{self.dir}/played.wav",
                 f"audio_alert aufile,{self.dir}/alert.wav", f"snd_path {self.dir}", f"ctrl_tcp_listen {host.ip}:{ctrl_port}",
                 "call_local_timeout 120", "rtp_ports 10000-20000"]
        lines += [f"module {m}.so" for m in modules[:4]] + [f"module_app {m}.so" for m in modules[4:]]
        with open(f"{self.dir}/config", "w") as f:
            f.write("\n".join(lines) + "\n")
        through = f';outbound="{outbound}"' if outbound else ""
        with open(f"{self.dir}/accounts", "w") as f:
            f.write(f"<sip:{user}@{domain};transport={transport}>;auth_pass={password};regint={regint};answermode={answer}"
                    f"{through};audio_codecs=pcmu\n")
        open(f"{self.dir}/contacts", "w").close()
        self.events, self.ctrl_port = [], ctrl_port
        self.process = host.start(["baresip", "-f", self.dir], log=f"baresip-{user}.log", cwd=self.dir)
        self._connect()

    def _connect(self):
        # The control port is inside the namespace: a helper in there carries it to a socket pair here.
        mine, theirs = socket.socketpair()

        relay = ("import socket,sys,threading,os,time\n"
                 f"u=socket.socket(fileno={theirs.fileno()})\n"
                 "for i in range(100):\n"
                 f"  try: t=socket.create_connection(('{self.host.ip}',{self.ctrl_port})); break\n"
                 "  except OSError: time.sleep(0.1)\n"
                 "def pump(a,b):\n"
                 "  while True:\n"
                 "    d=a.recv(65536)\n"
                 "    if not d: os._exit(0)\n"
                 "    b.sendall(d)\n"
                 "threading.Thread(target=pump,args=(t,u),daemon=True).start()\n"
                 "pump(u,t)\n")
        self.relay = self.host.start(["python3", "-c", relay], log=f"relay-{self.user}.log", pass_fds=[theirs.fileno()])
        theirs.close()
        self.sock = mine
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self):
        buffer = b""
        while True:
            try:
                data = self.sock.recv(65536)
            except OSError:
                return
            if not data:
                return
            buffer += data
            while b":" in buffer:
                size, _, rest = buffer.partition(b":")
                if len(rest) < int(size) + 1:
                    break
                self.events.append(json.loads(rest[:int(size)]))
                buffer = rest[int(size) + 1:]

    def command(self, name, params=""):
        text = json.dumps({"command": name, "params": params, "token": "t"}).encode()
        self.sock.sendall(str(len(text)).encode() + b":" + text + b",")

    def saw(self, kind):
        return [e for e in self.events if e.get("type") == kind]

    def wait(self, kind, seconds=15):
        try:
            return wait_for(f"{self.user}: event {kind}", seconds, lambda: self.saw(kind))[-1]
        except Exception:
            print(f"{self.user}: events {[e.get('type') for e in self.events]}\n{self.process.text()[-1500:]}")
            raise

    def wait_registered(self, seconds=15):
        # By its log: the event may come before the control connection is there.
        wait_for(f"{self.user} is registered; its log:\n{self.process.text()[-1500:]}", seconds,
                 lambda: "200 OK () [" in self.process.text())

    def dial(self, uri):
        self.command("dial", uri)

    def hangup(self):
        self.command("hangup")

    def recordings(self):
        """What this phone heard (decoded), newest last."""
        return sorted(glob.glob(f"{self.dir}/dump-*-dec.wav"), key=os.path.getmtime)

    def stop(self):
        """Ends it as its user would: it unregisters."""
        self.process.stop(3)
        self.relay.kill()
        self.sock.close()


def dig(host, server, name, kind, port=53):
    out = host.run(["dig", "+short", "+time=1", "+tries=2", "-p", str(port), f"@{server}", name, kind], check=False)
    return [line for line in out.stdout.split("\n") if line]


def talk(caller, callee, uri, seconds=4):
    """A call in which both speak for a while; returns (share at the caller, share at the callee)."""
    caller.dial(uri)
    callee.wait("CALL_ESTABLISHED")
    caller.wait("CALL_ESTABLISHED")
    end = time.monotonic() + seconds
    wait_for("talk", seconds + 5, lambda: time.monotonic() > end)
    caller.hangup()
    callee.wait("CALL_CLOSED")
    caller.wait("CALL_CLOSED")

    def heard(phone, hertz):
        files = wait_for(f"{phone.user}: a recording", 5, phone.recordings)
        return tone_share(files[-1], hertz)
    return heard(caller, callee.hertz), heard(callee, caller.hertz)


__all__ = ["Baresip", "dig", "make_tone", "subprocess", "talk", "tone_share"]
