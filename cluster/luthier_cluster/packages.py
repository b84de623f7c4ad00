"""Debian packages: installed only where a program that they bring is lacking."""

from __future__ import annotations

import shutil
from pathlib import Path

from .commands import PATH, CommandError, run
from .output import step

# program (or file) -> package
CONTROL_PLANE = {
    "ip": "iproute2",
    "nsenter": "util-linux",
    "openssl": "openssl",
}
NODE = {
    "containerd": "containerd",
    "ctr": "containerd",
    "runc": "runc",
    "/usr/lib/cni/bridge": "containernetworking-plugins",
    "iptables": "iptables",
    "conntrack": "conntrack",
    "ethtool": "ethtool",
    "socat": "socat",
}


def lacking(wanted: dict[str, str]) -> list[str]:
    """The packages of those programs that aren't on this machine."""
    return sorted({package for program, package in wanted.items() if not _is_there(program)})


def _is_there(program: str) -> bool:
    if program.startswith("/"):
        return Path(program).exists()
    return shutil.which(program, path=PATH) is not None


def ensure(flavour: str) -> None:
    """Installs what the flavour lacks; `CommandError` with the remedy where apt can't."""
    ensure_programs(CONTROL_PLANE | (NODE if flavour == "full" else {}))


def ensure_programs(wanted: dict[str, str]) -> None:
    """Installs the packages of those programs (or files) that aren't on this machine."""
    packages = lacking(wanted)
    if not packages:
        return
    apt = ["env", "DEBIAN_FRONTEND=noninteractive", "apt-get", "--quiet", "--yes"]
    apt += ["--option", "DPkg::Lock::Timeout=300"]
    with step(f"install {' '.join(packages)}"):
        try:
            run([*apt, "update"], within=300)
            run([*apt, "install", "--no-install-recommends", *packages], within=900)
        except CommandError as error:
            raise CommandError(f"{error}\nremedy: install {' '.join(packages)} yourself") from error
