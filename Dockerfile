# syntax=docker/dockerfile:1
#
# Two images from one file: `--target operator` and `--target trainer`.
# BASE is any Debian or Ubuntu with Python ≥ 3.11 and its venv module; scripts/images.py names it by
# its digest, so that the same line means the same base.
ARG BASE=python:3.12-slim-bookworm

# An environment without pip: nothing gets installed in a running container. finish_image.py takes
# the base's own, and every setuid bit, and leaves a bill of what is in the image. What builds lend
# themselves (pip; its index, proxy and CA settings, as the secrets `pip`, a pip.conf, and `ca`)
# leaves no trace. Our sources lie beside the environment, and a .pth file puts them on its path:
# a change of ours makes a small layer. Any user id may run it, also one without a name and a home.
FROM ${BASE} AS environment
ARG BASE
LABEL org.opencontainers.image.base.name=${BASE}
ENV PATH=/opt/luthier/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
    LOGNAME=luthier \
    HOME=/tmp \
    PYTHONUNBUFFERED=1 \
    PYTHONSAFEPATH=1 \
    PYTHONDONTWRITEBYTECODE=1
RUN python3 -m venv --without-pip /opt/luthier && \
    echo /opt/luthier/src > "$(python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/luthier.pth"


FROM environment AS operator
# Not compiled: the Kubernetes client's 1,800 generated classes (48 MB), of which few are loaded.
COPY requirements/operator.txt /opt/luthier/requirements.txt
RUN --mount=type=secret,id=pip,target=/etc/pip.conf --mount=type=secret,id=ca \
    python3 -m venv /tmp/pip && \
    /tmp/pip/bin/pip --python /opt/luthier/bin/python --no-cache-dir install --no-compile \
      --require-hashes --only-binary=:all: --progress-bar off -r /opt/luthier/requirements.txt && \
    rm -r /tmp/pip && \
    python -m compileall -q -j 0 --invalidation-mode unchecked-hash \
      -x 'kubernetes/(aio/)?client/(api|models)/' /opt/luthier
RUN --mount=type=bind,source=scripts/finish_image.py,target=/tmp/finish_image.py \
    python /tmp/finish_image.py luthier-operator
COPY crds/luthier_api /opt/luthier/src/luthier_api
COPY operator/luthier_operator /opt/luthier/src/luthier_operator
RUN python -m compileall -q --invalidation-mode unchecked-hash /opt/luthier/src
USER 65532:65532
ENTRYPOINT ["python", "-m", "luthier_operator"]


FROM environment AS trainer
# The allocator; a base may have it.
RUN ls /usr/lib/*/libtcmalloc_minimal.so.4 >/dev/null 2>&1 || { \
      apt-get update && apt-get install -y --no-install-recommends libtcmalloc-minimal4 && \
      rm -r /var/lib/apt/lists/*; }
# Not compiled: torch's tests, some of which are in the syntax of a newer Python.
COPY requirements/trainer.txt /opt/luthier/requirements.txt
RUN --mount=type=secret,id=pip,target=/etc/pip.conf --mount=type=secret,id=ca \
    python3 -m venv /tmp/pip && \
    /tmp/pip/bin/pip --python /opt/luthier/bin/python --no-cache-dir install --no-compile \
      --require-hashes --only-binary=:all: --progress-bar off -r /opt/luthier/requirements.txt && \
    rm -r /tmp/pip && \
    python -m compileall -q -j 0 --invalidation-mode unchecked-hash -x torch/testing /opt/luthier
RUN --mount=type=bind,source=scripts/finish_image.py,target=/tmp/finish_image.py \
    python /tmp/finish_image.py luthier-trainer
COPY crds/luthier_api /opt/luthier/src/luthier_api
COPY trainer/luthier_trainer /opt/luthier/src/luthier_trainer
RUN python -m compileall -q --invalidation-mode unchecked-hash /opt/luthier/src
USER 65532:65532
ENTRYPOINT ["python", "-m", "luthier_trainer"]


# For those who track runs with W&B: its client beside the trainer, in a folder of its own
# (docs/tracking.md).
FROM environment AS wandb
COPY requirements/wandb.txt /tmp/requirements.txt
RUN --mount=type=secret,id=pip,target=/etc/pip.conf --mount=type=secret,id=ca \
    python3 -m venv /tmp/pip && \
    /tmp/pip/bin/pip --python /opt/luthier/bin/python --no-cache-dir install --target /opt/wandb \
      --require-hashes --only-binary=:all: --progress-bar off -r /tmp/requirements.txt


FROM trainer AS trainer-wandb
COPY --from=wandb /opt/wandb /opt/wandb
ENV LUTHIER_WANDB=/opt/wandb
