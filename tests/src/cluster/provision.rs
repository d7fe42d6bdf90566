//! What the tests need of the world: fetched once, kept under the target directory, never guessed around.
//!
//! Debian packages are downloaded and unpacked without being installed where that is enough (ZooKeeper's jars, the
//! word list); programs (`java`, `psql`) are taken from the path, or installed with apt if we may. A lock file lets
//! parallel test processes wait for each other. A failure says what to do by hand.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// Debian's ZooKeeper as jars, without its service files.
const ZOOKEEPER_PACKAGES: [&str; 4] =
    ["libzookeeper-java", "libslf4j-java", "libdropwizard-metrics-java", "libsnappy-java"];
const ZOOKEEPER_JARS: [&str; 6] =
    ["zookeeper", "zookeeper-jute", "slf4j-api", "slf4j-jdk14", "metrics-core", "snappy-java"];
/// What a gRPC client that is not ours needs.
const PYTHON_PACKAGES: [&str; 4] = ["grpcio", "grpcio-reflection", "grpcio-health-checking", "protobuf"];

/// `target/<profile>`: where cargo put this program and puts the binaries.
pub fn profile_dir() -> PathBuf {
    let exe = std::env::current_exe().expect("own path");
    let dir = exe.parent().expect("a file has a directory");
    if dir.ends_with("deps") { dir.parent().expect("deps lies in the profile").into() } else { dir.into() }
}

/// The path of a binary of this workspace, brought up to date once per test process.
pub fn binary(name: &str) -> PathBuf {
    static BUILT: OnceLock<()> = OnceLock::new();
    BUILT.get_or_init(|| {
        let mut build = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        build.args(["build", "--quiet", "--bins", "-p", "frontend", "-p", "kvstore"]);
        if profile_dir().ends_with("release") {
            build.arg("--release");
        }
        // What cargo tells this test of its own package would make build scripts (ring's) run anew, and again
        // in the next build from outside.
        for (name, _) in std::env::vars_os() {
            let of_cargo = name.to_string_lossy().starts_with("CARGO_PKG_");
            if of_cargo
                || name == "CARGO_MANIFEST_DIR"
                || name == "CARGO_MANIFEST_PATH"
                || name == "CARGO_CRATE_NAME"
            {
                build.env_remove(&name);
            }
        }
        run(build.current_dir(workspace()), "cargo build --bins must succeed");
    });
    let path = profile_dir().join(name);
    assert!(path.exists(), "no binary {} after cargo build --bins", path.display());
    path
}

/// The directory of the workspace.
pub fn workspace() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the crate lies in the workspace")
}

/// A directory with ZooKeeper's jars.
pub fn zookeeper_jars() -> PathBuf {
    provide("zookeeper", |dir| {
        unpack(&ZOOKEEPER_PACKAGES, dir);
        let jars = dir.join("jars");
        fs::create_dir(&jars).expect("a fresh directory");
        for jar in ZOOKEEPER_JARS.map(|name| format!("{name}.jar")) {
            // Links to versioned names are followed.
            let from = dir.join("usr/share/java").join(&jar);
            fs::copy(&from, jars.join(&jar)).unwrap_or_else(|e| panic!("{}: {e}", from.display()));
        }
    })
    .join("jars")
}

/// Debian's JDBC driver.
pub fn jdbc() -> PathBuf {
    provide("jdbc", |dir| unpack(&["libpostgresql-jdbc-java"], dir)).join("usr/share/java/postgresql.jar")
}

/// Some 340,000 English words, one per line (Debian's wamerican-huge).
pub fn word_list() -> PathBuf {
    provide("words", |dir| unpack(&["wamerican-huge"], dir)).join("usr/share/dict/american-english-huge")
}

/// A Python interpreter that has gRPC with reflection and health checking.
pub fn python() -> PathBuf {
    python_with("python", &PYTHON_PACKAGES)
}

