// Transfers past the page cache (O_DIRECT), and how they go together with those through it.
//
// Asking. statx(2) with STATX_DIOALIGN says whether a file takes direct transfers, and in what
// blocks (Linux 6.1 and later, most file systems). Where that says nothing, one aligned read of the
// file's first block tries it: file systems that cannot answer EINVAL to it, or to the open before.
//
// Both ways on one file. open(2) warns of mixing them on one range; this is why it is safe here:
//  1. Linux writes the range's dirty pages back before a direct transfer, and drops its pages from
//     the cache before and after a direct write (generic_file_direct_write, iomap_dio_rw). So each
//     way sees what the other did before. What can go wrong needs pages that are mapped into
//     memory, and used while the transfer is on its way; the pack is never mapped to be read.
//  2. Direct writes go in whole blocks to extents, which belong to nobody while they are written.
//     Superblocks and slots, smaller than a block, are written through the cache alone, and lie in
//     pages of their own.
//  3. fdatasync on the first descriptor makes both durable: it writes back the file's dirty pages,
//     commits what the file system's journal holds of it, and flushes the device's cache, which is
//     where direct writes are.
//
// What the system cuts short goes on through the cache, which takes any length; so does a transfer
// that it refuses with EINVAL after all.
#include "io/aligned_buffer.h"
#include "io/failure.h"
#include "io/file.h"

#include <algorithm>
#include <array>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>
#include <vector>

namespace cairn::io {
namespace {

constexpr std::size_t kMaxPieceBytes = std::size_t{1} << 30;

enum class Answer { kYes, kNo, kUnknown };

Answer ask_statx([[maybe_unused]] int descriptor) noexcept {
#ifdef STATX_DIOALIGN
  struct statx status {};
  if (::statx(descriptor, "", AT_EMPTY_PATH, STATX_DIOALIGN, &status) != 0) return Answer::kUnknown;
  if ((status.stx_mask & STATX_DIOALIGN) == 0) return Answer::kUnknown;
  const auto fits = [](std::uint32_t block) {
    return block != 0 && File::kDirectBlock % block == 0;
  };
  return fits(status.stx_dio_mem_align) && fits(status.stx_dio_offset_align) ? Answer::kYes
                                                                             : Answer::kNo;
#else
  return Answer::kUnknown;
#endif
}

bool try_read(int descriptor) {
  AlignedBuffer block(File::kDirectBlock);
  return retry_interrupted([&] { return ::pread(descriptor, block.data(), block.size(), 0); }) >= 0;
}

bool is_aligned(std::uint64_t offset, std::span<const std::byte> memory) noexcept {
  return (offset | memory.size() | reinterpret_cast<std::uintptr_t>(memory.data())) %
             File::kDirectBlock ==
         0;
}

}  // namespace

bool File::enable_direct() {
  const Answer answer = ask_statx(descriptor_);
  if (answer == Answer::kNo) return false;
  const int flags = ::fcntl(descriptor_, F_GETFL);
  if (flags < 0) fail(errno, "cannot inspect", path_);
  File second;
  second.path_ = path_;  // before there is a descriptor that a failure here could lose
  second.descriptor_ = retry_interrupted(
      [&] { return ::open(path_.c_str(), (flags & O_ACCMODE) | O_DIRECT | O_CLOEXEC); });
  if (!second.is_open()) return false;
  // The path may lead to another file by now.
  if (second.id() != id()) return false;
  if (answer == Answer::kUnknown && !try_read(second.descriptor_)) return false;
  direct_ = std::exchange(second.descriptor_, -1);
  return true;
}

std::size_t File::read_some_direct(std::uint64_t offset, std::span<std::byte> out) const {
  std::size_t done = 0;
  while (is_direct() && done < out.size() && is_aligned(offset + done, out.subspan(done))) {
    const std::size_t piece = std::min(out.size() - done, kMaxPieceBytes);
    const ssize_t got = retry_interrupted([&] {
      return ::pread(direct_, out.data() + done, piece, static_cast<off_t>(offset + done));
    });
    if (got < 0 && errno == EINVAL) break;
    if (got < 0) fail(errno, "cannot read", path_, offset + done);
    if (got == 0) return done;
    done += static_cast<std::size_t>(got);
  }
  return done + read_some(offset + done, out.subspan(done));
}

void File::write_direct(std::uint64_t offset, std::span<const std::byte> bytes) const {
  std::size_t done = 0;
  while (is_direct() && done < bytes.size() && is_aligned(offset + done, bytes.subspan(done))) {
    const std::size_t piece = std::min(bytes.size() - done, kMaxPieceBytes);
    const ssize_t put = retry_interrupted([&] {
      return ::pwrite(direct_, bytes.data() + done, piece, static_cast<off_t>(offset + done));
    });
    if (put < 0 && errno == EINVAL) break;
    if (put <= 0) fail(put < 0 ? errno : EIO, "cannot write", path_, offset + done);
    done += static_cast<std::size_t>(put);
  }
  write(offset + done, bytes.subspan(done));
}

// By a map of the range that nobody looks into, so that no page of it is ever put there: mincore(2)
// says which pages are in memory. To a process that may not write to the file it says that all are.
bool File::is_cached(std::uint64_t offset, std::uint64_t bytes) const {
  static const auto page_bytes = static_cast<std::uint64_t>(::sysconf(_SC_PAGESIZE));
  const std::uint64_t begin = offset / page_bytes * page_bytes;
  const std::uint64_t length = offset + bytes - begin;
  if (bytes == 0) return true;
  std::vector<unsigned char> pages((length + page_bytes - 1) / page_bytes);
  void* map =
      ::mmap(nullptr, length, PROT_READ, MAP_SHARED, descriptor_, static_cast<off_t>(begin));
  if (map == MAP_FAILED) return true;
  const bool told = ::mincore(map, length, pages.data()) == 0;
  ::munmap(map, length);
  return !told || std::all_of(pages.begin(), pages.end(),
                              [](unsigned char page) { return (page & 1) != 0; });
}

}  // namespace cairn::io
