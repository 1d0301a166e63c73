"""The faults of the soak. Each one is injected, proves that it took effect, and is healed."""

import os
import re
import signal
import subprocess
import time
import uuid

from cluster import BIN_DIR, Cluster, request, wait_until

HOLD_S = 8
PACE = "step_delay=1:4ms"  # of every decode node: streams that last a while, without much work for the machine
FIRST_GID = 7200  # of the first process; iptables tells processes apart by their group


class SoakCluster(Cluster):
    """Two of each role. Every process has a group of its own, so that the kernel can cut what it sends."""

    def __init__(self, **options):
        self.gids = {}
        self.next_router = 0
        super().__init__(prefill=2, decode=2, routers=2, **options)

    def _start(self, name, arguments):
        if name == "router":
            name, self.next_router = f"router{self.next_router % 2}", self.next_router + 1
        return self.start_as(name, arguments)

    def start_as(self, name, arguments):
        gid = self.gids.setdefault(name, FIRST_GID + len(self.gids))
        return super()._start(name, ["/usr/bin/setpriv", "--regid", str(gid), "--clear-groups",
                                     os.path.join(BIN_DIR, arguments[0]), *arguments[1:]])

    def add_decode(self, index, flags=()):
        pace = [] if "--fault-injection" in flags else ["--fault-injection", PACE]
        return super().add_decode(index, [*flags, *pace])

    def restart_router(self, index):
        self.next_router = index
        router = self.add_router(like=self.routers[index])
        router.wait_ready()
        self.routers[index] = router

    def start_node(self, name, flags=()):
        add = self.add_prefill if name[0] == "p" else self.add_decode
        add(int(name[1]), flags).wait_ready()

    def addresses(self):
        """HTTP addresses of the routers, also of one that is away."""
        return [router.ready["http"] for router in self.routers]

    def running(self):
        return [p for p in self.processes if p.popen.poll() is None]


class Iptables:
    """One rule in the kernel, while the block lasts."""

    def __init__(self, *rule):
        self.mark = f"baton-soak-{uuid.uuid4().hex[:8]}"
        self.rule = ["OUTPUT", "-o", "lo", "-p", "tcp", *rule, "-m", "comment", "--comment", self.mark]

    def __enter__(self):
        subprocess.run(["iptables", "-I", *self.rule], check=True)
        return self

    def __exit__(self, *_):
        subprocess.run(["iptables", "-D", *self.rule], check=True)

    def packets(self):
        table = subprocess.run(["iptables", "-L", "OUTPUT", "-v", "-x", "-n"], check=True, capture_output=True, text=True).stdout
        return next(int(line.split()[0]) for line in table.splitlines() if self.mark in line)


def iptables_works():
    try:
        with Iptables("--dport", "9", "-j", "DROP"):
            return True
    except (OSError, subprocess.CalledProcessError):
        return False


def port(address):
    return address.rsplit(":", 1)[1]


