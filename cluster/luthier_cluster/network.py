"""The network namespace that a cluster lives in, and its one link to this machine.

Nothing in it has a way to anywhere else: pod and service addresses can't leak out,
the machine's own iptables stay as they are, and several clusters use the same ports.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from .commands import CommandError, run
from .layout import POD_BRIDGE, Layout


def numbers_in_use() -> list[int]:
    """The numbers that this machine's links and addresses have, whoever made them."""
    links = json.loads(run(["ip", "-json", "address", "show"]))
    words = [link["ifname"] for link in links]
    words += [address.get("local", "") for link in links for address in link["addr_info"]]
    found = (re.fullmatch(r"luthier(\d+)|10\.89\.(\d+)\.\d+", word) for word in words)
    return [int(match[1] or match[2]) for match in found if match]


def exists(layout: Layout) -> bool:
    """Whether the namespace is there (a file of that name alone isn't one)."""
    try:
        run(["nsenter", f"--net={layout.netns_file}", "true"])
    except CommandError:
        return False
    return True


def create(layout: Layout) -> None:
    """Namespace, link, addresses, route, forwarding: whatever of it isn't there yet."""
    if not exists(layout):
        layout.netns_file.unlink(missing_ok=True)
        run(["ip", "netns", "add", layout.netns])
    inside = ["ip", "-netns", layout.netns]
    if not Path("/sys/class/net", layout.link).exists():
        link = ["ip", "link", "add", layout.link, "type", "veth"]
        run([*link, "peer", "name", "eth0", "netns", layout.netns])
    run(["ip", "address", "replace", f"{layout.gateway}/30", "dev", layout.link])
    run(["ip", "link", "set", layout.link, "up"])
    run([*inside, "link", "set", "lo", "up"])
    run([*inside, "address", "replace", f"{layout.address}/30", "dev", "eth0"])
    run([*inside, "link", "set", "eth0", "up"])
    run([*inside, "route", "replace", "default", "via", layout.gateway])
    enter = ["nsenter", f"--net={layout.netns_file}", "sh", "-c"]
    run([*enter, "echo 1 > /proc/sys/net/ipv4/ip_forward"])
    # kube-proxy's rules must see traffic between two pods on the same bridge.
    bridge = "/proc/sys/net/bridge/bridge-nf-call-iptables"
    run([*enter, f"if [ -e {bridge} ]; then echo 1 > {bridge}; fi"])


def processes_inside(layout: Layout) -> list[int]:
    """Every process of the node's own namespace (pods have namespaces of their own)."""
    with suppress(CommandError):
        return [int(pid) for pid in run(["ip", "netns", "pids", layout.netns]).split()]
    return []


def service_rules_exist(layout: Layout, service_address: str) -> bool:
    """Whether kube-proxy has written its rules for this service."""
    rules = run(["nsenter", f"--net={layout.netns_file}", "iptables-save", "-t", "nat"])
    return f"{service_address}/32" in rules


def keep_pods_from(layout: Layout, ports: Iterable[int]) -> None:
    """Refuses what comes from pods to these ports of the node (at most 15)."""
    numbers = ",".join(map(str, ports))
    rule = ["INPUT", "-i", POD_BRIDGE, "-p", "tcp", "-m", "multiport", "--dports", numbers]
    iptables = ["nsenter", f"--net={layout.netns_file}", "iptables", "--wait"]
    try:
        run([*iptables, "--check", *rule, "-j", "REJECT"])
    except CommandError:
        run([*iptables, "--append", *rule, "-j", "REJECT"])


def remove(layout: Layout) -> None:
    """The namespace and the link, as far as they are there."""
    if Path("/sys/class/net", layout.link).exists():
        run(["ip", "link", "delete", layout.link])
    if layout.netns_file.exists():
        run(["ip", "netns", "delete", layout.netns])
