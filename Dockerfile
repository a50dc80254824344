# The daemon and the controller, without the lab: docker build -t canaryd --build-arg VERSION=0.1.0 .
# Pin both stages by digest where builds must be repeatable: docker buildx imagetools inspect python:3.12-slim-bookworm
ARG PYTHON=python:3.12-slim-bookworm

FROM ${PYTHON} AS build
WORKDIR /src
COPY pyproject.toml README.md LICENSE ./
COPY canaryd ./canaryd
# pip installs into the environment from outside of it, so that there is none inside; bytecode is compiled here because
# the root file system is read-only there.
RUN python -m venv --without-pip /opt/canaryd \
 && python -m pip --python /opt/canaryd/bin/python install --no-cache-dir --disable-pip-version-check --compile '.[messages]'

FROM ${PYTHON}
ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="canaryd" \
      org.opencontainers.image.description="Canary analysis and traffic shifting for Istio" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
# The base brings pip for whoever builds on it; nothing here does.
RUN python -m pip uninstall --yes --quiet --root-user-action=ignore pip \
 && rm -rf /usr/local/lib/python3.*/ensurepip /root/.cache \
 && mkdir /state && chown 65532:65532 /state
COPY --from=build /opt/canaryd /opt/canaryd
USER 65532:65532
VOLUME /state
ENV PATH=/opt/canaryd/bin:$PATH CANARYD_STATE=/state PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1
ENTRYPOINT ["canaryd"]
CMD ["controller"]
