//! redb's own pages, checked before redb reads them.
//!
//! redb checks its pages when it repairs a file, and trusts them otherwise. Where one of those
//! rotted that say which pages are free, redb panics in the middle of a commit, and again while it
//! cleans up, which ends the process. So these pages are compared with their checksums on opening:
//! the trees of tables, and all of redb's own tables. They take some 130 KiB for each GiB of the
//! file. Pages of the driver's tables are not read: damage there costs only what they hold.
//!
//! What stands where is redb's file format 3. Whatever is not as expected in the header is left to
//! redb, which checks that itself.

use std::io;

use twox_hash::XxHash3_128;

use crate::driver::redb::disk::files::DiskFile;

const PAGE: u64 = 4096;
const HEADER_BYTES: usize = 320;
/// In the byte after the magic number: which slot holds the last commit, and whether that slot can
/// be trusted.
const FLAGS: usize = 9;
const SECOND_SLOT: u8 = 1;
const TWO_PHASE_COMMIT: u8 = 4;
const SLOTS: [usize; 2] = [64, 192];
const SLOT_BYTES: usize = 128;
const LEAF: u8 = 1;
const BRANCH: u8 = 2;
const NORMAL_TABLE: u8 = 3;
/// redb's largest page has 2^20 small ones.
const MOST_ORDER: u64 = 20;

/// A tree's root, and the widths of its keys and values where these are fixed.
#[derive(Clone, Copy)]
struct Tree {
    root: u64,
    checksum: u128,
    key: Option<usize>,
    value: Option<usize>,
}

/// Says which page is damaged, if one is.
///
/// # Errors
///
/// The file cannot be read.
pub(in crate::driver::redb) fn find_damage(file: &dyn DiskFile) -> io::Result<Option<String>> {
    let size = file.size()?;
    if size < HEADER_BYTES as u64 {
        return Ok(None);
    }
    let mut header = [0; HEADER_BYTES];
    file.read_at(0, &mut header)?;
    let Some((pages, roots)) = Pages::new(file, size, &header) else { return Ok(None) };
    let [user, system] = roots;
    let mut tables = Vec::new();
    let found = match pages.check(user, None)? {
        None => pages.check(system, Some(&mut tables))?,
        damage => damage,
    };
    if found.is_some() {
        return Ok(found);
    }
    for table in tables {
        if let Some(damage) = pages.check(Some(table), None)? {
            return Ok(Some(damage));
        }
    }
    Ok(None)
}

struct Pages<'a> {
    file: &'a dyn DiskFile,
    size: u64,
    region_bytes: u64,
    /// Where a region's pages begin.
    first_page: u64,
}

impl<'a> Pages<'a> {
    /// The roots of the last commit: of the driver's tables, and of redb's own. `None` where redb
    /// repairs the file, or refuses it by its header.
    fn new(
        file: &'a dyn DiskFile,
        size: u64,
        header: &[u8; HEADER_BYTES],
    ) -> Option<(Self, [Option<Tree>; 2])> {
        let flags = *header.get(FLAGS)?;
        if flags & TWO_PHASE_COMMIT == 0 || u64::from(u32_at(header, 12)?) != PAGE {
            return None;
        }
        let first_page = PAGE * u64::from(u32_at(header, 16)?);
        let region_bytes = first_page + PAGE * u64::from(u32_at(header, 20)?);
        let from = SLOTS.get(usize::from(flags & SECOND_SLOT))?;
        let slot = header.get(*from..from + SLOT_BYTES)?;
        let (content, sum) = slot.split_at(SLOT_BYTES - 16);
        if XxHash3_128::oneshot(content) != u128_at(sum, 0)? {
            return None;
        }
        let root = |is_there: usize, at: usize| match slot.get(is_there) {
            Some(0) | None => None,
            Some(_) => root_at(slot, at),
        };
        Some((Pages { file, size, region_bytes, first_page }, [root(1, 8), root(2, 40)]))
    }

