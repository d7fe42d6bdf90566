//! A child process whose output is read line by line; it never outlives its handle.

use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

/// A running (or ended) child.
pub struct Process {
    name: String,
    child: Child,
    stdin: Option<ChildStdin>,
    output: Arc<Output>,
}

/// Everything the child has said on either stream, in the order in which it was read.
#[derive(Default)]
struct Output {
    said: Mutex<Said>,
    grown: Condvar,
}

#[derive(Default)]
struct Said {
    lines: Vec<String>,
    /// Streams that have not ended yet.
    open: u32,
}

impl Process {
    /// Starts a command; `name` tells it apart in failures.
    pub fn spawn(name: &str, command: &mut Command) -> Process {
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap_or_else(|error| panic!("{name}: {command:?}: {error}"));
        let output = Arc::new(Output::default());
        if let Some(stdout) = child.stdout.take() {
            Output::collect(&output, stdout);
        }
        if let Some(stderr) = child.stderr.take() {
            Output::collect(&output, stderr);
        }
        Process { name: name.to_string(), stdin: child.stdin.take(), child, output }
    }

    /// Waits for the first line, of all said so far or later, that `wanted` maps to something.
    pub fn wait_line<T>(&self, wait_max: Duration, what: &str, wanted: impl Fn(&str) -> Option<T>) -> T {
        self.wait_line_after(0, wait_max, what, wanted)
    }

    /// The same among the lines behind the first `seen` ones (see [`Process::lines_seen`]).
    pub fn wait_line_after<T>(
        &self,
        seen: usize,
        wait_max: Duration,
        what: &str,
        wanted: impl Fn(&str) -> Option<T>,
    ) -> T {
        let deadline = Instant::now() + wait_max;
        let mut said = self.output.lock();
        let mut next = seen;
        loop {
            while next < said.lines.len() {
                if let Some(found) = wanted(&said.lines[next]) {
                    return found;
                }
                next += 1;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() || said.open == 0 {
                let why =
                    if said.open == 0 { "before its end".into() } else { format!("within {wait_max:?}") };
                panic!("{}: no {what} {why}; it said:\n{}", self.name, said.lines.join("\n"));
            }
            said = self.output.grown.wait_timeout(said, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Number of lines said so far.
    pub fn lines_seen(&self) -> usize {
        self.output.lock().lines.len()
    }

    /// Everything said so far.
    pub fn said(&self) -> String {
        self.output.lock().lines.join("\n")
    }

    /// Types a line on the child's standard input.
    pub fn type_line(&mut self, line: &str) {
        let stdin = self.stdin.as_mut().expect("standard input is piped");
        writeln!(stdin, "{line}").and_then(|()| stdin.flush()).expect("the child reads its standard input");
    }

    /// Ends it with SIGKILL and waits for its end.
    pub fn kill(&mut self) {
        // An error means that it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Asks it to end with SIGTERM.
    pub fn terminate(&self) {
        self.signal(Signal::TERM);
    }

    /// Stops it with SIGSTOP, as a long pause would. Returns when all its threads stand still, which on a busy
    /// machine is later than the signal.
    pub fn pause(&self) {
        self.signal(Signal::STOP);
        while !self.stands_still() {
            std::thread::sleep(std::time::Duration::from_millis(1));
        }
    }

    fn stands_still(&self) -> bool {
        let tasks = format!("/proc/{}/task", self.child.id());
        std::fs::read_dir(tasks).expect("the process is there").all(|task| {
            let stat = task.and_then(|task| std::fs::read_to_string(task.path().join("stat")));
            // The state stands behind the name, which is in parentheses; a thread that has just ended has none.
            let state = |stat: &str| stat.rsplit_once(") ").and_then(|(_, rest)| rest.chars().next());
            stat.map_or(true, |stat| matches!(state(&stat), Some('T' | 'Z' | 'X')))
        })
    }

    /// Lets it go on after [`Process::pause`].
    pub fn resume(&self) {
        self.signal(Signal::CONT);
    }

    /// Whether it still runs.
    pub fn is_running(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// Waits for its end.
    pub fn wait_exit(&mut self, wait_max: Duration) -> ExitStatus {
        let deadline = Instant::now() + wait_max;
        loop {
            if let Some(status) = self.child.try_wait().expect("own child") {
                return status;
            }
            assert!(
                Instant::now() < deadline,
                "{} still runs after {wait_max:?}; it said:\n{}",
                self.name,
                self.said()
            );
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Its process id.
    pub fn pid(&self) -> Pid {
        i32::try_from(self.child.id()).ok().and_then(Pid::from_raw).expect("a process id")
    }

    fn signal(&self, signal: Signal) {
        let pid = self.pid();
        kill_process(pid, signal).expect("own child");
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
        if std::thread::panicking() {
            eprintln!("--- {} said:\n{}\n---", self.name, self.said());
        }
    }
}

impl Output {
    /// Reads a stream to its end on a thread of its own.
    fn collect(output: &Arc<Output>, stream: impl Read + Send + 'static) {
        output.lock().open += 1;
        let output = Arc::clone(output);
        std::thread::spawn(move || {
            let mut reader = BufReader::new(stream);
            let mut line = Vec::new();
            while reader.read_until(b'\n', &mut line).is_ok_and(|read| read > 0) {
                let text = String::from_utf8_lossy(&line).trim_end().to_string();
                output.lock().lines.push(text);
                output.grown.notify_all();
                line.clear();
            }
            output.lock().open -= 1;
            output.grown.notify_all();
        });
    }

    fn lock(&self) -> MutexGuard<'_, Said> {
        self.said.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
