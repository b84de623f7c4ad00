"""All that can be made ahead of a cluster: packages, programs, image, model and data."""

import platform

from luthier_cluster import binaries, packages
from luthier_demo import content, install

# program or file -> Debian package
BUILD_PROGRAMS = {
    "buildah": "buildah",
    "mmdebstrap": "mmdebstrap",
    "/usr/share/wordnet/data.noun": "wordnet-base",
    f"/usr/lib/{platform.machine()}-linux-gnu/libtcmalloc_minimal.so.4": "libtcmalloc-minimal4",
}
TEST_PROGRAMS = {"prometheus": "prometheus", "shellcheck": "shellcheck"}


def prepare(for_tests: bool = False) -> None:
    """What is there already is left as it is."""
    packages.ensure("full")
    packages.ensure_programs(BUILD_PROGRAMS | (TEST_PROGRAMS if for_tests else {}))
    for binary in (binaries.KUBERNETES, binaries.COREDNS, binaries.PAUSE, binaries.HELM):
        binaries.ensure(binary)
    install.build_image("operator")
    content.model()
    for name in content.DATASETS:
        content.dataset(name)
