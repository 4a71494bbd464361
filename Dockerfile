# syntax=docker/dockerfile:1

# The presence server and nothing else: no shell, no package manager, no root.
#
#     docker build --tag presence-server --build-arg PRESENCE_REVISION="$(git rev-parse --short=12 HEAD)" .
#
# The target `gateway` is the example gateway with its friends list for the browser. Only docker-compose.yml uses it.

# All stages are of one Debian: the binaries run on the glibc that they were linked with.
FROM rust:1.95.0-slim-trixie AS source
WORKDIR /src
COPY . .

# The caches keep dependencies, downloaded and compiled, from one build to the next. Cargo compares file times, and
# the cache may be newer than this checkout: touched files are recompiled, whatever another checkout left in the cache.
# Builds take turns at the registry's cache, since cargo's own lock on it is not part of the cache.
FROM source AS build
ARG TARGETPLATFORM
# With --sbom, the crates are part of the bill of materials: Cargo.lock is here, and not in the image.
ARG BUILDKIT_SBOM_SCAN_STAGE=true
# Without git, the commit is an argument: --build-arg PRESENCE_REVISION="$(git rev-parse --short=12 HEAD)"
ARG PRESENCE_REVISION
RUN --mount=type=cache,target=/usr/local/cargo/registry,sharing=locked \
    --mount=type=cache,target=/src/target,id=presence-target-${TARGETPLATFORM},sharing=locked \
    find . -path ./target -prune -o -type f -exec touch {} + \
    && cargo build --locked --release --package presence-server \
    && install -D --mode=0555 target/release/presence-server /out/presence-server

# Without optimization, which would take longer than the rest of the build.
FROM source AS build-gateway
ARG TARGETPLATFORM
RUN --mount=type=cache,target=/usr/local/cargo/registry,sharing=locked \
    --mount=type=cache,target=/src/target,id=presence-gateway-target-${TARGETPLATFORM},sharing=locked \
    find . -path ./target -prune -o -type f -exec touch {} + \
    && cargo build --locked --package presence-client --example ws_gateway \
    && install -D --mode=0555 target/debug/examples/ws_gateway /out/ws_gateway

# It has glibc and the CA certificates that TLS to Redis and NATS trusts. There are no more specific tags than this one: pin
# its digest if builds have to be reproducible.
FROM gcr.io/distroless/cc-debian13:nonroot AS base
# By number, as Kubernetes cannot check whether a name is root.
USER 65532:65532
STOPSIGNAL SIGTERM

FROM base AS gateway
COPY --from=build-gateway /out/ws_gateway /ws_gateway
ENV GATEWAY_BIND=0.0.0.0:9001
EXPOSE 9001
ENTRYPOINT ["/ws_gateway"]

FROM base
LABEL org.opencontainers.image.title="presence-server" \
      org.opencontainers.image.description="Player presence service on Redis, with events on NATS" \
      org.opencontainers.image.licenses="MIT"
COPY --from=build /out/presence-server /presence-server
# The license notices of the linked crates, which have to be redistributed.
COPY LICENSE docs/third-party-notices.txt /licenses/

# The server refuses to start on all addresses until PRESENCE_AUTH_TOKENS is set, or PRESENCE_AUTH=none.
ENV PRESENCE_BIND=0.0.0.0:8080 \
    PRESENCE_LOG_FORMAT=json
EXPOSE 8080
# On SIGTERM the server stops accepting, finishes open calls, and publishes its last events within 10 s: allow more time
# than that. Without curl, the binary calls GET /health/live itself.
HEALTHCHECK --interval=5s --timeout=3s --start-period=5s --retries=3 CMD ["/presence-server", "--health"]
ENTRYPOINT ["/presence-server"]
