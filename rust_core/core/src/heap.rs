//! The allocator's own memory.

/// Give free memory back to the system. glibc keeps what lies between pieces in use: after many indexes came and went that
/// is as much as they take. Takes a few milliseconds; allocations of other threads may wait for part of it.
pub fn give_back() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    // SAFETY: it takes a number and touches nothing but what is free.
    unsafe {
        libc::malloc_trim(0);
    }
}
