# Three images from one file:
#   docker build -t attendant .                                   the server on ONNX Runtime for CPU (`serve`, the default)
#   docker build -t attendant-openvino --target serve-openvino .  the same on Intel's OpenVINO build, x86-64 only
#   docker build -t attendant-train --target train .              training, export, verification and publishing
# With BuildKit: the old builder makes every stage, PyTorch's too, whichever is asked for.
# On x86-64 Linux, PyPI's PyTorch brings gigabytes of CUDA; for the CPU build in `train` add
#   --build-arg TORCH_INDEX=https://download.pytorch.org/whl/cpu
# What is installed stands in deploy/requirements with its hashes (`make lock`). To pin the base as hard, name its digest:
#   --build-arg PYTHON_IMAGE=python:3.11-slim-bookworm@sha256:...

ARG PYTHON_IMAGE=python:3.11-slim-bookworm

# Build backend and SBOM writer, which no image carries, and an empty environment without a pip of its own.
FROM ${PYTHON_IMAGE} AS build
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore PIP_ONLY_BINARY=:all: \
    INSTALL="python -m pip --python /opt/venv/bin/python install --no-deps"
WORKDIR /build
COPY deploy/requirements/build.txt ./
RUN python -m venv /opt/tools \
    && /opt/tools/bin/python -m pip install --require-hashes --requirement build.txt \
    && python -m venv --without-pip /opt/venv

FROM build AS wheels
COPY pyproject.toml README.md ./
COPY client/ client/
RUN /opt/tools/bin/python -m pip wheel --no-build-isolation --no-deps --wheel-dir /wheels ./client .

# Each environment: what the lock file says, then both packages of our own, then the list of all of it.
# Without the test suites that some packages carry: nothing imports them.
FROM build AS serve-environment
COPY deploy/requirements/serve.txt ./
RUN ${INSTALL} --require-hashes --requirement serve.txt && find /opt/venv -type d -name tests -prune -exec rm -rf {} +
COPY --from=wheels /wheels /wheels
RUN ${INSTALL} /wheels/*.whl && /opt/tools/bin/cyclonedx-py environment --output-reproducible --output-file sbom.json /opt/venv

FROM build AS serve-openvino-environment
COPY deploy/requirements/serve-openvino.txt ./
RUN ${INSTALL} --require-hashes --requirement serve-openvino.txt \
    && find /opt/venv -type d -name tests -prune -exec rm -rf {} +
COPY --from=wheels /wheels /wheels
RUN ${INSTALL} /wheels/*.whl && /opt/tools/bin/cyclonedx-py environment --output-reproducible --output-file sbom.json /opt/venv

# PyTorch by its version only, because its builds differ; what it needs besides is locked already or is CUDA, which it
# pins itself.
FROM build AS train-environment
ARG TORCH_VERSION=2.13.0
ARG TORCH_INDEX=
COPY deploy/requirements/train.txt ./
RUN ${INSTALL} --require-hashes --requirement train.txt \
    && python -m pip --python /opt/venv/bin/python install ${TORCH_INDEX:+--extra-index-url "${TORCH_INDEX}"} \
       "torch==${TORCH_VERSION}"
COPY --from=wheels /wheels /wheels
RUN ${INSTALL} /wheels/*.whl && /opt/tools/bin/cyclonedx-py environment --output-reproducible --output-file sbom.json /opt/venv

# What all images share: a user without privileges, under the same number, because one writes the store that the
# others read.
FROM ${PYTHON_IMAGE} AS base
RUN groupadd --gid 10001 attendant \
    && useradd --uid 10001 --gid attendant --create-home --shell /usr/sbin/nologin attendant \
    && install --directory --owner=attendant --group=attendant /store /runs /var/cache/attendant
# ONNX Runtime's telemetry starts when it is imported, and would write a device's number into the home folder.
ENV PATH=/opt/venv/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    ORT_DISABLE_TELEMETRY=1
ARG PYTHON_IMAGE
LABEL org.opencontainers.image.version="0.1.0" \
      org.opencontainers.image.base.name="${PYTHON_IMAGE}"
WORKDIR /app

FROM base AS train
COPY --from=train-environment /opt/venv /opt/venv
COPY --from=train-environment /build/sbom.json /usr/share/sbom/attendant-train.cdx.json
COPY server/ server/
COPY models/ models/
ARG REVISION=
LABEL org.opencontainers.image.title="attendant-train" \
      org.opencontainers.image.description="Trains, exports, verifies and publishes attention models for Attendant" \
      org.opencontainers.image.revision="${REVISION}"
# Started from the root folder, so that what the commands write by default, `runs` and `store`, are the volumes.
ENV PYTHONPATH=/app
WORKDIR /
USER 10001:10001
ENTRYPOINT ["python", "-m", "models"]
CMD ["--help"]

# The server, on whichever environment the two stages below give it.
FROM base AS server
COPY deploy/healthcheck.py ./
COPY server/ server/
# Compiled here, because the server's user may not write; checked against nothing, so that file times do not matter.
RUN python -m compileall -q --invalidation-mode unchecked-hash server
ARG REVISION=
LABEL org.opencontainers.image.description="A microservice inference server for attention models" \
      org.opencontainers.image.revision="${REVISION}"
ENV ATTENDANT_GRPC__HOST=0.0.0.0 \
    ATTENDANT_GRPC__PORT=8001 \
    ATTENDANT_TELEMETRY__METRICS_HOST=0.0.0.0 \
    ATTENDANT_TELEMETRY__METRICS_PORT=8002 \
    ATTENDANT_STORE__PATH=/store
USER 10001:10001
EXPOSE 8001 8002
HEALTHCHECK --interval=5s --timeout=5s --start-period=60s --retries=3 CMD ["python", "/app/healthcheck.py"]
# `serve` begins with the part of `check` that is cheap: settings, runtime, store. It exits before anything listens.
ENTRYPOINT ["python", "-m", "server"]
CMD ["serve"]

FROM server AS serve-openvino
COPY --from=serve-openvino-environment /opt/venv /opt/venv
COPY --from=serve-openvino-environment /build/sbom.json /usr/share/sbom/attendant.cdx.json
LABEL org.opencontainers.image.title="attendant-openvino"

FROM server AS serve
COPY --from=serve-environment /opt/venv /opt/venv
COPY --from=serve-environment /build/sbom.json /usr/share/sbom/attendant.cdx.json
LABEL org.opencontainers.image.title="attendant"
