//! Standard output: a table for a person, NDJSON for a program.
//!
//! On a terminal there are tables, and nothing from a store reaches it without passing
//! [`escape`](crate::escape). Into a pipe or a file, or with `--json`, there is NDJSON and nothing
//! else. Everything else a command says goes to standard error.

use std::io::{self, BufWriter, IsTerminal, Stdout, Write};

use comfy_table::{
    Cell, ColumnConstraint, ContentArrangement, Row, Table, Width, presets::NOTHING,
};
use serde::Serialize;

use crate::escape::{shown_json, shown_lines};
use crate::exit::{Error, Result};

/// Rows whose columns are fitted together. More would keep a reader waiting and take memory.
const ROWS_TOGETHER: usize = 100;

pub(crate) struct Output {
    out: BufWriter<Stdout>,
    json: bool,
    is_terminal: bool,
    color: bool,
}

/// How the user wants standard output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    /// Tables on a terminal, NDJSON elsewhere.
    Auto,
    Json,
    Table,
}

impl Output {
    pub(crate) fn new(format: Format) -> Self {
        let stdout = io::stdout();
        let is_terminal = stdout.is_terminal();
        let json = match format {
            Format::Auto => !is_terminal,
            Format::Json => true,
            Format::Table => false,
        };
        let color = is_terminal && wants_color();
        Output { out: BufWriter::with_capacity(1 << 16, stdout), json, is_terminal, color }
    }

    pub(crate) fn is_json(&self) -> bool {
        self.json
    }

    pub(crate) fn is_terminal(&self) -> bool {
        self.is_terminal
    }

    /// One line of NDJSON.
    pub(crate) fn json_line(&mut self, value: &impl Serialize) -> Result<()> {
        if !self.is_terminal {
            return write_json_line(&mut self.out, value).map_err(|e| Error::output(&e));
        }
        let text = serde_json::to_string(value).map_err(|e| Error::output(&e.into()))?;
        writeln!(self.out, "{}", shown_json(&text)).map_err(|e| Error::output(&e))
    }

    /// Lines for a person.
    pub(crate) fn text(&mut self, text: &str) -> Result<()> {
        writeln!(self.out, "{}", shown_lines(text)).map_err(|e| Error::output(&e))
    }

    /// Bytes as they are: a completion script, a man page.
    pub(crate) fn raw(&mut self, bytes: &[u8]) -> Result<()> {
        self.out.write_all(bytes).map_err(|e| Error::output(&e))
    }

    pub(crate) fn flush(&mut self) -> Result<()> {
        self.out.flush().map_err(|e| Error::output(&e))
    }

    pub(crate) fn table(&self) -> Table {
        let mut table = Table::new();
        table.load_style(NOTHING).set_content_arrangement(ContentArrangement::Dynamic);
        match self.color {
            true => table.enforce_styling(),
            false => table.force_no_tty(),
        };
        if self.is_terminal
            && let Some(width) = table.width()
        {
            table.set_width(width);
        }
        table
    }

    /// Names and values below one another.
    pub(crate) fn facts(&mut self, facts: &[(&str, String)]) -> Result<()> {
        let mut table = self.table();
        for (name, value) in facts {
            let value = Cell::new(crate::escape::shown(value));
            table.add_row(vec![crate::style::name(name), value]);
        }
        self.print_table(&table)
    }

    fn print_table(&mut self, table: &Table) -> Result<()> {
        // Styled lines have escapes of the table's own; every cell was made harmless before.
        for line in table.lines() {
            let line = if self.color { line.as_str() } else { line.trim_end() };
            writeln!(self.out, "{line}").map_err(|e| Error::output(&e))?;
        }
        Ok(())
    }
}

/// One line of NDJSON, byte for byte as the value has it.
pub(crate) fn write_json_line(out: &mut impl Write, value: &impl Serialize) -> io::Result<()> {
    serde_json::to_writer(&mut *out, value).map_err(io::Error::from)?;
    out.write_all(b"\n")
}

fn wants_color() -> bool {
    let is_set = |name| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    !is_set("NO_COLOR") && std::env::var_os("TERM").is_none_or(|term| term != "dumb")
}

/// Rows that come one after another: as NDJSON at once, as a table some at a time.
pub(crate) struct Listing {
    header: Vec<Cell>,
    rows: Vec<Row>,
    widths: Vec<u16>,
    is_begun: bool,
}

impl Listing {
    pub(crate) fn new(header: &[&str]) -> Self {
        let header: Vec<Cell> = header.iter().copied().map(crate::style::header).collect();
        let widths = vec![0; header.len()];
        Listing { header, rows: Vec::new(), widths, is_begun: false }
    }

    /// Adds a row: `json` for programs, `cells` for people. The cells' text is harmless.
    pub(crate) fn row(
        &mut self,
        out: &mut Output,
        json: &impl Serialize,
        cells: impl FnOnce() -> Vec<Cell>,
    ) -> Result<()> {
        if out.is_json() {
            return out.json_line(json);
        }
        self.rows.push(Row::from(cells()));
        if self.rows.len() >= ROWS_TOGETHER { self.show(out) } else { Ok(()) }
    }

    /// Shows what there is so far.
    pub(crate) fn show(&mut self, out: &mut Output) -> Result<()> {
        if self.rows.is_empty() {
            return out.flush();
        }
        let mut table = out.table();
        if !self.is_begun {
            table.set_header(std::mem::take(&mut self.header));
            self.is_begun = true;
        }
        table.add_rows(std::mem::take(&mut self.rows));
        let last = self.widths.len().saturating_sub(1);
        for (index, width) in table.column_max_content_widths().into_iter().enumerate() {
            // The last column takes what is left of the terminal.
            if index == last {
                continue;
            }
            if let (Some(known), Some(column)) =
                (self.widths.get_mut(index), table.column_mut(index))
            {
                *known = width.max(*known).min(48);
                let padded = known.saturating_add(column.padding_width());
                column.set_constraint(ColumnConstraint::LowerBoundary(Width::Fixed(padded)));
            }
        }
        out.print_table(&table)?;
        out.flush()
    }
}
