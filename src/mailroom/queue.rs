//! Mails in order. One is the rule, and stands in its place without an allocation.
//!
//! What must stay true: `rest` is empty where there is no `first`.

use std::collections::VecDeque;

use super::mail::Mail;

#[derive(Default)]
pub(super) struct Queue {
    first: Option<Mail>,
    rest: VecDeque<Mail>,
}

impl Queue {
    pub(super) fn len(&self) -> usize {
        usize::from(self.first.is_some()) + self.rest.len()
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
        std::mem::replace(&mut self.first, self.rest.pop_front())
    }

    pub(super) fn push_front(&mut self, mail: Mail) {
        if let Some(second) = self.first.replace(mail) {
            self.rest.push_front(second);
        }
    }

    pub(super) fn push_back(&mut self, mail: Mail) {
        match self.first {
            None => self.first = Some(mail),
            Some(_) => self.rest.push_back(mail),
        }
    }

    /// Takes over what waits in `other`, behind what waits here.
    pub(super) fn append(&mut self, other: &mut Queue) {
        if self.is_empty() {
            std::mem::swap(self, other);
        } else if let Some(first) = other.first.take() {
            self.rest.push_back(first);
            self.rest.append(&mut other.rest);
        }
    }

    /// Gives up room that was made for more mail than now waits: it is most of what an idle aggregate would
    /// hold on to.
    pub(super) fn give_up_room(&mut self) {
        if self.is_empty() && self.rest.capacity() > 0 {
            self.rest = VecDeque::new();
        }
    }
}

impl IntoIterator for Queue {
    type Item = Mail;
    type IntoIter =
        std::iter::Chain<std::option::IntoIter<Mail>, std::collections::vec_deque::IntoIter<Mail>>;

    fn into_iter(self) -> Self::IntoIter {
        self.first.into_iter().chain(self.rest)
    }
}
