# Serves a bundle's predictions: no torch, no shell in between, any user id, a read-only file system will do.
#   docker build -f docker/serve.Dockerfile -t studperf-serve .
#   docker run --read-only -p 8080:8080 -v "$PWD/runs/FOLDER/bundle:/bundle:ro" studperf-serve
# The tag says what the base is, the digest which one it is; a newer one: docker buildx imagetools inspect python:3.11-slim-bookworm
ARG BASE=python:3.11-slim-bookworm@sha256:528257d48c1da0dcecc2e725d1ae34498d60c965f1241e39cd6a85a8859bdf84

FROM ${BASE} AS build
# Pinned, so that the lock resolves the same way each time.
ARG UV_VERSION=0.13.9
ENV UV_LINK_MODE=copy UV_PYTHON_DOWNLOADS=never UV_NO_CACHE=1
RUN python -m venv /opt/uv && /opt/uv/bin/pip install --no-cache-dir "uv==${UV_VERSION}"
WORKDIR /app
COPY pyproject.toml uv.lock README.md LICENSE ./
# The group `serving` alone: none of the project's dependencies. The lock holds versions without addresses; uv completes it here.
RUN /opt/uv/bin/uv sync --only-group serving --no-install-project
COPY src/studperf/__init__.py src/studperf/errors.py /app/src/studperf/
COPY src/studperf/cli /app/src/studperf/cli
# Of the configuration only what words an error, stars the secrets in it, and says what a column is.
COPY src/studperf/config/__init__.py src/studperf/config/faults.py src/studperf/config/secrets.py src/studperf/config/interpolation.py /app/src/studperf/config/
COPY src/studperf/config/dataset.py src/studperf/config/types.py /app/src/studperf/config/
COPY src/studperf/schema /app/src/studperf/schema
COPY src/studperf/bundle /app/src/studperf/bundle
COPY src/studperf/serving /app/src/studperf/serving
# Compiled by their hashes: a bundle is served the same however the files' times were set.
RUN python -m compileall -q --invalidation-mode unchecked-hash /app/.venv/lib /app/src

FROM ${BASE}
ENV PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 PYTHONPATH=/app/src PORT=8080
# No library reports to its maker, whatever is started here: the switches of src/studperf/cli/telemetry.py.
ENV ORT_DISABLE_TELEMETRY=1 WANDB_ERROR_REPORTING=false DVC_NO_ANALYTICS=1 ITERATIVE_DO_NOT_TRACK=1 \
    HF_HUB_DISABLE_TELEMETRY=1 STREAMLIT_BROWSER_GATHER_USAGE_STATS=false DO_NOT_TRACK=1 \
    DISABLE_GCS_PYTHON_CLIENT_OTEL_BUCKET_METADATA=true
WORKDIR /app
COPY --from=build /app/.venv /app/.venv
COPY --from=build /app/src /app/src
USER 1001:1001
EXPOSE 8080
HEALTHCHECK --interval=30s --timeout=3s --start-period=5s --retries=3 CMD ["/app/.venv/bin/python", "-m", "studperf.serving.health"]
ENTRYPOINT ["/app/.venv/bin/python", "-m", "studperf.serving"]
CMD ["/bundle", "host=0.0.0.0"]
