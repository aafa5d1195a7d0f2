# A small image with nothing but the binary. Data is mounted at /data:
#   docker run --rm -v "$PWD:/data" -e POLLWHEEL_API_TOKEN pollwheel run --from requests.csv --to results.csv
# A worker of a queue needs no data but its config.toml:
#   docker run -d --restart on-failure --stop-timeout 40 -v "$PWD:/data:ro" -e POLLWHEEL_API_TOKEN -e POLLWHEEL_REDIS_PASSWORD \
#     pollwheel work --from redis:LIST --to redis:LIST
# It exits when it can do nothing, so there is no HEALTHCHECK; `pollwheel status --from redis:LIST` counts those alive.
# The files there must be writable by uid 65532, or add --user "$(id -u)".

FROM rust:1-slim AS build
# SQLite and the TLS library are compiled from source.
RUN apt-get update && apt-get install -y --no-install-recommends gcc libc6-dev cmake make && rm -rf /var/lib/apt/lists/*
WORKDIR /src
COPY Cargo.toml Cargo.lock ./
# A member of the workspace and a target, which cargo wants to see; they are not built.
COPY bench/bare bench/bare
COPY benches benches
# Dependencies first, so that a change of the source does not build them anew.
RUN mkdir src && echo 'fn main() {}' > src/main.rs && touch src/lib.rs \
    && cargo build --release --locked && rm -rf src
COPY jobs jobs
COPY src src
RUN touch src/main.rs src/lib.rs && cargo build --release --locked

# Has libc, libgcc and the certificates of public authorities; no shell.
FROM gcr.io/distroless/cc-debian13:nonroot
COPY --from=build /src/target/release/pollwheel /usr/local/bin/pollwheel
WORKDIR /data
USER 65532:65532
# The default of `docker stop`. A run polls what is under way for --drain-timeout (30s), a worker waits for
# creates on the wire (30s at most) and hands over the rest, so give both more: docker stop -t 40.
STOPSIGNAL SIGTERM
ENTRYPOINT ["pollwheel"]
