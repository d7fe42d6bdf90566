//! Disks that misbehave: a small library, loaded before libc's, delays `fdatasync` and `fsync` by what a file says, and a
//! file system of limited size can be filled up.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::cluster::provision;

/// Delays each sync by as many microseconds as the file named by SLOW_SYNC_US says, looking again every 20 ms.
const SOURCE: &str = r#"
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

static long delay_us(void) {
    const char *path = getenv("SLOW_SYNC_US");
    char text[32];
    if (!path) return 0;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) return 0;
    ssize_t n = read(fd, text, sizeof text - 1);
    close(fd);
    if (n <= 0) return 0;
    text[n] = 0;
    return atol(text);
}

static void wait_for_disk(void) {
    long waited = 0;
    for (;;) {
        long left = delay_us() - waited;
        if (left <= 0) return;
        if (left > 20000) left = 20000;
        struct timespec pause = { 0, left * 1000 };
        nanosleep(&pause, 0);
        waited += left;
    }
}

int fdatasync(int fd) {
    static int (*real)(int);
    if (!real) real = (int (*)(int))dlsym(RTLD_NEXT, "fdatasync");
    wait_for_disk();
    return real(fd);
}

int fsync(int fd) {
    static int (*real)(int);
    if (!real) real = (int (*)(int))dlsym(RTLD_NEXT, "fsync");
    wait_for_disk();
    return real(fd);
}
"#;

/// A disk whose syncs can be made slow.
pub struct SlowDisk {
    library: PathBuf,
    dir: PathBuf,
}

impl SlowDisk {
    /// Compiles the library into `dir`.
    ///
    /// # Errors
    ///
    /// One line: what the compiler said.
    pub fn new(dir: &Path) -> Result<SlowDisk, String> {
        let (source, library) = (dir.join("slow_sync.c"), dir.join("slow_sync.so"));
        fs::write(&source, SOURCE).map_err(|error| format!("{}: {error}", source.display()))?;
        let mut compile = Command::new(provision::program("gcc", "gcc"));
        compile.args(["-shared", "-fPIC", "-O1", "-o"]).arg(&library).arg(&source).arg("-ldl");
        let output = compile.output().map_err(|error| format!("gcc: {error}"))?;
        if !output.status.success() {
            return Err(format!("gcc: {}", String::from_utf8_lossy(&output.stderr)));
        }
        Ok(SlowDisk { library, dir: dir.to_owned() })
    }

    /// Makes a node's command use this disk.
    pub fn attach(&self, node: usize, command: &mut Command) {
        command.env("LD_PRELOAD", &self.library).env("SLOW_SYNC_US", self.file(node));
    }

    /// From now on each sync of this node takes so much longer; 0 for a healthy disk.
    pub fn delay(&self, node: usize, micros: u64) {
        let aside = self.dir.join(format!("slow-{node}.new"));
        fs::write(&aside, micros.to_string()).expect("own directory");
        fs::rename(&aside, self.file(node)).expect("own directory");
    }

    fn file(&self, node: usize) -> PathBuf {
        self.dir.join(format!("slow-{node}"))
    }
}

/// A file system in memory of limited size; unmounted when dropped.
pub struct SmallDisk {
    dir: PathBuf,
}

impl SmallDisk {
    /// Mounts one of so many MiB.
    ///
    /// # Errors
    ///
    /// One line: what `mount` said (it needs root).
    pub fn mount(dir: PathBuf, mib: u64) -> Result<SmallDisk, String> {
        fs::create_dir_all(&dir).map_err(|error| format!("{}: {error}", dir.display()))?;
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", &format!("size={mib}m"), "tmpfs"]).arg(&dir);
        let output = mount.output().map_err(|error| format!("mount: {error}"))?;
        match output.status.success() {
            true => Ok(SmallDisk { dir }),
            false => Err(format!("mount: {}", String::from_utf8_lossy(&output.stderr).trim())),
        }
    }

    /// Takes all the space that is left.
    pub fn fill(&self) {
        use std::io::Write;
        let mut ballast = fs::File::create(self.ballast()).expect("own directory");
        let block = vec![0x55; 64 << 10];
        // The write that fails is the one that filled it.
        while ballast.write_all(&block).is_ok() {}
    }

    /// Gives the space back.
    pub fn free(&self) {
        // It is not there if the disk was never filled.
        let _ = fs::remove_file(self.ballast());
    }

    fn ballast(&self) -> PathBuf {
        self.dir.join("ballast")
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // A mount that stays is seen by its user in the temporary directory that cannot be removed.
        let _ = Command::new("umount").arg("-l").arg(&self.dir).status();
    }
}