    /// Compares all pages of a tree with their checksums. Hands out the tables of a tree of tables.
    fn check(
        &self,
        tree: Option<Tree>,
        mut tables: Option<&mut Vec<Tree>>,
    ) -> io::Result<Option<String>> {
        let Some(tree) = tree else { return Ok(None) };
        let mut open = vec![(tree.root, tree.checksum)];
        let mut left = self.size / PAGE;
        let mut page = Vec::new();
        while let Some((number, checksum)) = open.pop() {
            let Some(offset) = self.place(number, &mut page) else {
                return Ok(Some(format!("page {number:#x} stands behind the end")));
            };
            self.file.read_at(offset, &mut page)?;
            let content = content(&page, &tree);
            let is_sound = content.is_some_and(|it| XxHash3_128::oneshot(it) == checksum);
            // Pages that lead back to one another would be walked for ever.
            let Some(fewer) = left.checked_sub(1).filter(|_| is_sound) else {
                return Ok(Some(format!("the page at byte {offset} has a wrong checksum")));
            };
            left = fewer;
            match page.first() {
                Some(&BRANCH) => children(&page, &mut open),
                _ => tables.iter_mut().for_each(|tables| tables_of(&page, tables)),
            }
        }
        Ok(None)
    }

    /// Where the page stands; `page` gets its size. `None` if that is not in the file.
    fn place(&self, number: u64, page: &mut Vec<u8>) -> Option<u64> {
        let order = number >> 59;
        let bytes = PAGE << order.min(MOST_ORDER);
        let index = number & (0xf_ffff >> order.min(MOST_ORDER));
        let region = number >> 20 & 0xf_ffff;
        let in_region = PAGE + self.first_page + index * bytes;
        let offset = region.checked_mul(self.region_bytes)?.checked_add(in_region)?;
        if order > MOST_ORDER || offset.checked_add(bytes)? > self.size {
            return None;
        }
        page.resize(bytes as usize, 0);
        Some(offset)
    }
}

/// What the checksum of a page covers.
fn content<'p>(page: &'p [u8], tree: &Tree) -> Option<&'p [u8]> {
    let rows = usize::from(u16_at(page, 2)?);
    let last = rows.checked_sub(1)?;
    let end = match *page.first()? {
        LEAF => {
            let keys_from = 4 + ends_bytes(tree.key, rows) + ends_bytes(tree.value, rows);
            let values_from = match tree.key {
                Some(width) => keys_from + width.checked_mul(rows)?,
                None => u32_at(page, 4 + 4 * last)? as usize,
            };
            match tree.value {
                Some(width) => values_from.checked_add(width.checked_mul(rows)?)?,
                None => u32_at(page, 4 + ends_bytes(tree.key, rows) + 4 * last)? as usize,
            }
        }
        BRANCH => {
            let ends_from = 8 + (16 + 8) * (rows + 1);
            match tree.key {
                Some(width) => ends_from + width.checked_mul(rows)?,
                None => u32_at(page, ends_from + 4 * last)? as usize,
            }
        }
        _ => return None,
    };
    page.get(..end)
}

/// What the ends of so many keys or values take.
fn ends_bytes(width: Option<usize>, rows: usize) -> usize {
    if width.is_some() { 0 } else { 4 * rows }
}

/// The pages below a branch, whose checksum is right, each with its checksum.
fn children(page: &[u8], open: &mut Vec<(u64, u128)>) {
    let count = usize::from(u16_at(page, 2).unwrap_or(0)) + 1;
    let child = |n| Some((u64_at(page, 8 + 16 * count + 8 * n)?, u128_at(page, 8 + 16 * n)?));
    open.extend((0..count).filter_map(child));
}

/// The tables of a leaf, whose checksum is right, in a tree of tables.
fn tables_of(page: &[u8], tables: &mut Vec<Tree>) {
    let rows = usize::from(u16_at(page, 2).unwrap_or(0));
    let table = |row: usize| {
        let from = match row.checked_sub(1) {
            Some(before) => u32_at(page, 4 + 4 * rows + 4 * before)?,
            None => u32_at(page, 4 + 4 * rows.checked_sub(1)?)?,
        };
        let definition = page.get(from as usize..)?;
        let width = |at: usize| match definition.get(at) {
            Some(1) => u32_at(definition, at + 1).map(|width| width as usize),
            _ => None,
        };
        let has_pages = definition.first() == Some(&NORMAL_TABLE) && definition.get(9) == Some(&1);
        let root = root_at(definition, 10).filter(|_| has_pages)?;
        Some(Tree { key: width(42), value: width(47), ..root })
    };
    tables.extend((0..rows).filter_map(table));
}

