# Trains in a container, here or on Vertex AI: a run needs no network and no root.
#   docker build -f docker/train.Dockerfile -t studperf-train .
#   docker run --network none -v "$PWD/data:/app/data:ro" -v "$PWD/runs:/app/runs" studperf-train model=mlp
# The tag says what the base is, the digest which one it is; a newer one: docker buildx imagetools inspect python:3.11-slim-bookworm
ARG BASE=python:3.11-slim-bookworm@sha256:528257d48c1da0dcecc2e725d1ae34498d60c965f1241e39cd6a85a8859bdf84

FROM ${BASE} AS build
# Pinned, so that the lock resolves the same way each time.
ARG UV_VERSION=0.13.9
ENV UV_LINK_MODE=copy UV_PYTHON_DOWNLOADS=never UV_NO_CACHE=1
RUN python -m venv /opt/uv && /opt/uv/bin/pip install --no-cache-dir "uv==${UV_VERSION}"
WORKDIR /app
# Packages first: they change less often than the code, and their layer is the large one.
COPY pyproject.toml uv.lock README.md LICENSE ./
RUN /opt/uv/bin/uv sync --no-dev --no-install-project --compile-bytecode
COPY src ./src
COPY conf ./conf
COPY sweeps ./sweeps
COPY data.dvc .dvc/config ./
# What a run writes: its own folder, and the table with DVC's cache when it is fetched inside.
RUN python -m compileall -q src && mkdir -p own/runs own/data own/.dvc && mv config own/.dvc/

FROM ${BASE}
# Whoever runs it may have no home and no right to write but in runs/ and /tmp.
ENV PYTHONUNBUFFERED=1 PYTHONPATH=/app/src HOME=/tmp MPLCONFIGDIR=/tmp/matplotlib
# No library reports to its maker, whatever is started here: the switches of src/studperf/cli/telemetry.py.
ENV ORT_DISABLE_TELEMETRY=1 WANDB_ERROR_REPORTING=false DVC_NO_ANALYTICS=1 ITERATIVE_DO_NOT_TRACK=1 \
    HF_HUB_DISABLE_TELEMETRY=1 STREAMLIT_BROWSER_GATHER_USAGE_STATS=false DO_NOT_TRACK=1 \
    DISABLE_GCS_PYTHON_CLIENT_OTEL_BUCKET_METADATA=true
ARG COMMIT=unknown
ENV STUDPERF_COMMIT=${COMMIT}
LABEL org.opencontainers.image.revision=${COMMIT}
WORKDIR /app
COPY --from=build /app/.venv /app/.venv
COPY --from=build /app/pyproject.toml /app/uv.lock /app/data.dvc ./
COPY --from=build /app/conf conf
COPY --from=build /app/sweeps sweeps
COPY --from=build /app/src src
COPY --from=build --chown=1001:1001 /app/own ./
USER 1001:1001
ENTRYPOINT ["/app/.venv/bin/python", "-m", "studperf.train"]
