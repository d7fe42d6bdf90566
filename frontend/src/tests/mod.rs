//! The wire, end to end in memory: the real connection loop and the real planner over a store in memory.
//!
//! `scripts` runs the golden scripts of `testdata/wire` (set `UPDATE_GOLDENFILES=1` to write their output anew);
//! the other files hold what a script cannot say: malformed bytes, time, and a real `psql`.

mod client;
mod defects;
mod pipelining;
mod psql;
mod scripts;
