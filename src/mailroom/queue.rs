//! Mails in order. One is the rule, and stands in its place without an allocation.
//!
//! What must stay true: nothing is in `rest` where there is no `first`. Room for more mail is most of what an idle
//! aggregate would hold on to, so it is kept only while more waits.

use std::collections::VecDeque;

use super::mail::Mail;

#[derive(Default)]
pub(super) struct Queue {
    first: Option<Mail>,
    #[allow(
        clippy::box_collection,
        reason = "every resident aggregate has two queues, and seldom a rest"
    )]
    rest: Option<Box<VecDeque<Mail>>>,
}

impl Queue {
    pub(super) fn len(&self) -> usize {
        usize::from(self.first.is_some()) + self.rest.as_ref().map_or(0, |rest| rest.len())
    }

    pub(super) fn is_empty(&self) -> bool {
        self.first.is_none()
    }

    pub(super) fn front(&self) -> Option<&Mail> {
        self.first.as_ref()
    }

    pub(super) fn front_mut(&mut self) -> Option<&mut Mail> {
        self.first.as_mut()
    }

    pub(super) fn pop_front(&mut self) -> Option<Mail> {
        let second = self.rest.as_mut().and_then(|rest| rest.pop_front());
        if second.is_none() {
            self.rest = None;
        }
        std::mem::replace(&mut self.first, second)
    }

    pub(super) fn push_front(&mut self, mail: Mail) {
        if let Some(second) = self.first.replace(mail) {
            self.rest.get_or_insert_default().push_front(second);
        }
    }

    pub(super) fn push_back(&mut self, mail: Mail) {
        match self.first {
            None => self.first = Some(mail),
            Some(_) => self.rest.get_or_insert_default().push_back(mail),
        }
    }

    /// Takes over what waits in `other`, behind what waits here.
    pub(super) fn append(&mut self, other: Queue) {
        if self.is_empty() {
            *self = other;
        } else if let Some(first) = other.first {
            let rest = self.rest.get_or_insert_default();
            rest.push_back(first);
            rest.extend(other.rest.into_iter().flat_map(|rest| *rest));
        }
    }
}

impl IntoIterator for Queue {
    type Item = Mail;
    type IntoIter =
        std::iter::Chain<std::option::IntoIter<Mail>, std::collections::vec_deque::IntoIter<Mail>>;

    fn into_iter(self) -> Self::IntoIter {
        self.first.into_iter().chain(self.rest.map_or_else(VecDeque::new, |rest| *rest))
    }
}
