"""All that can be made ahead of a cluster: packages, programs, image, model and data."""

import compileall
import platform

from luthier_cluster import binaries, environments, gitops, packages
from luthier_demo import content, install

# program or file -> Debian package
BUILD_PROGRAMS = {
    "buildah": "buildah",
    "mmdebstrap": "mmdebstrap",
    "/usr/share/wordnet/data.noun": "wordnet-base",
    f"/usr/lib/{platform.machine()}-linux-gnu/libtcmalloc_minimal.so.4": "libtcmalloc-minimal4",
}
TEST_PROGRAMS = {"prometheus": "prometheus", "shellcheck": "shellcheck"}
PROGRAMS = (binaries.KUBERNETES, binaries.COREDNS, binaries.PAUSE, binaries.HELM)
# What tests put beside the cluster, or ask about its objects.
ENGINES = (
    binaries.KUEUE,
    binaries.JOBSET,
    binaries.KWOK,
    binaries.FLUX_HEALTH,
    binaries.ARGO_HEALTH,
)


def prepare(for_tests: bool = False) -> None:
    """What is there already is left as it is."""
    packages.ensure("full")
    packages.ensure_programs(BUILD_PROGRAMS | (TEST_PROGRAMS if for_tests else {}))
    for binary in PROGRAMS + (ENGINES if for_tests else ()):
        binaries.ensure(binary)
    if for_tests:
        gitops.crds()
        for name in environments.TRACKERS:
            environments.ensure(name)
    # Pods run these sources, and can't keep what they compile.
    for sources in ("crds", "trainer"):
        compileall.compile_dir(install.REPOSITORY / sources, quiet=1)
    install.build_image("operator")
    content.model()
    for name in content.DATASETS:
        content.dataset(name)
