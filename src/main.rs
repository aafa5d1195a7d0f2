//! The `pollwheel` command. See the library for everything.

fn main() -> std::process::ExitCode {
    pollwheel::cli::main()
}
