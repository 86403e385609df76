#!/usr/bin/env python3
"""No call that changes a file passes the crash recorder by.

    check_calls.py tests/crash/wrap.txt LIBRARY...

Among the symbols that the libraries take from elsewhere, those that change a file, a name or what is
durable must be wrapped.
"""
import re
import subprocess
import sys

# What the recorder understands or forbids stands in wrap.txt. All else that could reach a file:
CHANGES = set("""
creat creat64 open open64 openat openat64 openat2 __open_2 __open64_2 __openat_2 __openat64_2 fopen fopen64 freopen
freopen64 fdopen tmpfile tmpfile64 mkstemp mkstemp64 mkostemp mkostemp64 mkdtemp
write pwrite pwrite64 writev pwritev pwritev64 pwritev2 pwritev64v2 sendfile sendfile64 splice vmsplice tee
copy_file_range aio_write aio_write64 lio_listio io_submit io_uring_enter io_uring_setup syscall ioctl
truncate truncate64 ftruncate ftruncate64 fallocate fallocate64 posix_fallocate posix_fallocate64
fsync fdatasync sync syncfs sync_file_range aio_fsync msync
mmap mmap64 mremap remap_file_pages process_vm_writev
rename renameat renameat2 link linkat symlink symlinkat unlink unlinkat remove rmdir mkdir mkdirat mknod mknodat mkfifo
dup dup2 dup3
""".split())
# Of the standard library's, which is shared, so that wrapping does not reach what it calls.
CXX = re.compile(r"^_ZNSt10filesystem\d+(rename|remove|remove_all|create_\w+|copy\w*|resize_file|permissions|"
                 r"last_write_time)(ER|B5)|_filebuf|fstream")
ALLOWED = {
    # `io::remove_tree`: for the scratch directory of `cairn selftest`, not for a store.
    ("directory.cc.o", "_ZNSt10filesystem10remove_allERKNS_7__cxx114pathERSt10error_code"),
    # std::atomic::wait: a futex.
    ("thread_pool.cc.o", "syscall"),
}


def imported(library):
    """Pairs of an object in the library and a symbol that it takes from elsewhere."""
    out = subprocess.run(["nm", "-A", "-u", library], check=True, capture_output=True, text=True).stdout
    for line in out.splitlines():
        where, kind, symbol = line.rsplit(maxsplit=2)
        # Weak ones (w, v) need not be there, but are called where they are.
        if kind not in "Uwv":
            sys.exit(f"nm says what is not understood here: {line}")
        yield where.split(":")[1], symbol.split("@")[0]


def main():
    wrapped = {line.strip() for line in open(sys.argv[1]) if re.match(r"[A-Za-z_]", line)}
    unseen, seen = set(), set()
    for library in sys.argv[2:]:
        for where, symbol in imported(library):
            if (symbol not in CHANGES and not CXX.search(symbol)) or (where, symbol) in ALLOWED:
                continue
            (seen if symbol in wrapped else unseen).add(symbol)
    # A list of libraries that takes nothing from the system is the wrong list.
    for needed in ("open", "pwrite", "fdatasync", "rename", "mmap"):
        if needed not in seen:
            print(f"{needed} is not among what the libraries take: are these the right ones?")
            return 1
    for symbol in sorted(unseen):
        print(f"{symbol} changes files, and the crash recorder does not stand before it ({sys.argv[1]})")
    if not unseen:
        print(f"{len(seen)} calls that change files, all of them wrapped")
    return bool(unseen)


if __name__ == "__main__":
    sys.exit(main())
