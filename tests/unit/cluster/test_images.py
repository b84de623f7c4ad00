"""The docker-archives that Python writes."""

import hashlib
import json

from unit.cluster.archives import manifest, member, opened

from luthier_cluster import images


def test_manifest_config_and_layer_agree() -> None:
    archive = opened(images.pause(b"program"))
    found = manifest(archive)
    assert found["RepoTags"] == [images.PAUSE]
    config = json.loads(member(archive, found["Config"]))
    content = member(archive, found["Layers"][0])
    assert config["rootfs"]["diff_ids"] == [f"sha256:{hashlib.sha256(content).hexdigest()}"]
    program = opened(content).getmember("pause")
    assert (program.size, program.mode) == (7, 0o755)


def test_the_same_input_gives_the_same_image() -> None:
    assert images.host_root() == images.host_root()


def test_host_root_is_empty_and_runs_as_nobody_special() -> None:
    archive = opened(images.host_root())
    found = manifest(archive)
    assert json.loads(member(archive, found["Config"]))["config"]["User"] == "65532:65532"
    root = opened(member(archive, found["Layers"][0]))
    assert root.getmember("lib64").linkname == "usr/lib64"
    assert root.getmember("tmp").mode == 0o1777
    assert b"65532" in member(root, "etc/passwd")
