# syntax=docker/dockerfile:1

# The presence server and nothing else: no shell, no package manager, no root.
#
#     docker build --tag presence-server --build-arg PRESENCE_REVISION="$(git rev-parse --short=12 HEAD)" .

# Both stages are of one Debian: the binary runs on the glibc that it was linked with.
FROM rust:1.95.0-slim-trixie AS build
WORKDIR /src
COPY . .

# The caches keep dependencies, downloaded and compiled, from one build to the next. Cargo goes by the files' times, and
# the cache may be newer than this checkout: touched files are compiled anew, whatever another checkout left there.
ARG TARGETPLATFORM
# There is no git here to ask for the commit: --build-arg PRESENCE_REVISION="$(git rev-parse --short=12 HEAD)"
ARG PRESENCE_REVISION
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/src/target,id=presence-target-${TARGETPLATFORM},sharing=locked \
    find . -path ./target -prune -o -type f -exec touch {} + \
    && cargo build --locked --release --package presence-server \
    && install -D --mode=0555 target/release/presence-server /out/presence-server

# It brings glibc and the CA certificates that TLS to Redis and NATS trusts. There are no finer tags than this one: pin its
# digest where builds have to be repeatable.
FROM gcr.io/distroless/cc-debian13:nonroot
LABEL org.opencontainers.image.title="presence-server" \
      org.opencontainers.image.description="Who is online: presence of players, on Redis, with events on NATS" \
      org.opencontainers.image.licenses="MIT"
COPY --from=build /out/presence-server /presence-server
# What the licences of the crates that it is linked with ask to be passed on.
COPY LICENSE docs/third-party-notices.txt /licenses/

# By number: Kubernetes cannot tell whether a name is root.
USER 65532:65532
# The server refuses to start on all addresses until PRESENCE_AUTH_TOKENS is set, or PRESENCE_AUTH=none.
ENV PRESENCE_BIND=0.0.0.0:8080 \
    PRESENCE_LOG_FORMAT=json
EXPOSE 8080
# The server stops accepting, answers what it has, and publishes its last events, all within 10 s: give it more than that.
STOPSIGNAL SIGTERM
# There is no curl to ask with: the binary asks GET /health/live itself.
HEALTHCHECK --interval=5s --timeout=3s --start-period=5s --retries=3 CMD ["/presence-server", "--health"]
ENTRYPOINT ["/presence-server"]
