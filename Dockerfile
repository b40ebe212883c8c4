# The server on a CPU. Weights are not part of the image:
#
#   docker build -t sluice .
#   docker run --rm -p 127.0.0.1:8080:8080 -v /srv/model:/model:ro --stop-timeout 45 -e SLUICE_API_KEY=... sluice serve /model --host 0.0.0.0
FROM debian:12-slim AS build
RUN apt-get update && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends \
      g++ cmake ninja-build pkg-config libboost1.81-dev libboost-json1.81-dev libcli11-dev libfmt-dev libutf8proc-dev libpcre2-dev \
    && rm -rf /var/lib/apt/lists/*
COPY . /source
RUN cmake -S /source -B /build -G Ninja -DCMAKE_BUILD_TYPE=Release -DSLUICE_CUDA=OFF -DSLUICE_TESTS=OFF -DSLUICE_BENCHES=OFF \
    && cmake --build /build --target sluice \
    && strip /build/bin/sluice

FROM debian:12-slim
RUN apt-get update && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends \
      libboost-json1.81.0 libfmt9 libutf8proc2 libpcre2-8-0 \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --system --uid 10001 --no-create-home --shell /usr/sbin/nologin sluice
COPY --from=build /build/bin/sluice /usr/local/bin/sluice
COPY demo/model /usr/local/share/sluice/demo/model
USER sluice
EXPOSE 8080
STOPSIGNAL SIGTERM
ENTRYPOINT ["/usr/local/bin/sluice"]
CMD ["serve", "--host", "0.0.0.0"]
