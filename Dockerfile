# A small image with nothing but the binary. Data is mounted at /data:
#   docker run --rm -v "$PWD:/data" -e POLLWHEEL_API_TOKEN pollwheel run --from requests.csv --to results.csv
# The files there must be writable by uid 65532, or add --user "$(id -u)".

FROM rust:1-slim AS build
# SQLite and the TLS library are compiled from source.
RUN apt-get update && apt-get install -y --no-install-recommends gcc libc6-dev cmake make && rm -rf /var/lib/apt/lists/*
WORKDIR /src
COPY Cargo.toml Cargo.lock ./
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
# The default of `docker stop`; pollwheel polls what is under way for --drain-timeout (30s), so give
# it more: docker stop -t 40.
STOPSIGNAL SIGTERM
ENTRYPOINT ["pollwheel"]
