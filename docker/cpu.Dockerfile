# capfilt for nodes without a GPU: download, select, and the command itself.
#
#   docker build -f docker/cpu.Dockerfile -t capfilt:cpu --build-arg TORCH_INDEX=<the index of PyTorch's CPU builds> .
#
# Without TORCH_INDEX the wheels are those of the package index, which carry CUDA: it works, and is 5 GB larger.
FROM python:3.11.13-slim-bookworm AS build
ARG TORCH_INDEX=""
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
RUN python -m venv /opt/capfilt
WORKDIR /src
# the versions are those of development; what is installed is only what the program needs
COPY requirements.lock pyproject.toml README.md ./
COPY pipeline pipeline
COPY stages stages
RUN /opt/capfilt/bin/pip install --constraint requirements.lock ${TORCH_INDEX:+--extra-index-url "$TORCH_INDEX"} \
    ".[cluster]" s3fs

FROM python:3.11.13-slim-bookworm
# Debian keeps one version of a package per release, so that a pinned one would soon be gone; wget is for KubeRay's probes
# hadolint ignore=DL3008
RUN apt-get update && apt-get install --yes --no-install-recommends wget && rm -rf /var/lib/apt/lists/* \
    && useradd --create-home --uid 1000 capfilt \
    && for name in capfilt ray python; do ln -sf "/opt/capfilt/bin/$name" "/usr/local/bin/$name"; done
COPY --from=build /opt/capfilt /opt/capfilt
COPY --chown=capfilt manifests /home/capfilt/manifests
ENV NO_ALBUMENTATIONS_UPDATE=1 RAY_USAGE_STATS_ENABLED=0 HF_HOME=/home/capfilt/models
USER 1000
WORKDIR /home/capfilt
VOLUME /home/capfilt/models
ENTRYPOINT ["capfilt"]
CMD ["--help"]
