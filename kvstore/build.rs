//! Compiles the protocol files without `protoc`, and keeps their descriptors for gRPC reflection.

use std::error::Error;
use std::path::PathBuf;
use std::{env, fs};

fn main() -> Result<(), Box<dyn Error>> {
    let files = ["proto/kv.proto", "proto/gateway.proto"];
    for file in files {
        println!("cargo:rerun-if-changed={file}");
    }
    let descriptors = protox::compile(files, ["proto"])?;
    let mut public = descriptors.clone();
    // Peers speak the gateway service, nobody else: reflection shows the public one only.
    public.file.retain(|file| file.name() != "gateway.proto");
    let out = PathBuf::from(env::var("OUT_DIR")?);
    fs::write(out.join("kv.descriptors"), prost::Message::encode_to_vec(&public))?;
    tonic_prost_build::configure().bytes(".").compile_fds(descriptors)?;
    Ok(())
}
