//! The locks, atomics and maps of the code whose interleavings are searched: those of std and
//! dashmap, or those of a model checker.
//!
//! Built with `--cfg seriatim_models`, each use is a point at which another thread may go on, as
//! the model checker decides. Only the models in `mailroom::models` run then (`scripts/models`).

#[cfg(seriatim_models)]
mod model_map;

#[cfg(not(seriatim_models))]
pub(crate) use std::sync::{Mutex, MutexGuard, atomic};

#[cfg(not(seriatim_models))]
pub(crate) use dashmap::DashMap;
#[cfg(not(seriatim_models))]
pub(crate) use dashmap::mapref::{entry::Entry, one::Ref};

#[cfg(seriatim_models)]
pub(crate) use model_map::{DashMap, Entry, Ref};
#[cfg(seriatim_models)]
pub(crate) use shuttle::sync::{Mutex, MutexGuard, atomic};
