//! Mail in order. Mostly there is one, which is stored without an allocation.
//!
//! What must stay true: `rest` is empty while there is no `first`. Capacity for more mail is most
//! of what an idle aggregate would keep in memory, so it is kept only while more mail waits.

use std::collections::VecDeque;

use super::Mail;

#[derive(Default)]
pub(in crate::mailroom) struct MailQueue {
    first: Option<Mail>,
    #[allow(
        clippy::box_collection,
        reason = "every resident aggregate has two queues, and seldom a rest"
    )]
    rest: Option<Box<VecDeque<Mail>>>,
}

impl MailQueue {
    pub(in crate::mailroom) fn len(&self) -> usize {
        usize::from(self.first.is_some()) + self.rest.as_ref().map_or(0, |rest| rest.len())
    }

    pub(in crate::mailroom) fn is_empty(&self) -> bool {
        self.first.is_none()
    }

    pub(in crate::mailroom) fn front(&self) -> Option<&Mail> {
        self.first.as_ref()
    }

    pub(in crate::mailroom) fn front_mut(&mut self) -> Option<&mut Mail> {
        self.first.as_mut()
    }

    pub(in crate::mailroom) fn pop_front(&mut self) -> Option<Mail> {
        let second = self.rest.as_mut().and_then(|rest| rest.pop_front());
        if second.is_none() {
            self.rest = None;
        }
        std::mem::replace(&mut self.first, second)
    }

    pub(in crate::mailroom) fn push_front(&mut self, mail: Mail) {
        if let Some(second) = self.first.replace(mail) {
            self.rest.get_or_insert_default().push_front(second);
        }
    }

    pub(in crate::mailroom) fn push_back(&mut self, mail: Mail) {
        match self.first {
            None => self.first = Some(mail),
            Some(_) => self.rest.get_or_insert_default().push_back(mail),
        }
    }

    pub(in crate::mailroom) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Mail> {
        self.first.iter_mut().chain(self.rest.iter_mut().flat_map(|rest| rest.iter_mut()))
    }

    /// Moves the mail of `other` behind the mail that is here.
    pub(in crate::mailroom) fn append(&mut self, other: MailQueue) {
        if self.is_empty() {
            *self = other;
        } else if let Some(first) = other.first {
            let rest = self.rest.get_or_insert_default();
            rest.push_back(first);
            rest.extend(other.rest.into_iter().flat_map(|rest| *rest));
        }
    }
}

impl IntoIterator for MailQueue {
    type Item = Mail;
    type IntoIter =
        std::iter::Chain<std::option::IntoIter<Mail>, std::collections::vec_deque::IntoIter<Mail>>;

    fn into_iter(self) -> Self::IntoIter {
        self.first.into_iter().chain(self.rest.map_or_else(VecDeque::new, |rest| *rest))
    }
}
