//! The binary `spinnaker`: see `frontend::cli`.

fn main() -> std::process::ExitCode {
    frontend::cli::main()
}
