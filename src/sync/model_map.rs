//! What a map of dashmap's does, with one lock that the model checker knows.

use std::collections::BTreeMap;
use std::ops::Deref;
use std::sync::PoisonError;

use shuttle::sync::{Mutex, MutexGuard};

type ModelRows<K, V> = BTreeMap<K, V>;

#[derive(Default)]
pub(crate) struct DashMap<K, V>(Mutex<ModelRows<K, V>>);

/// An entry, while the map is locked.
pub(crate) struct Ref<'a, K, V> {
    rows: MutexGuard<'a, ModelRows<K, V>>,
    key: K,
}

pub(crate) enum Entry<'a, K, V> {
    Occupied(OccupiedEntry<'a, K, V>),
    Vacant(VacantEntry<'a, K, V>),
}

pub(crate) struct OccupiedEntry<'a, K, V>(Ref<'a, K, V>);

pub(crate) struct VacantEntry<'a, K, V>(Ref<'a, K, V>);

impl<K: Ord + Clone, V> DashMap<K, V> {
    pub(crate) fn new() -> Self {
        DashMap(Mutex::new(BTreeMap::new()))
    }

    fn rows(&self) -> MutexGuard<'_, ModelRows<K, V>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn get(&self, key: &K) -> Option<Ref<'_, K, V>> {
        let rows = self.rows();
        rows.contains_key(key).then(|| Ref { rows, key: key.clone() })
    }

    pub(crate) fn entry(&self, key: K) -> Entry<'_, K, V> {
        let rows = self.rows();
        match rows.contains_key(&key) {
            true => Entry::Occupied(OccupiedEntry(Ref { rows, key })),
            false => Entry::Vacant(VacantEntry(Ref { rows, key })),
        }
    }

    pub(crate) fn remove_if(&self, key: &K, is_to_go: impl FnOnce(&K, &V) -> bool) -> Option<V> {
        let mut rows = self.rows();
        match rows.get(key).is_some_and(|value| is_to_go(key, value)) {
            true => rows.remove(key),
            false => None,
        }
    }

    pub(crate) fn retain(&self, mut stays: impl FnMut(&K, &mut V) -> bool) {
        self.rows().retain(|key, value| stays(key, value));
    }
}

impl<K: Ord + Clone, V: Clone> DashMap<K, V> {
    /// The values of one moment; dashmap shows each shard at a moment of its own.
    pub(crate) fn iter(&self) -> std::vec::IntoIter<V> {
        let values: Vec<V> = self.rows().values().cloned().collect();
        values.into_iter()
    }
}

impl<K: Ord, V> Ref<'_, K, V> {
    pub(crate) fn key(&self) -> &K {
        &self.key
    }
}

impl<K: Ord, V> Deref for Ref<'_, K, V> {
    type Target = V;

    fn deref(&self) -> &V {
        &self.rows[&self.key]
    }
}

impl<K: Ord, V> OccupiedEntry<'_, K, V> {
    pub(crate) fn get(&self) -> &V {
        &self.0
    }
}

impl<'a, K: Ord + Clone, V> VacantEntry<'a, K, V> {
    pub(crate) fn key(&self) -> &K {
        &self.0.key
    }

    pub(crate) fn insert(mut self, value: V) -> Ref<'a, K, V> {
        self.0.rows.insert(self.0.key.clone(), value);
        self.0
    }
}
