//! Which events of the log are wanted: by key and by type.

use smol_str::SmolStr;

use crate::error::ReadError;
use crate::event::{AggregateKey, KeyedEvent};
use crate::upcast::Upcasters;

#[derive(Clone, Debug, Default)]
pub(crate) struct Filter {
    prefix: Option<String>,
    types: Option<Vec<SmolStr>>,
}

impl Filter {
    pub(crate) fn set_prefix(&mut self, prefix: String) {
        self.prefix = (!prefix.is_empty()).then_some(prefix);
    }

    pub(crate) fn set_types(&mut self, types: impl IntoIterator<Item = impl AsRef<str>>) {
        self.types = Some(types.into_iter().map(|t| SmolStr::new(t.as_ref())).collect());
    }

    pub(crate) fn takes_key(&self, key: &AggregateKey) -> bool {
        self.prefix.as_ref().is_none_or(|prefix| key.as_str().starts_with(prefix))
    }

    /// The event in its latest form, if it is wanted. Types are those of the latest form. The key
    /// is checked first, so that no event of another category meets an upcaster.
    pub(crate) fn pick(
        &self,
        upcasters: &Upcasters,
        event: KeyedEvent,
    ) -> Option<Result<KeyedEvent, ReadError>> {
        if !self.takes_key(&event.key) {
            return None;
        }
        match upcasters.apply(event) {
            Err(error) => Some(Err(ReadError::Upcast(Box::new(error)))),
            Ok(None) => None,
            Ok(Some(event)) => {
                let types = self.types.as_ref();
                let wanted = types.is_none_or(|t| t.iter().any(|t| t == event.event_type()));
                wanted.then_some(Ok(event))
            }
        }
    }
}

/// The methods that set a filter, for every type that has one at `self.$filter`.
macro_rules! filter_methods {
    ($($filter:ident).+) => {
        /// Only events of aggregates whose key begins with this.
        pub fn prefix(mut self, prefix: impl Into<String>) -> Self {
            self.$($filter).+.set_prefix(prefix.into());
            self
        }

        /// Only events of aggregates of this category: the part of their keys before the first `/`,
        /// which is the kind of an entity. Replaces a prefix.
        pub fn category(self, category: impl AsRef<str>) -> Self {
            self.prefix(format!("{}/", category.as_ref()))
        }

        /// Only events of these types, as upcasters leave them.
        pub fn event_types(mut self, types: impl IntoIterator<Item = impl AsRef<str>>) -> Self {
            self.$($filter).+.set_types(types);
            self
        }
    };
}
pub(crate) use filter_methods;
