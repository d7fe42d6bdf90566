//! The coordinator as a process of the simulated catalog reaches it: each call takes steps, in which others may come between;
//! it may fail before it has done anything, or its answer may be lost. And time, which passes with the steps.

use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use bytes::Bytes;
use kvstore::coordination::embedded::EmbeddedClient;
use kvstore::coordination::{CoordinationError, Coordinator, CreateMode, Op, Result, Session, Znode};
use kvstore::testing::Time;
use replication::testing::options::Random;
use tokio::sync::watch;
use wal::sync::lock;

/// Chance, drawn from the seed, for all that runs in a catalog.
#[derive(Clone)]
pub(super) struct Dice(Arc<Mutex<Random>>);

impl Dice {
    pub(super) fn new(seed: u64) -> Dice {
        Dice(Arc::new(Mutex::new(Random(seed))))
    }

    /// A number below `end`.
    pub(super) fn below(&self, end: u64) -> u64 {
        lock(&self.0).below(end)
    }

    /// Whether it happens, once in so many (0: never).
    pub(super) fn one_in(&self, many: u64) -> bool {
        many > 0 && self.below(many) == 0
    }
}

/// Others come between.
pub(super) async fn step() {
    let mut stepped = false;
    std::future::poll_fn(|_: &mut Context<'_>| match std::mem::replace(&mut stepped, true) {
        true => Poll::Ready(()),
        false => Poll::Pending,
    })
    .await;
}

/// What comes of something that waits for nothing; `None`: it does wait.
pub(super) fn at_once<T>(future: impl Future<Output = T>) -> Option<T> {
    match std::pin::pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(answer) => Some(answer),
        Poll::Pending => None,
    }
}

/// Made-up time, in microseconds since the beginning.
#[derive(Clone)]
pub(super) struct Clock {
    origin: Instant,
    now: Arc<AtomicU64>,
}

impl Clock {
    pub(super) fn new() -> Clock {
        Clock { origin: Instant::now(), now: Arc::default() }
    }

    /// Microseconds since the beginning.
    pub(super) fn at(&self) -> u64 {
        self.now.load(Ordering::Relaxed)
    }

    /// So much time passes.
    pub(super) fn pass(&self, during: u64) {
        self.now.fetch_add(during, Ordering::Relaxed);
    }
}

impl Time for Clock {
    fn now(&self) -> Instant {
        self.origin + Duration::from_micros(self.at())
    }

    fn sleep(&self, during: Duration) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        let (clock, until) = (self.clone(), self.at() + during.as_micros() as u64);
        Box::pin(async move {
            while clock.at() < until {
                step().await;
            }
        })
    }
}

/// What becomes of a process at one of its steps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    /// It ends before the step is done.
    EndsBefore,
    /// The step is done, and the process ends before it hears of that.
    EndsBehind,
    /// The step is done, and the process is told that it has failed.
    AnswerLost,
}

/// What a process does to the world: its requests to the coordinator, and the changes of its disk, one after the other.
#[derive(Clone, Default)]
pub(super) struct Steps(Arc<Mutex<StepsState>>);

#[derive(Default)]
struct StepsState {
    /// After so many more steps this happens.
    fate: Option<(u64, Fate)>,
    /// The process has ended.
    ended: bool,
}

impl Steps {
    /// At the step that has so many before it, counted from here, this happens.
    pub(super) fn arm(&self, before: u64, fate: Fate) {
        self.lock().fate = Some((before, fate));
    }

    /// Nothing happens any more.
    pub(super) fn disarm(&self) {
        self.lock().fate = None;
    }

    /// Whether that step is still to come.
    pub(super) fn is_armed(&self) -> bool {
        self.lock().fate.is_some()
    }

    /// Whether the process has ended at a step: nothing of it goes on.
    pub(super) fn has_ended(&self) -> bool {
        self.lock().ended
    }

