//! What the measuring machine says of itself, of a directory and of this process.

use std::fs;
use std::path::Path;
use std::process::Command;

/// One line about the machine: processor, cores, memory, kernel, and the file system of `directory`.
pub(crate) fn description(directory: &Path) -> String {
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let processor = field("/proc/cpuinfo", "model name").unwrap_or_else(|| "processor".to_owned());
    let memory = field("/proc/meminfo", "MemTotal")
        .and_then(|text| text.split_whitespace().next()?.parse::<u64>().ok())
        .map_or(String::new(), |kib| format!(", {} GiB of memory", (kib + (1 << 19)) >> 20));
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease")
        .map_or(String::new(), |release| format!(", Linux {}", release.trim()));
    let file_system = file_system(directory).map_or(String::new(), |name| format!(", {name}"));
    format!("{processor}, {cores} cores{memory}{kernel}{file_system}")
}

fn field(file: &str, name: &str) -> Option<String> {
    let text = fs::read_to_string(file).ok()?;
    let line = text.lines().find(|line| line.starts_with(name))?;
    Some(line.split_once(':')?.1.trim().to_owned())
}

fn file_system(directory: &Path) -> Option<String> {
    let output = Command::new("stat").args(["-f", "-c", "%T"]).arg(directory).output().ok()?;
    let name = String::from_utf8(output.stdout).ok()?.trim().replace("ext2/ext3", "ext4");
    (!name.is_empty()).then_some(name)
}

/// The compiler this is built with.
pub(crate) fn compiler() -> String {
    let version = Command::new("rustc").arg("--version").output();
    version.map_or_else(
        |_| "rustc".to_owned(),
        |output| String::from_utf8_lossy(&output.stdout).trim().to_owned(),
    )
}

/// The most memory this process ever had resident, where the system tells.
pub(crate) fn peak_memory_bytes() -> Option<u64> {
    let kib = field("/proc/self/status", "VmHWM")?;
    Some(kib.split_whitespace().next()?.parse::<u64>().ok()? << 10)
}

/// The disk that a directory takes: allocated blocks, not lengths.
pub(crate) fn disk_bytes(directory: &Path) -> u64 {
    use std::os::unix::fs::MetadataExt;

    let entries = fs::read_dir(directory).unwrap().map(Result::unwrap);
    entries
        .map(|entry| match entry.file_type().unwrap().is_dir() {
            true => disk_bytes(&entry.path()),
            false => entry.metadata().unwrap().blocks() * 512,
        })
        .sum()
}
