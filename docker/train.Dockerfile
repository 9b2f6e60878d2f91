# Trains in a container: docker build -f docker/train.Dockerfile -t studperf-train . && docker run -v "$PWD/runs:/app/runs" studperf-train model=mlp
FROM python:3.11-slim-bookworm

ENV PYTHONUNBUFFERED=1 UV_COMPILE_BYTECODE=1 UV_LINK_MODE=copy
WORKDIR /app
# uv is pinned so that the lock resolves the same way each time.
RUN python -m venv /opt/uv && /opt/uv/bin/pip install --no-cache-dir uv==0.13.9
COPY pyproject.toml uv.lock README.md LICENSE ./
COPY src ./src
COPY conf ./conf
COPY sweeps ./sweeps
# No cache mount: the lock holds versions without addresses, uv completes it here. No development packages.
RUN /opt/uv/bin/uv sync --no-dev --no-cache && mkdir runs && chown 1001:1001 runs
USER 1001:1001
ENTRYPOINT ["/app/.venv/bin/python", "-m", "studperf.train"]
