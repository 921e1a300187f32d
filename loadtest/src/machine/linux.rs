//! What /proc and /sys say of the machine.

use std::fs;
use std::path::Path;

use procfs::{CpuInfo, Current, Meminfo};

/// The settings that move figures: backlog of connections, socket buffers, congestion control, ports, files.
const SETTINGS: [&str; 9] = [
    "net.core.somaxconn",
    "net.core.rmem_max",
    "net.core.wmem_max",
    "net.ipv4.tcp_rmem",
    "net.ipv4.tcp_wmem",
    "net.ipv4.tcp_congestion_control",
    "net.ipv4.tcp_max_syn_backlog",
    "net.ipv4.ip_local_port_range",
    "fs.file-max",
];

/// The processor's name; its architecture where it has none (most ARM).
pub(super) fn processor() -> String {
    let name = CpuInfo::current().ok().and_then(|info| info.model_name(0).map(str::to_owned));
    name.unwrap_or_else(|| std::env::consts::ARCH.to_owned())
}

/// All that are on, not only those that this process may use.
pub(super) fn cores() -> u32 {
    CpuInfo::current().ok().and_then(|info| u32::try_from(info.num_cores()).ok()).unwrap_or(0)
}

/// All there is.
pub(super) fn memory_bytes() -> u64 {
    Meminfo::current().map_or(0, |memory| memory.mem_total)
}

/// Of the first processor; the others' is the same wherever nobody plays with it.
pub(super) fn governor() -> Option<String> {
    line(Path::new("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor"))
}

/// Whether there is one, the processor says; which, the firmware's maker and product. Those of a machine that is real are
/// nobody's business here.
pub(super) fn hypervisor() -> Option<String> {
    let info = CpuInfo::current().ok()?;
    info.flags(0)?.contains(&"hypervisor").then_some(())?;
    let told = ["sys_vendor", "product_name"].map(|name| line(&Path::new("/sys/class/dmi/id").join(name)));
    let told: Vec<_> = told.into_iter().flatten().collect();
    Some(if told.is_empty() { "unnamed".to_owned() } else { told.join(" ") })
}

/// `name: state` of those that are mitigated: the others cost nothing.
pub(super) fn mitigations() -> Vec<String> {
    let Ok(entries) = fs::read_dir("/sys/devices/system/cpu/vulnerabilities") else { return Vec::new() };
    let mut found: Vec<_> = entries
        .flatten()
        .filter_map(|entry| {
            let state = line(&entry.path())?;
            let mitigation = state.strip_prefix("Mitigation: ")?;
            Some(format!("{}: {mitigation}", entry.file_name().to_string_lossy()))
        })
        .collect();
    found.sort();
    found
}

/// Those of [`SETTINGS`] that this kernel has.
pub(super) fn settings() -> Vec<(String, String)> {
    let value = |name: &&str| line(&Path::new("/proc/sys").join(name.replace('.', "/")));
    SETTINGS.iter().filter_map(|name| Some(((*name).to_owned(), value(name)?))).collect()
}

/// The first line of a file, with single spaces; None if it is empty or not there.
fn line(path: &Path) -> Option<String> {
    let text = fs::read_to_string(path).ok()?;
    let words: Vec<_> = text.lines().next()?.split_whitespace().collect();
    Some(words.join(" ")).filter(|line| !line.is_empty())
}
