# The daemon, without the lab. Runs as nobody in particular and writes only to /state.
FROM python:3.12-slim AS build
WORKDIR /src
COPY pyproject.toml README.md LICENSE ./
COPY canaryd ./canaryd
RUN python -m venv /opt/canaryd && /opt/canaryd/bin/pip install --no-cache-dir .

FROM python:3.12-slim
COPY --from=build /opt/canaryd /opt/canaryd
RUN mkdir /state && chown 65532:65532 /state
USER 65532:65532
VOLUME /state
ENV PATH=/opt/canaryd/bin:$PATH CANARYD_STATE=/state CANARYD_LOG_FORMAT=json
ENTRYPOINT ["canaryd"]
CMD ["serve", "/plans"]
