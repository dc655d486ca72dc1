# Two images from one file:
#   docker build -t attendant .                          the server, without PyTorch (`serve`, the default)
#   docker build -t attendant-train --target train .     training, export, verification and publishing
# With BuildKit: the old builder makes every stage, PyTorch's too, whichever is asked for.
# On x86-64 Linux, PyPI's PyTorch brings gigabytes of CUDA; for the CPU build of the second image add
#   --build-arg TORCH_INDEX=https://download.pytorch.org/whl/cpu

ARG PYTHON_VERSION=3.11

# The environment is put together by the base image's pip, so that it carries none of its own.
FROM python:${PYTHON_VERSION}-slim AS environment
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore
RUN python -m venv --without-pip /opt/venv
WORKDIR /build
COPY pyproject.toml README.md ./
COPY client/ client/

# Without the test suites that some packages carry: nothing imports them.
FROM environment AS serve-environment
RUN python -m pip --python /opt/venv/bin/python install ./client '.[cpu]' \
    && find /opt/venv -type d -name tests -prune -exec rm -rf {} +

FROM environment AS train-environment
ARG TORCH_VERSION=2.13.0
ARG TORCH_INDEX=
RUN python -m pip --python /opt/venv/bin/python install ${TORCH_INDEX:+--extra-index-url "${TORCH_INDEX}"} \
    "torch==${TORCH_VERSION}" ./client '.[cpu,train]'

# What both images share: a user without privileges, under the same number in both, because the one writes
# the store that the other reads.
FROM python:${PYTHON_VERSION}-slim AS base
RUN groupadd --gid 10001 attendant \
    && useradd --uid 10001 --gid attendant --create-home --shell /usr/sbin/nologin attendant \
    && install --directory --owner=attendant --group=attendant /store /runs
# ONNX Runtime's telemetry starts when it is imported, and would write a device's number into the home folder.
ENV PATH=/opt/venv/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    ORT_DISABLE_TELEMETRY=1
WORKDIR /app

FROM base AS train
COPY --from=train-environment /opt/venv /opt/venv
COPY server/ server/
COPY models/ models/
ARG REVISION=
LABEL org.opencontainers.image.title="attendant-train" \
      org.opencontainers.image.description="Trains, exports, verifies and publishes attention models for Attendant" \
      org.opencontainers.image.version="0.1.0" \
      org.opencontainers.image.revision="${REVISION}"
# Started from the root folder, so that what the commands write by default, `runs` and `store`, are the volumes.
ENV PYTHONPATH=/app
WORKDIR /
USER 10001:10001
ENTRYPOINT ["python", "-m", "models"]
CMD ["--help"]

FROM base AS serve
COPY --from=serve-environment /opt/venv /opt/venv
COPY deploy/healthcheck.py ./
COPY server/ server/
# Compiled here, because the server's user may not write; checked against nothing, so that file times do not matter.
RUN python -m compileall -q --invalidation-mode unchecked-hash server
ARG REVISION=
LABEL org.opencontainers.image.title="attendant" \
      org.opencontainers.image.description="A microservice inference server for attention models" \
      org.opencontainers.image.version="0.1.0" \
      org.opencontainers.image.revision="${REVISION}"
ENV ATTENDANT_GRPC__HOST=0.0.0.0 \
    ATTENDANT_GRPC__PORT=8001 \
    ATTENDANT_TELEMETRY__METRICS_HOST=0.0.0.0 \
    ATTENDANT_TELEMETRY__METRICS_PORT=8002 \
    ATTENDANT_STORE__PATH=/store
USER 10001:10001
EXPOSE 8001 8002
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s --retries=3 CMD ["python", "/app/healthcheck.py"]
ENTRYPOINT ["python", "-m", "server"]
CMD ["serve"]
