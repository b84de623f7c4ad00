"""Mounts, cgroups, packages and other traces on the machine: the pure parts."""

from pathlib import Path

import pytest

from luthier_cluster import kernel_settings, mounts, packages, teardown
from luthier_cluster.cgroups import hierarchies
from luthier_cluster.errors import ClusterError
from luthier_cluster.mounts import Mount

MOUNTINFO = """\
22 1 254:0 / / rw,relatime - ext4 /dev/vda rw
30 22 0:26 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory
31 22 0:27 / /sys/fs/cgroup/unified rw shared:4 - cgroup2 cgroup2 rw
40 22 254:0 /usr /run/luthier/a\\040b/sub rw shared:1 master:2 - ext4 /dev/vda rw
"""


def test_mountinfo_with_optional_fields_and_escaped_blanks() -> None:
    found = mounts.parse(MOUNTINFO)
    assert found[3] == Mount(Path("/run/luthier/a b/sub"), "ext4")
    assert hierarchies(found) == [
        (Path("/sys/fs/cgroup/memory"), "cgroup"),
        (Path("/sys/fs/cgroup/unified"), "cgroup2"),
    ]


def test_only_mounts_below_the_folder_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    points = ["/a/x", "/a/x/1", "/a/xy", "/a/x/1/2", "/"]
    table = [Mount(Path(point), "ext4") for point in points]
    monkeypatch.setattr(mounts, "mount_table", lambda: table)
    assert mounts.below(Path("/a/x")) == [Path("/a/x/1/2"), Path("/a/x/1"), Path("/a/x")]


def test_a_folder_is_never_deleted_under_a_mount(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    precious = tmp_path / "usr" / "file"
    precious.parent.mkdir()
    precious.write_text("precious")
    monkeypatch.setattr(mounts, "unmount_below", lambda folder: None)
    monkeypatch.setattr(mounts, "mount_table", lambda: [Mount(tmp_path / "usr", "ext4")])
    with pytest.raises(ClusterError, match="still mounted"):
        mounts.remove_folder(tmp_path)
    assert precious.read_text() == "precious"


def test_cni_results_of_one_network_and_its_loopback() -> None:
    ours, theirs = "a" * 64, "b" * 64
    files = [
        f"luthier-x-{ours}-eth0",
        f"cni-loopback-{ours}-lo",
        f"luthier-x-y-{theirs}-eth0",
        f"cni-loopback-{theirs}-lo",
    ]
    assert teardown.cni_results("luthier-x", files) == files[:2]


def test_only_packages_of_programs_that_lack() -> None:
    wanted = {"sh": "dash", "no-such-program": "p2", "/no/such/file": "p1", "nor-this": "p2"}
    assert packages.lacking(wanted) == ["p1", "p2"]


def test_kernel_settings_come_back(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    setting = tmp_path / "setting"
    setting.write_text("0\n")
    monkeypatch.setattr(kernel_settings, "NAMES", (str(setting), str(tmp_path / "absent")))
    monkeypatch.setattr(kernel_settings, "run_root", lambda: tmp_path)
    kernel_settings.remember()
    setting.write_text("1\n")
    kernel_settings.remember()
    kernel_settings.restore()
    assert setting.read_text() == "0"
    kernel_settings.restore()