/// A Python interpreter that has packages; `name` is that of its directory in the cache.
pub fn python_with(name: &str, packages: &[&str]) -> PathBuf {
    let environment = provide(name, |dir| {
        let venv = dir.join("venv");
        let mut create = Command::new(program("python3", "python3"));
        if !create.args(["-m", "venv"]).arg(&venv).status().is_ok_and(|status| status.success()) {
            install("python3-venv");
            let remedy = "needs Python's venv module: apt-get install python3-venv";
            run(Command::new("python3").args(["-m", "venv", "--clear"]).arg(&venv), remedy);
        }
        let mut pip = Command::new(venv.join("bin/python"));
        pip.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check"]).args(packages);
        run(&mut pip, "needs pip to reach a package index");
    });
    environment.join("venv/bin/python")
}

/// A directory whose `node_modules` has packages; `name` is that of the directory in the cache.
pub fn node_with(name: &str, packages: &[&str]) -> PathBuf {
    provide(name, |dir| {
        let mut npm = Command::new(program("npm", "npm"));
        npm.args(["install", "--silent", "--no-audit", "--no-fund", "--prefix"]).arg(dir).args(packages);
        run(&mut npm, "needs npm to reach a package index");
    })
}

/// A program on the path; installs its Debian package if it is missing and we are allowed to.
pub fn program(name: &str, package: &str) -> PathBuf {
    if let Some(found) = on_path(name) {
        return found;
    }
    let _lock = lock("apt");
    if on_path(name).is_none() {
        install(package);
    }
    on_path(name).unwrap_or_else(|| panic!("{name} is missing: apt-get install {package}"))
}

fn on_path(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|dir| dir.join(name)).find(|file| file.is_file())
}

/// Installs a Debian package; the caller checks what became of it.
pub(super) fn install(package: &str) {
    let install = || {
        let mut command = Command::new("apt-get");
        command.env("DEBIAN_FRONTEND", "noninteractive");
        command.args(["install", "-y", "-q", "--no-install-recommends", package]).output()
    };
    if !install().is_ok_and(|output| output.status.success()) {
        update();
        drop(install());
    }
}

/// Downloads Debian packages and unpacks them below `dir`.
fn unpack(packages: &[&str], dir: &Path) {
    let download = || {
        // As root, apt warns that its sandbox user cannot write here; it downloads all the same.
        Command::new("apt-get").arg("download").args(packages).current_dir(dir).output()
    };
    if !download().is_ok_and(|output| output.status.success()) {
        update();
        let output = download().expect("apt-get is needed to fetch Debian packages for the tests");
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(
            output.status.success(),
            "apt-get download {packages:?} failed (try apt-get update): {error}"
        );
    }
    for file in fs::read_dir(dir).expect("own directory").flatten().map(|entry| entry.path()) {
        if file.extension().is_some_and(|extension| extension == "deb") {
            run(
                Command::new("dpkg").arg("-x").arg(&file).arg(dir),
                "dpkg -x must unpack what apt downloaded",
            );
            fs::remove_file(&file).expect("own file");
        }
    }
}

/// Refreshes apt's lists; if that fails, what follows says so.
fn update() {
    drop(Command::new("apt-get").args(["update", "-q"]).output());
}

/// The directory `name` of the cache, made by `make` if it is not complete yet.
fn provide(name: &str, make: impl FnOnce(&Path)) -> PathBuf {
    let dir = cache().join(name);
    let _lock = lock(name);
    if !dir.exists() {
        let unfinished = cache().join(format!("{name}.unfinished"));
        drop(fs::remove_dir_all(&unfinished));
        fs::create_dir_all(&unfinished).expect("the target directory can be written");
        make(&unfinished);
        fs::rename(&unfinished, &dir).expect("own directory");
    }
    dir
}

/// Holds off other threads and processes that provide the same; ends when dropped.
fn lock(name: &str) -> File {
    fs::create_dir_all(cache()).expect("the target directory can be written");
    let file = File::create(cache().join(format!("{name}.lock"))).expect("the cache can be written");
    file.lock().expect("file locks work");
    file
}

fn cache() -> PathBuf {
    profile_dir().parent().expect("the profile lies in the target directory").join("spinnaker-tests")
}

/// Runs a command that must succeed.
fn run(command: &mut Command, remedy: &str) {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}; {remedy}"));
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?} failed; {remedy}\n{error}");
}
