# syntax=docker/dockerfile:1.7
# The image of Stepstream: one program, all roles. It holds no configuration and no key; mount those.
#
#   docker build -t stepstream:local .

ARG RUST_IMAGE=rust:1.95.0-bookworm
ARG RUNTIME_IMAGE=debian:bookworm-20260824-slim

FROM ${RUST_IMAGE} AS build
# cmake builds the cryptography of TLS; librdkafka is linked with the system's OpenSSL and zlib.
RUN apt-get update \
    && apt-get install --yes --no-install-recommends cmake libssl-dev pkg-config zlib1g-dev \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /source
COPY . .
# The caches outlive a build, so that only what changed is compiled; the program is copied out of them, for
# they are no part of the image. The toolchain is the image's own, since the one that rust-toolchain.toml
# describes would be fetched for the sake of its linters.
RUN --mount=type=cache,target=/usr/local/cargo/registry,sharing=locked \
    --mount=type=cache,target=/source/target,sharing=locked \
    RUSTUP_TOOLCHAIN="$RUST_VERSION" cargo build --release --locked --package stepstream \
    && install -D --mode=0755 target/release/stepstream /out/stepstream \
    && strip --strip-debug /out/stepstream

FROM ${RUNTIME_IMAGE} AS runtime
RUN apt-get update \
    && apt-get install --yes --no-install-recommends ca-certificates libssl3 zlib1g \
    && rm -rf /var/lib/apt/lists/* \
    && groupadd --system --gid 10001 stepstream \
    && useradd --system --uid 10001 --gid 10001 --no-create-home --home-dir /nonexistent \
        --shell /usr/sbin/nologin stepstream
COPY --from=build /out/stepstream /usr/local/bin/stepstream
COPY --chmod=0755 infra/compose/probe /usr/local/bin/probe
LABEL org.opencontainers.image.title="Stepstream" \
      org.opencontainers.image.description="An event-driven AI platform on Kafka" \
      org.opencontainers.image.licenses="Apache-2.0"
ENV STEPSTREAM_CONFIG=/etc/stepstream/stepstream.toml
# By number, so that Kubernetes can see that it isn't root.
USER 10001:10001
EXPOSE 8080 9100
# SIGTERM is Docker's default; it starts an orderly end, which may take drain-secs and the last checkpoints.
STOPSIGNAL SIGTERM
# The gateway's port; a process without a gateway is asked at `telemetry.metrics-listen` instead.
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s --retries=3 CMD ["probe", "8080"]
ENTRYPOINT ["stepstream"]
CMD ["serve"]