class Faults:
    """`cluster`: a SoakCluster; `traffic`: told when clients of a router may be cut off."""

    def __init__(self, cluster, traffic):
        self.cluster, self.traffic = cluster, traffic

    def whole(self):
        """Waits until both routers have all four nodes again."""
        for address in self.cluster.addresses():
            self.cluster.wait_nodes(4, timeout=20, http=address)

    def kill(self, name):
        victim = self.cluster.node(name)
        victim.kill()
        code = victim.wait()
        assert code == -signal.SIGKILL, f"{name} ended with {code}"
        time.sleep(HOLD_S)
        self.cluster.start_node(name)
        return f"process {victim.popen.pid} is gone"

    def kill_router(self, index):
        victim = self.cluster.routers[index]
        end = self.traffic.outage(victim.ready["http"])
        victim.kill()
        code = victim.wait()
        assert code == -signal.SIGKILL, f"the router ended with {code}"
        time.sleep(HOLD_S)
        self.cluster.restart_router(index)
        self.whole()
        end()
        return f"process {victim.popen.pid} is gone"

    def freeze(self, name):
        victim = self.cluster.node(name)
        victim.kill(signal.SIGSTOP)
        time.sleep(HOLD_S)
        with open(f"/proc/{victim.popen.pid}/stat") as stat:
            state = stat.read().rsplit(")", 1)[1].split()[0]
        victim.kill(signal.SIGCONT)
        assert state == "T", f"{name} is in state {state}"
        return "state T"

    def wedge(self, name):
        """The process lives and answers, its engine does not move."""
        wedge_ms = HOLD_S * 1000
        self.drain(name)
        self.cluster.start_node(name, ["--fault-injection", f"{PACE},wedge=@200:{wedge_ms}ms"])
        victim = self.cluster.node(name)
        wait_until(lambda: any("wedge number" in line for line in victim.log), 60, f"{name} to be stuck")
        wait_until(lambda: any("leaving the cluster" in line for line in victim.log), 10, f"{name} to leave")
        wait_until(lambda: any("moves again" in line for line in victim.log), 20, f"{name} to move")
        self.whole()
        return "its log says so"

    def cut(self, sender, receiver):
        """What `sender` sends to the port of `receiver` is lost."""
        gid = str(self.cluster.gids[sender])
        target = port(self.cluster.node(receiver).ready["address"])
        with Iptables("-m", "owner", "--gid-owner", gid, "--dport", target, "-j", "DROP") as rule:
            time.sleep(HOLD_S)
            lost = rule.packets()
        assert lost > 0, "no packet was dropped"
        return f"{lost} packets dropped"

    def reset_connections(self, index):
        """Every packet to a router's HTTP port is answered with a reset."""
        address = self.cluster.routers[index].ready["http"]
        end = self.traffic.outage(address)
        with Iptables("--dport", port(address), "-j", "REJECT", "--reject-with", "tcp-reset") as rule:
            time.sleep(3)
            lost = rule.packets()
        time.sleep(1)
        end()
        assert lost > 0, "no packet was answered"
        return f"{lost} packets answered with a reset"

    def loss(self, name, share):
        target = port(self.cluster.node(name).ready["address"])
        some = ["-m", "statistic", "--mode", "random", "--probability", str(share), "-j", "DROP"]
        with Iptables("--dport", target, *some) as there, Iptables("--sport", target, *some) as back:
            time.sleep(HOLD_S + 4)
            lost = there.packets() + back.packets()
        assert lost > 0, "no packet was lost"
        return f"{lost} packets lost"

    def frames(self, name, faults):
        """The node does `faults` to its own KV frames, until each has happened, and for twenty seconds at least."""
        self.drain(name)
        self.cluster.start_node(name, ["--fault-injection", faults])
        self.whole()
        wanted = re.findall(r"(kv_\w+)=", faults)
        time.sleep(20)
        wait_until(lambda: all(self.injected(name).get(point, 0) > 0 for point in wanted), 40,
                   lambda: f"each of {wanted}: {self.injected(name)}")
        counts = self.injected(name)
        self.drain(name)
        self.cluster.start_node(name)
        return ", ".join(f"{point} {int(count)} times" for point, count in sorted(counts.items()))

    def injected(self, name):
        """{point: count} of the faults that a node says it has injected."""
        text = request(self.cluster.addresses()[0], "GET", "/metrics")[1]
        return {point: float(count) for point, count in re.findall(
            rf'^baton_node_faults_injected_total{{node="{name}",[^}}]*fault="(\w+)"}} (\S+)$', text, re.M)}

    def small_pool(self, name, kv_bytes):
        """Too few blocks, three times the load, then nine of ten clients leave."""
        self.drain(name)
        self.cluster.start_node(name, ["--kv-bytes", str(kv_bytes)])
        self.whole()
        blocks = self.cluster.blocks(name, self.cluster.addresses()[0])["total"]
        rate, leave = self.traffic.rate, self.traffic.leave_share
        self.traffic.rate = 3 * rate
        time.sleep(15)
        self.traffic.leave_share = 0.9
        time.sleep(10)
        self.traffic.rate, self.traffic.leave_share = rate, leave
        time.sleep(5)
        self.drain(name)
        self.cluster.start_node(name)
        return f"{blocks} blocks; {3 * rate:.1f} requests a second"

    def drain(self, name):
        process = self.cluster.node(name)
        process.kill(signal.SIGTERM)
        code = process.wait(40)
        assert code == 0, f"{name} ended with {code} on SIGTERM: {process.log[-5:]}"

    def rolling_restart(self):
        took = []
        for name in ("p0", "p1", "d0", "d1"):
            begin = time.monotonic()
            self.drain(name)
            took.append(time.monotonic() - begin)
            self.cluster.start_node(name)
            self.whole()
        for index in (0, 1):
            router = self.cluster.routers[index]
            end = self.traffic.outage(router.ready["http"])
            begin = time.monotonic()
            router.kill(signal.SIGTERM)
            assert router.wait(40) == 0, router.log[-5:]
            took.append(time.monotonic() - begin)
            self.cluster.restart_router(index)
            self.whole()
            end()
        assert max(took) <= 30, took
        return f"six processes ended with 0 after {', '.join(f'{t:.1f}' for t in took)} s"
