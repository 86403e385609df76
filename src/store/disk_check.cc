// Tries a file system out, with the calls that the store itself makes.

#include "io/aligned_buffer.h"
#include "io/file.h"
#include "io/range_lock.h"

#include <cairn/disk_check.h>
#include <cairn/error.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cstring>
#include <functional>
#include <span>
#include <string_view>
#include <utility>

namespace cairn {
namespace {

using Clock = std::chrono::steady_clock;

constexpr std::uint64_t kMinBytes = std::uint64_t{4} << 20;
constexpr std::size_t kTransferBytes = std::size_t{4} << 20;
constexpr std::size_t kBlock = io::File::kDirectBlock;
constexpr int kFlushes = 32;
/// No disk and no controller with a battery answers so soon.
constexpr std::int64_t kUnbelievableFlushNs = 5'000;

io::AlignedBuffer noise(std::size_t bytes) {
  io::AlignedBuffer buffer(bytes);
  io::fill_random(buffer.span());  // a file system that compresses must not look fast
  return buffer;
}

std::uint64_t per_second(std::uint64_t bytes, Clock::duration time) {
  const auto ns =
      std::max<std::int64_t>(std::chrono::duration_cast<std::chrono::nanoseconds>(time).count(), 1);
  return static_cast<std::uint64_t>(static_cast<double>(bytes) * 1e9 / static_cast<double>(ns));
}

std::int64_t median_flush_ns(const io::File& file) {
  const io::AlignedBuffer block = noise(kBlock);
  file.write(0, block.span());
  file.sync();
  std::array<std::int64_t, kFlushes> times{};
  for (std::int64_t& time : times) {
    const auto begin = Clock::now();
    file.write(0, block.span());
    file.sync();
    time = std::chrono::duration_cast<std::chrono::nanoseconds>(Clock::now() - begin).count();
  }
  std::nth_element(times.begin(), times.begin() + kFlushes / 2, times.end());
  return times[kFlushes / 2];
}

/// Runs one check; an error of the system is what was found.
DiskFinding find(std::string need, bool required, const std::function<void(DiskFinding&)>& check) {
  DiskFinding finding{.need = std::move(need), .required = required};
  try {
    check(finding);
  } catch (const Error& error) {
    if (error.code() == ErrorCode::kNoSpace) throw;
    finding.ok = false;
    finding.detail = error.what();
  }
  return finding;
}

void say(DiskFinding& finding, bool ok, std::string_view good, std::string_view bad) {
  finding.ok = ok;
  finding.detail = ok ? good : bad;
}

}  // namespace

DiskCheck::DiskCheck(const std::filesystem::path& directory, const DiskCheckOptions& options)
    : options_(options) {
  if (options.bytes < kMinBytes) {
    throw Error(ErrorCode::kInvalidArgument,
                "a disk is checked with at least " + std::to_string(kMinBytes) + " bytes");
  }
  options_.bytes = options.bytes / kTransferBytes * kTransferBytes;
  const auto id = io::file_id(directory);
  if (!id) throw Error(ErrorCode::kNotFound, "there is no such directory", {.path = directory});
  if (io::path_kind(directory / ".") != io::PathKind::kDirectory) {
    throw Error(ErrorCode::kInvalidArgument, "this is no directory", {.path = directory});
  }
  // Not by trying: a reservation that fails halfway has filled the disk for everyone meanwhile.
  const auto free = io::free_bytes(directory);
  if (free && *free < options_.bytes) {
    throw Error(ErrorCode::kNoSpace,
                "no space for a check with " + std::to_string(options_.bytes) +
                    " bytes: " + std::to_string(*free) + " are free; check with fewer",
                {.path = directory});
  }
  std::array<std::byte, 4> random{};
  io::fill_random(random);
  std::uint32_t number = 0;
  std::memcpy(&number, random.data(), sizeof number);
  const std::filesystem::path scratch =
      directory /
      ("cairn-selftest-" + std::to_string(io::process_id()) + "-" + std::to_string(number));
  io::make_directory(scratch);
  scratch_ = scratch;
}

DiskCheck::~DiskCheck() {
  io::remove_tree(scratch_);
}

std::vector<DiskFinding> DiskCheck::findings() const {
  std::vector<DiskFinding> all;
  const std::filesystem::path path = scratch_ / "needs";
  io::File file = io::File::create_new(path);
  file.resize(kMinBytes);
  io::AlignedBuffer data = noise(kMinBytes);

  all.push_back(find("file system", true, [&](DiskFinding& finding) {
    const auto network = io::network_file_system(scratch_);
    say(finding, !network, "local",
        network ? std::string(*network) +
                      " is a network file system: its locks and flushes may not hold"
                : std::string());
  }));
  all.push_back(find("lasting", false, [&](DiskFinding& finding) {
    say(finding, !io::on_memory_file_system(scratch_), "on a device",
        "in memory: everything is gone after a reboot");
  }));
  all.push_back(find("locks", true, [&](DiskFinding& finding) {
    const io::File other = io::File::open(path, io::File::Access::kReadWrite);
    const bool taken = io::lock_byte(file, 0, io::LockKind::kExclusive);
    const bool excludes = !io::lock_byte(other, 0, io::LockKind::kExclusive);
    io::unlock_byte(file, 0);
    const bool released = io::lock_byte(other, 0, io::LockKind::kExclusive);
    say(finding, taken && excludes && released, "one holder at a time",
        "a lock does not keep another holder out: two writers would destroy a store");
  }));
  all.push_back(find("flush", true, [&](DiskFinding& finding) {
    file.write(0, data.span());
    file.sync();
    file.sync_all();
    io::sync_directory(scratch_);
    finding.detail = "files and directories";
  }));
  all.push_back(find("rename", true, [&](DiskFinding& finding) {
    const auto from = scratch_ / "from";
    const auto to = scratch_ / "to";
    const io::FileId id = io::File::create_new(from).id();
    io::File::create_new(to);
    io::rename_file(from, to);
    say(finding, io::path_kind(from) == io::PathKind::kAbsent && io::file_id(to) == id,
        "replaces the old file", "a renamed file is not found under its new name alone");
  }));
  all.push_back(find("reads back", true, [&](DiskFinding& finding) {
    file.drop_cached(0, kMinBytes);
    io::AlignedBuffer back(kMinBytes);
    file.read_exactly(0, back.span());
    say(finding, std::memcmp(back.data(), data.data(), kMinBytes) == 0,
        "the bytes that were written", "other bytes than were written");
  }));
  all.push_back(find("direct I/O", false, [&](DiskFinding& finding) {
    if (!file.enable_direct()) {
      say(finding, false, "", "refused: large saves go through the page cache, slower");
      return;
    }
    file.write_direct(kBlock, std::span<const std::byte>(data.span()).first(kMinBytes - kBlock));
    io::AlignedBuffer back(kMinBytes - kBlock);
    const std::size_t got = file.read_some_direct(kBlock, back.span());
    const bool same = got == back.size() && std::memcmp(back.data(), data.data(), got) == 0;
    finding.required = !same;  // refusing is fine, wrong bytes are not
    say(finding, same, "works", "gives other bytes than were written");
  }));
  all.push_back(find("preallocation", false, [&](DiskFinding& finding) {
    say(finding, file.reserve(kMinBytes, kMinBytes), "works",
        "refused: a full disk is noticed later, and new space is slower");
  }));
  all.push_back(find("hole punching", false, [&](DiskFinding& finding) {
    if (!file.punch(kBlock, 2 * kBlock)) {
      say(finding, false, "", "refused: compact can only cut the end of a pack");
      return;
    }
    std::array<std::byte, 2 * kBlock> back{};
    file.read_exactly(kBlock, back);
    const bool zeros =
        std::all_of(back.begin(), back.end(), [](std::byte b) { return b == std::byte{}; });
    finding.required = !zeros;
    say(finding, zeros, "works", "a hole does not read as zeros");
  }));
  all.push_back(find("flush takes time", false, [&](DiskFinding& finding) {
    const bool real = median_flush_ns(file) >= kUnbelievableFlushNs;
    say(finding, real, "as a disk needs",
        "a flush returns too soon to have reached a disk: power loss may undo what Cairn has "
        "acknowledged");
  }));
  file.close();
  io::remove_file(path);
  return all;
}

DiskFloors DiskCheck::floors() const {
  const std::filesystem::path path = scratch_ / "floors";
  const std::uint64_t bytes = options_.bytes;
  io::AlignedBuffer data = noise(kTransferBytes);
  io::AlignedBuffer back(kTransferBytes);
  std::uint64_t done = 0;
  const auto each = [&](const auto& transfer) {
    for (std::uint64_t at = 0; at < bytes; at += kTransferBytes) {
      transfer(at);
      done += kTransferBytes;
      if (options_.progress) options_.progress({.done_bytes = done, .total_bytes = 3 * bytes});
    }
  };
  DiskFloors floors;
  io::File file = io::File::create_new(path);
  file.reserve(0, bytes);  // so that no transfer ends for want of space
  floors.flush_ns = median_flush_ns(file);

  auto begin = Clock::now();
  each([&](std::uint64_t at) { file.write(at, data.span()); });
  file.sync();
  floors.buffered_write = per_second(bytes, Clock::now() - begin);

  const bool direct = file.enable_direct();
  file.drop_cached(0, bytes);
  begin = Clock::now();
  each([&](std::uint64_t at) {
    const std::size_t got =
        direct ? file.read_some_direct(at, back.span()) : file.read_some(at, back.span());
    if (got != kTransferBytes) {
      throw Error(ErrorCode::kIo, "the file ends before its end", {.path = path, .offset = at});
    }
  });
  floors.read = per_second(bytes, Clock::now() - begin);

  if (direct) {
    begin = Clock::now();
    each([&](std::uint64_t at) { file.write_direct(at, data.span()); });
    file.sync();
    floors.direct_write = per_second(bytes, Clock::now() - begin);
  }
  file.close();
  io::remove_file(path);
  return floors;
}

}  // namespace cairn
