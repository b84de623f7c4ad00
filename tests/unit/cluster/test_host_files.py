"""The machine's folders in a tenant's pods."""

import sys
from pathlib import Path

from luthier_cluster import host_files


def test_folders_below_another_are_left_out() -> None:
    paths = ["/a/b", "/usr", "/a", "/ab", "/usr/lib", "/a"]
    assert host_files.outermost(map(Path, paths)) == [Path("/a"), Path("/ab"), Path("/usr")]


def test_the_project_needs_its_python_and_itself_but_no_whole_home() -> None:
    folders = host_files.project_folders()
    for needed in (Path(sys.prefix), Path(sys.base_prefix), Path(__file__), Path("/usr/bin")):
        assert any(needed.resolve().is_relative_to(folder) for folder in folders)
    assert Path.home() not in folders
    assert Path("/") not in folders


def test_volume_and_claim_are_bound_to_each_other_alone() -> None:
    volume, claim = host_files.volume_and_claim("tenant")
    wanted = volume["spec"]["claimRef"]
    assert (wanted["namespace"], wanted["name"]) == ("tenant", claim["metadata"]["name"])
    assert claim["spec"]["volumeName"] == volume["metadata"]["name"]
    # A default storage class must not provision another volume for it.
    assert claim["spec"]["storageClassName"] == volume["spec"]["storageClassName"] == ""


def test_two_tenants_have_two_volumes() -> None:
    names = {host_files.volume_and_claim(ns)[0]["metadata"]["name"] for ns in ("a", "b")}
    assert len(names) == 2


def test_everything_is_mounted_read_only_under_its_own_path() -> None:
    (mount,) = host_files.volume_mounts([Path("/usr/lib")])
    assert mount == {
        "name": "host-files",
        "mountPath": "/usr/lib",
        "subPath": "usr/lib",
        "readOnly": True,
    }
    assert host_files.volumes()[0]["persistentVolumeClaim"]["readOnly"] is True
