//! Group commit as one writes it by hand: a thread with a queue.
//!
//! The thread takes everything that waits, hands it to a function that makes it durable, and answers
//! each caller through a channel of its own. What arrives meanwhile is the next group.

use std::sync::{Arc, Mutex, mpsc};
use std::thread::{self, JoinHandle};

use tokio::sync::oneshot;

/// Jobs of one group; more only make the first of them wait longer.
const JOBS_PER_GROUP: usize = 4_096;

/// The sending side of a group-commit thread's queue.
pub(crate) struct GroupCommit<J, A> {
    queue: mpsc::Sender<(J, oneshot::Sender<A>)>,
    thread: Arc<Mutex<Option<JoinHandle<()>>>>,
}

impl<J, A> Clone for GroupCommit<J, A> {
    fn clone(&self) -> Self {
        GroupCommit { queue: self.queue.clone(), thread: self.thread.clone() }
    }
}

impl<J: Send + 'static, A: Send + 'static> GroupCommit<J, A> {
    /// Starts the thread. `commit` makes a group durable and answers each of its jobs, in order.
    pub(crate) fn start(mut commit: impl FnMut(&[J]) -> Vec<A> + Send + 'static) -> Self {
        let (queue, waiting) = mpsc::channel::<(J, oneshot::Sender<A>)>();
        let run = move || {
            let (mut jobs, mut callers) = (Vec::new(), Vec::new());
            while let Ok((job, caller)) = waiting.recv() {
                jobs.push(job);
                callers.push(caller);
                while jobs.len() < JOBS_PER_GROUP
                    && let Ok((job, caller)) = waiting.try_recv()
                {
                    jobs.push(job);
                    callers.push(caller);
                }
                let answers = commit(&jobs);
                jobs.clear();
                for (caller, answer) in callers.drain(..).zip(answers) {
                    // A caller that is gone, as at the end of a measurement, misses nothing.
                    let _ = caller.send(answer);
                }
            }
        };
        let thread = thread::Builder::new().name("by-hand-writer".to_owned()).spawn(run).unwrap();
        GroupCommit { queue, thread: Arc::new(Mutex::new(Some(thread))) }
    }

    /// Queues a job and waits for its answer.
    pub(crate) async fn submit(&self, job: J) -> A {
        let (caller, answer) = oneshot::channel();
        assert!(self.queue.send((job, caller)).is_ok(), "the writer thread is gone");
        answer.await.expect("the writer thread died")
    }

    /// Ends the thread. This is the last handle; another one would keep the queue open.
    pub(crate) fn close(self) {
        drop(self.queue);
        let thread = self.thread.lock().unwrap().take();
        if let Some(thread) = thread {
            thread.join().unwrap();
        }
    }
}
