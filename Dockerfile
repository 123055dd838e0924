# One file for every image; each holds one service's code and packages and nothing of the others:
#   docker build --build-arg SERVICE=gateway -t tickstream-gateway .
# SERVICE: fetcher, analyzer, persister, gateway, api (after `make assets`: its pages' files are fetched by make), or admin (the commands `migrate` and `status`).

# The version that the test suite runs on. For builds that never change, add the digest, here or in the command:
#   --build-arg PYTHON=3.11.18-slim-trixie@sha256:…   (docker buildx imagetools inspect python:3.11.18-slim-trixie shows it)
ARG PYTHON=3.11.18-slim-trixie

FROM python:${PYTHON} AS builder
ARG SERVICE
# Where packages come from, if not from pip's default; --build-arg PIP_INDEX_URL=… (or its name alone: taken from the environment).
# Build arguments show in the builder's history: an address with a password belongs into a pip.conf, --secret id=pip,src=pip.conf.
ARG PIP_INDEX_URL
ARG PIP_EXTRA_INDEX_URL
ARG PIP_FIND_LINKS
ARG PIP_TRUSTED_HOST
ARG PIP_DEFAULT_TIMEOUT
WORKDIR /app

# No pip in the environment itself: the final image has no use for it. Bytecode is compiled here, since a service may write
# nowhere, and is never checked against times of files: copying could change them.
RUN --mount=type=bind,source=requirements/services,target=/requirements \
    --mount=type=secret,id=pip,target=/etc/pip.conf \
    --mount=type=cache,target=/root/.cache/pip \
    test -f "/requirements/$SERVICE.txt" || \
        { echo "SERVICE=$SERVICE: there is no such image; one of:" "$(basename -s .txt -a /requirements/*)" >&2; exit 2; } && \
    python -m venv --without-pip /venv && \
    python -m pip --python /venv/bin/python install --disable-pip-version-check --root-user-action=ignore \
        --no-compile --no-deps --require-hashes -r "/requirements/$SERVICE.txt" && \
    python -m compileall -q --invalidation-mode unchecked-hash /venv/lib

# pyproject.toml: services tell its version.
COPY pyproject.toml ./
COPY shared ./shared
COPY services/__init__.py ./services/
COPY services/${SERVICE} ./services/${SERVICE}
# The published client: `tickstream watch` is one of its users, and no other service has a use for it.
RUN --mount=type=bind,source=clients/python/tickstream_client,target=/client \
    if [ "$SERVICE" = admin ]; then cp -r /client ./tickstream_client; fi

# /venv/bin/service: the argument SERVICE is known while building only. `exec` makes Python process 1, which gets the signals;
# -P: a directory "services" where the container happens to start must not be taken for ours.
RUN printf '#!/bin/sh\nexec /venv/bin/python -P -m services.%s "$@"\n' "$SERVICE" > /venv/bin/service && \
    chmod 755 /venv/bin/service && \
    echo /app > "$(/venv/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/tickstream.pth" && \
    python -m compileall -q --invalidation-mode unchecked-hash /app

FROM python:${PYTHON}
ARG SERVICE
ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="tickstream ${SERVICE}" \
      org.opencontainers.image.description="Real-time stock ticks as event-driven microservices over Redis Streams, exactly once." \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
# METRICS_HOST, GATEWAY_HOST and API_HOST: loopback inside a container is out of reach for everybody else.
ENV PATH=/venv/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    METRICS_HOST=0.0.0.0 \
    METRICS_PORT=9100 \
    GATEWAY_HOST=0.0.0.0 \
    GATEWAY_PORT=8001 \
    API_HOST=0.0.0.0 \
    API_PORT=8000
COPY --from=builder /venv /venv
COPY --from=builder /app /app
# A number, so that `runAsNonRoot` of Kubernetes can tell; it owns no file.
USER 10001:10001
WORKDIR /app
# 9100: /metrics, /healthz, /readyz. 8001: WebSocket, in the gateway. 8000: REST and pages, in the api.
EXPOSE 9100 8001 8000
STOPSIGNAL SIGTERM
# Not through urllib: it would ask a proxy of the environment for 127.0.0.1.
HEALTHCHECK --interval=10s --timeout=3s --start-period=20s --retries=3 \
    CMD ["python", "-c", "import http.client, os, sys; c = http.client.HTTPConnection('127.0.0.1', int(os.environ['METRICS_PORT']), timeout=2); c.request('GET', '/healthz'); sys.exit(c.getresponse().status != 200)"]
ENTRYPOINT ["/venv/bin/service"]