/// The root of a tree whose keys and values have no fixed width.
fn root_at(bytes: &[u8], at: usize) -> Option<Tree> {
    let (root, checksum) = (u64_at(bytes, at)?, u128_at(bytes, at + 8)?);
    Some(Tree { root, checksum, key: None, value: None })
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_le_bytes(*bytes.get(at..)?.first_chunk()?))
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(*bytes.get(at..)?.first_chunk()?))
}

fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_le_bytes(*bytes.get(at..)?.first_chunk()?))
}

fn u128_at(bytes: &[u8], at: usize) -> Option<u128> {
    Some(u128::from_le_bytes(*bytes.get(at..)?.first_chunk()?))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::sync::Arc;

    use redb::{Database, TableDefinition};

    use super::*;
    use crate::driver::redb::disk::redb_file::RedbFile;
    use crate::driver::redb::disk::reserve::DiskReserve;
    use crate::driver::redb::samples::{Plain, PlainDisk};

    const ROWS: TableDefinition<'static, u64, &[u8]> = TableDefinition::new("rows");

    /// redb's file after some commits, closed or left as by a kill.
    fn file(is_closed: bool) -> Arc<Plain> {
        let file = Arc::new(Plain::default());
        let backend =
            RedbFile::new(file.clone(), Arc::new(DiskReserve::new(Arc::new(PlainDisk))), None);
        let database = Database::builder().create_with_backend(backend).unwrap();
        for commit in 0..20_u64 {
            let mut transaction = database.begin_write().unwrap();
            transaction.set_quick_repair(true);
            let mut rows = transaction.open_table(ROWS).unwrap();
            for row in 0..20 {
                rows.insert(commit * 7 + row, [1; 600].as_slice()).unwrap();
            }
            drop(rows);
            transaction.commit().unwrap();
        }
        match is_closed {
            true => database.close().unwrap(),
            false => std::mem::forget(database),
        }
        file
    }

    #[test]
    fn sound_files_are_sound_and_each_changed_byte_of_a_page_is_seen() {
        for is_closed in [true, false] {
            let file = file(is_closed);
            assert_eq!(find_damage(&*file).unwrap(), None);
            let size = file.size().unwrap();
            let flip = |at: u64| {
                let mut bytes = file.bytes.lock().unwrap();
                bytes[at as usize] ^= 1 << (at % 8);
            };
            let mut seen = 0;
            for page in 1..size / PAGE {
                // What a page begins with is always covered by its checksum.
                let noticed = (0..40).filter(|byte| {
                    let at = page * PAGE + byte;
                    flip(at);
                    let found = find_damage(&*file).unwrap().is_some();
                    flip(at);
                    found
                });
                match noticed.count() {
                    // Of the driver's tables, or free.
                    0 => {}
                    // One byte means nothing: the second of a page.
                    39 | 40 => seen += 1,
                    some => panic!("{some} of 40 bytes of page {page}"),
                }
            }
            // Both trees of tables, and redb's own tables: two of free pages, one of regions.
            assert!(seen >= 4, "{seen} pages are checked");
        }
    }

    #[test]
    fn no_bytes_harm_it() {
        let file = file(true);
        let sound = file.bytes.lock().unwrap().clone();
        let mut random = fastrand::Rng::with_seed(7);
        for _ in 0..2_000 {
            let mut bytes = sound.clone();
            for _ in 0..random.usize(1..40) {
                let at = random.usize(..bytes.len());
                bytes[at] = random.u8(..);
            }
            // With checksums that are right, so that what they cover is read.
            for slot in SLOTS {
                let sum = XxHash3_128::oneshot(&bytes[slot..slot + 112]);
                bytes[slot + 112..slot + 128].copy_from_slice(&sum.to_le_bytes());
            }
            bytes.truncate(random.usize(HEADER_BYTES..=sound.len()));
            *file.bytes.lock().unwrap() = bytes;
            let _ = find_damage(&*file).unwrap();
        }
    }
}
