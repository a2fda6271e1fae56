//! Whether many files can be made durable by one call instead of each by one of its own.
//!
//! `syncfs` does that, and since Linux 5.8 it tells of writes that failed, where the file system keeps count of them. Those of
//! networks and of programs are not relied on: whether the call reaches what is behind them is their affair.

use std::os::fd::OwnedFd;

/// The magic numbers of ext2 to ext4, XFS, Btrfs, F2FS and tmpfs.
#[cfg(target_os = "linux")]
const KNOWN: [u32; 5] = [0xef53, 0x5846_5342, 0x9123_683e, 0xf2f5_2010, 0x0102_1994];

#[cfg(target_os = "linux")]
pub(super) fn is_possible(folder: &OwnedFd) -> bool {
    let is_known = |stat: rustix::fs::StatFs| KNOWN.iter().any(|known| i128::from(stat.f_type) == i128::from(*known));
    rustix::fs::fstatfs(folder).is_ok_and(is_known) && rustix::system::uname().release().to_str().is_ok_and(tells_of_failures)
}

#[cfg(not(target_os = "linux"))]
pub(super) fn is_possible(_folder: &OwnedFd) -> bool {
    false
}

/// A kernel of that release does.
#[cfg(any(target_os = "linux", test))]
fn tells_of_failures(release: &str) -> bool {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map(str::parse::<u32>);
    matches!((numbers.next(), numbers.next()), (Some(Ok(major)), Some(Ok(minor))) if (major, minor) >= (5, 8))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kernels_since_5_8_tell_of_failures() {
        for (release, tells) in
            [("5.8.0-63-generic", true), ("6.18.44", true), ("10.1", true), ("5.7.19", false), ("4.19.0", false), ("odd", false)]
        {
            assert_eq!(tells_of_failures(release), tells, "{release}");
        }
    }
}
