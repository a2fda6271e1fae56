//! File systems that are small or read-only, and processes that may not do everything: what only root can set up is skipped for
//! others, which is said.

use std::{io::Write, path::Path, process::Command};

use crate::run::{Millrace, binary};

/// A small file system of its own.
#[derive(Debug)]
pub struct SmallDisk(tempfile::TempDir);

impl SmallDisk {
    /// None where this user may not mount, which is said.
    pub fn mount(kilobytes: u32) -> Option<Self> {
        let folder = tempfile::TempDir::with_prefix("millrace-disk-").unwrap();
        let mounted = mount(&["-t", "tmpfs", "-o", &format!("size={kilobytes}k"), "millrace-test"], folder.path());
        if !mounted {
            // Not by `println!`: what a passing test prints so is not shown.
            std::io::stdout().write_all(b"skipped: a small file system cannot be mounted here (only root can)\n").unwrap();
        }
        mounted.then_some(Self(folder))
    }

    /// Where it is mounted.
    pub fn path(&self) -> &Path {
        self.0.path()
    }

    /// Makes it larger.
    pub fn grow(&self, kilobytes: u32) {
        assert!(mount(&["-o", &format!("remount,size={kilobytes}k")], self.path()));
    }

    /// From now on nothing can be written to it.
    pub fn read_only(&self) {
        assert!(mount(&["-o", "remount,ro"], self.path()));
    }
}

fn mount(words: &[&str], at: &Path) -> bool {
    Command::new("mount").args(words).arg(at).stderr(std::process::Stdio::null()).status().is_ok_and(|s| s.success())
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(self.0.path()).status();
    }
}

/// The binary as a user to whom permissions apply: to root they do not, unless it gives that power away. None where that cannot be
/// done, which is said.
pub fn without_powers() -> Option<Millrace<'static>> {
    if !rustix::process::geteuid().is_root() {
        return Some(Millrace::new());
    }
    let setpriv = Path::new("/usr/bin/setpriv");
    if !setpriv.exists() {
        std::io::stdout().write_all(b"skipped: root can give no powers away without setpriv\n").unwrap();
        return None;
    }
    let less = ["--bounding-set=-dac_override,-dac_read_search,-fowner", "--inh-caps=-all"];
    Some(Millrace::program(setpriv).args(less).arg(binary()))
}
