//! How cells of tables look. Their text passes [`escape`](crate::escape) here.

use comfy_table::{Attribute, Cell, CellAlignment, Color};

use crate::escape::shown;

pub(crate) fn header(text: &str) -> Cell {
    Cell::new(text).add_attribute(Attribute::Bold)
}

pub(crate) fn name(text: &str) -> Cell {
    Cell::new(shown(text)).add_attribute(Attribute::Dim)
}

pub(crate) fn key(text: &str) -> Cell {
    Cell::new(shown(text)).fg(Color::Cyan)
}

pub(crate) fn number(number: impl std::fmt::Display) -> Cell {
    Cell::new(number).set_alignment(CellAlignment::Right)
}

pub(crate) fn event_type(text: &str) -> Cell {
    Cell::new(shown(text)).fg(Color::Green)
}

pub(crate) fn dim(text: impl AsRef<str>) -> Cell {
    Cell::new(shown(text.as_ref())).add_attribute(Attribute::Dim)
}

pub(crate) fn plain(text: impl AsRef<str>) -> Cell {
    Cell::new(shown(text.as_ref()))
}

/// Bytes for people.
pub(crate) fn bytes(bytes: u64) -> String {
    indicatif::BinaryBytes(bytes).to_string()
}

/// A number with a separator between thousands.
pub(crate) fn count(number: u64) -> String {
    indicatif::HumanCount(number).to_string()
}

/// The seconds of a time for people: `2026-11-27 06:15:13`.
pub(crate) fn time(time: seriatim::Timestamp) -> String {
    let text = time.to_string();
    match text.split_once('T') {
        Some((day, clock)) => format!("{day} {}", clock.split('.').next().unwrap_or(clock)),
        None => text,
    }
}
