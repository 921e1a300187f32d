//! What a figure was measured on.

#[cfg_attr(target_os = "linux", path = "machine/linux.rs")]
#[cfg_attr(not(target_os = "linux"), path = "machine/other.rs")]
mod facts;

use serde::{Deserialize, Serialize};

use crate::limits;

/// Facts of the machine, as far as it tells them.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Machine {
    /// Kernel's name and release.
    pub kernel: String,
    /// The processor's name.
    pub processor: String,
    /// Processors there are.
    pub cores: u32,
    /// Bytes of memory.
    pub memory_bytes: u64,
    /// Frequency governor, if there is one.
    pub governor: Option<String>,
    /// A virtual machine's hypervisor, if it says so.
    pub hypervisor: Option<String>,
    /// What the kernel does against the processor's leaks, `name: state`, only those that cost something.
    pub mitigations: Vec<String>,
    /// Kernel settings that move the figures, such as `net.ipv4.tcp_rmem`.
    pub settings: Vec<(String, String)>,
    /// Files a process may have.
    pub files: u64,
}

impl Machine {
    /// This machine. Nothing that names it: no host name, no address, no serial number.
    pub fn here() -> Self {
        let uname = rustix::system::uname();
        let text = |text: &std::ffi::CStr| text.to_string_lossy().into_owned();
        Self {
            kernel: format!("{} {} {}", text(uname.sysname()), text(uname.release()), text(uname.machine())),
            processor: facts::processor(),
            cores: facts::cores(),
            memory_bytes: facts::memory_bytes(),
            governor: facts::governor(),
            hypervisor: facts::hypervisor(),
            mitigations: facts::mitigations(),
            settings: facts::settings(),
            files: limits::files_most(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_machine_tells_its_facts() {
        let machine = Machine::here();
        assert!(machine.kernel.contains(' ') && machine.cores > 0 && machine.files > 0, "{machine:?}");
        #[cfg(target_os = "linux")]
        assert!(machine.memory_bytes > 1 << 20 && !machine.processor.is_empty(), "{machine:?}");
        #[cfg(target_os = "linux")]
        assert!(
            machine.settings.iter().any(|(name, value)| name == "net.ipv4.tcp_rmem" && !value.is_empty())
        );
    }

    #[test]
    fn a_report_does_not_name_the_machine() {
        let name = rustix::system::uname().nodename().to_string_lossy().into_owned();
        let told = format!("{:?}", Machine::here());
        // A short name such as "vm" may be part of anything.
        assert!(name.len() < 5 || !told.contains(&name), "{told}");
    }
}