    /// Does a step; `None`: its answer is lost. Does not return if the process ends at it.
    pub(super) async fn take<T>(&self, step: impl Future<Output = T>) -> Option<T> {
        let fate = match &mut self.lock().fate {
            Some((before, _)) if *before > 0 => {
                *before -= 1;
                None
            }
            fate => fate.take().map(|(_, fate)| fate),
        };
        match fate {
            None => Some(step.await),
            Some(Fate::AnswerLost) => {
                step.await;
                None
            }
            Some(Fate::EndsBefore) => self.end().await,
            Some(Fate::EndsBehind) => {
                step.await;
                self.end().await
            }
        }
    }

    async fn end<T>(&self) -> T {
        self.lock().ended = true;
        std::future::pending().await
    }

    fn lock(&self) -> MutexGuard<'_, StepsState> {
        lock(&self.0)
    }
}

/// A process's client.
pub(super) struct Stepped {
    inner: Arc<EmbeddedClient>,
    dice: Dice,
    /// One call in so many fails.
    failing: u64,
    steps: Steps,
}

impl Stepped {
    pub(super) fn new(inner: Arc<EmbeddedClient>, dice: Dice, failing: u64, steps: Steps) -> Stepped {
        Stepped { inner, dice, failing, steps }
    }

    async fn read<T: Send>(&self, call: impl Future<Output = Result<T>> + Send) -> Result<T> {
        step().await;
        if self.dice.one_in(self.failing) {
            return Err(CoordinationError::Unavailable("no connection".into()));
        }
        let answer = self.steps.take(call).await;
        step().await;
        answer.unwrap_or_else(|| Err(CoordinationError::Unavailable("the answer was lost".into())))
    }

    async fn change<T: Send>(&self, call: impl Future<Output = Result<T>> + Send) -> Result<T> {
        step().await;
        let fails = self.dice.one_in(self.failing);
        if fails && self.dice.one_in(2) {
            return Err(match self.dice.one_in(2) {
                true => CoordinationError::Unknown("the request was lost".into()),
                false => CoordinationError::Unavailable("no connection".into()),
            });
        }
        let answer = self.steps.take(call).await.filter(|_| !fails);
        step().await;
        answer.unwrap_or_else(|| Err(CoordinationError::Unknown("the answer was lost".into())))
    }
}

type Answer<'a, T> = Pin<Box<dyn Future<Output = Result<T>> + Send + 'a>>;

impl Coordinator for Stepped {
    fn create<'a>(&'a self, path: &'a str, data: Bytes, mode: CreateMode) -> Answer<'a, String> {
        Box::pin(self.change(self.inner.create(path, data, mode)))
    }
    fn set<'a>(&'a self, path: &'a str, data: Bytes, version: Option<i32>) -> Answer<'a, i32> {
        Box::pin(self.change(self.inner.set(path, data, version)))
    }
    fn delete<'a>(&'a self, path: &'a str, version: Option<i32>) -> Answer<'a, ()> {
        Box::pin(self.change(self.inner.delete(path, version)))
    }
    fn multi(&self, ops: Vec<Op>) -> Answer<'_, ()> {
        Box::pin(self.change(self.inner.multi(ops)))
    }
    fn get<'a>(&'a self, path: &'a str) -> Answer<'a, Option<Znode>> {
        Box::pin(self.read(self.inner.get(path)))
    }
    fn list<'a>(&'a self, path: &'a str) -> Answer<'a, Vec<String>> {
        Box::pin(self.read(self.inner.list(path)))
    }
    fn sync(&self) -> Answer<'_, ()> {
        Box::pin(self.read(self.inner.sync()))
    }
    fn ensure<'a>(&'a self, path: &'a str) -> Answer<'a, ()> {
        Box::pin(self.change(self.inner.ensure(path)))
    }
    fn watch(&self, path: &str) -> watch::Receiver<u64> {
        self.inner.watch(path)
    }
    fn session(&self) -> watch::Receiver<Session> {
        self.inner.session()
    }
    fn close(&self) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        self.inner.close()
    }
}
