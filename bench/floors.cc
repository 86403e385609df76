#include "floors.h"

#include "measure.h"

#include <lmdb.h>

#if defined(__x86_64__) && __has_include(<xxh_x86dispatch.h>)
#include <xxh_x86dispatch.h>  // the variants that Cairn hashes with, too
#else
#include <xxhash.h>
#endif

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstring>
#include <fcntl.h>
#include <new>
#include <sched.h>
#include <stdexcept>
#include <string>
#include <sys/mman.h>
#include <system_error>
#include <thread>
#include <unistd.h>
#include <vector>

namespace cairn::bench {
namespace {

constexpr std::size_t kRequestBytes = std::size_t{4} << 20;
constexpr std::size_t kInFlight = 4;
constexpr std::size_t kHugePage = std::size_t{2} << 20;

/// Runs `work(thread)` on so many threads at once.
template <typename Work>
void on_threads(std::size_t threads, const Work& work) {
  std::vector<std::jthread> others;
  for (std::size_t i = 1; i < threads; ++i) others.emplace_back([&work, i] { work(i); });
  work(0);
}

[[noreturn]] void fail(const std::string& what) {
  throw std::system_error(errno, std::generic_category(), what);
}

int open_file(const std::filesystem::path& file, int flags) {
  int descriptor = ::open(file.c_str(), flags | O_DIRECT | O_CLOEXEC, 0644);
  if (descriptor < 0 && errno == EINVAL) descriptor = ::open(file.c_str(), flags | O_CLOEXEC, 0644);
  if (descriptor < 0) fail("cannot open " + file.string());
  return descriptor;
}

/// One buffer a request in flight, made once.
std::vector<Memory>& buffers() {
  static std::vector<Memory> all = [] {
    std::vector<Memory> made;
    for (std::size_t i = 0; i < kInFlight; ++i) {
      made.emplace_back(kRequestBytes);
      fill_random(made.back().span(), i + 1);
    }
    return made;
  }();
  return all;
}

template <typename Transfer>
void in_requests(std::uint64_t bytes, const Transfer& transfer) {
  std::atomic<std::uint64_t> next{0};
  on_threads(kInFlight, [&](std::size_t thread) {
    for (;;) {
      const std::uint64_t at = next.fetch_add(kRequestBytes);
      if (at >= bytes) return;
      const std::size_t length = std::min<std::uint64_t>(kRequestBytes, bytes - at);
      if (transfer(buffers()[thread].data(), length, at) != static_cast<ssize_t>(length)) {
        fail("a transfer of a floor");
      }
    }
  });
}

}  // namespace

void Memory::Delete::operator()(std::byte* data) const noexcept {
  ::operator delete (data, std::align_val_t{kHugePage});
}

Memory::Memory(std::size_t bytes)
    : data_(static_cast<std::byte*>(::operator new (bytes, std::align_val_t{kHugePage}))),
      bytes_(bytes) {
  ::madvise(data_.get(), bytes, MADV_HUGEPAGE);
  std::memset(data_.get(), 1, bytes);
}

void fill_random(std::span<std::byte> out, std::uint64_t seed) {
  std::uint64_t state = seed * 0x9E3779B97F4A7C15ULL + 1;
  for (std::size_t at = 0; at + sizeof(state) <= out.size(); at += sizeof(state)) {
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    std::memcpy(out.data() + at, &state, sizeof(state));
  }
}

std::size_t busy_threads() {
  cpu_set_t set;
  CPU_ZERO(&set);
  if (::sched_getaffinity(0, sizeof(set), &set) != 0) return 1;
  return std::clamp<std::size_t>(static_cast<std::size_t>(CPU_COUNT(&set)), 1, 8);
}

double memcpy_seconds(std::span<std::byte> to, std::span<const std::byte> from,
                      std::size_t threads) {
  const std::size_t piece = (from.size() + threads - 1) / threads;
  return seconds_of([&] {
    on_threads(threads, [&](std::size_t i) {
      const std::size_t at = std::min(i * piece, from.size());
      std::memcpy(to.data() + at, from.data() + at, std::min(piece, from.size() - at));
    });
  });
}

double hash_seconds(std::span<const std::byte> bytes, std::size_t threads) {
  // By pieces of the size of a chunk, as they lie.
  constexpr std::size_t kPiece = std::size_t{1} << 20;
  static std::atomic<std::uint64_t> sink;
  return seconds_of([&] {
    std::atomic<std::size_t> next{0};
    on_threads(threads, [&](std::size_t) {
      for (;;) {
        const std::size_t at = next.fetch_add(kPiece);
        if (at >= bytes.size()) return;
        sink += XXH3_128bits(bytes.data() + at, std::min(kPiece, bytes.size() - at)).low64;
      }
    });
  });
}

double write_seconds(const std::filesystem::path& file, Target target, std::uint64_t bytes) {
  const bool append = target == Target::kAppend;
  buffers();
  const int descriptor = open_file(file, append ? O_WRONLY | O_CREAT | O_TRUNC : O_WRONLY);
  const double seconds = seconds_of([&] {
    in_requests(bytes, [&](std::byte* data, std::size_t length, std::uint64_t at) {
      return ::pwrite(descriptor, data, length, static_cast<off_t>(at));
    });
    if (::fdatasync(descriptor) != 0) fail("cannot flush a floor's file");
  });
  ::close(descriptor);
  return seconds;
}

double read_seconds(const std::filesystem::path& file, std::uint64_t bytes) {
  buffers();
  const int descriptor = open_file(file, O_RDONLY);
  const double seconds = seconds_of([&] {
    in_requests(bytes, [&](std::byte* data, std::size_t length, std::uint64_t at) {
      return ::pread(descriptor, data, length, static_cast<off_t>(at));
    });
  });
  ::close(descriptor);
  return seconds;
}

void forget_pages(const std::filesystem::path& file) {
  const int descriptor = ::open(file.c_str(), O_RDONLY | O_CLOEXEC);
  if (descriptor < 0) fail("cannot open " + file.string());
  ::fdatasync(descriptor);
  ::posix_fadvise(descriptor, 0, 0, POSIX_FADV_DONTNEED);
  ::close(descriptor);
}

// ---- small writes -------------------------------------------------------------------------------

namespace {
constexpr std::uint64_t kSmallFileBytes = std::uint64_t{1} << 20;
}

SmallOverwrite::SmallOverwrite(const std::filesystem::path& file)
    : descriptor_(::open(file.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0644)) {
  if (descriptor_ < 0) fail("cannot make " + file.string());
  const std::vector<char> zeros(kSmallFileBytes);
  if (::pwrite(descriptor_, zeros.data(), zeros.size(), 0) < 0) fail("cannot write a floor's file");
  ::fsync(descriptor_);
}

SmallOverwrite::~SmallOverwrite() {
  ::close(descriptor_);
}

double SmallOverwrite::seconds() {
  std::vector<std::byte> page(4096);
  fill_random(page, ++next_);
  return seconds_of([&] {
    const auto at = static_cast<off_t>(next_ * 4096 % kSmallFileBytes);
    if (::pwrite(descriptor_, page.data(), page.size(), at) < 0 || ::fdatasync(descriptor_) != 0) {
      fail("cannot write a floor's file");
    }
  });
}

SmallCommit::SmallCommit(const std::filesystem::path& file) {
  const auto check = [](int result) {
    if (result != 0) throw std::runtime_error(mdb_strerror(result));
  };
  check(mdb_env_create(&environment_));
  check(mdb_env_set_mapsize(environment_, std::size_t{1} << 30));
  check(mdb_env_open(environment_, file.c_str(), MDB_NOSUBDIR, 0644));
  MDB_txn* transaction = nullptr;
  check(mdb_txn_begin(environment_, nullptr, 0, &transaction));
  check(mdb_dbi_open(transaction, nullptr, 0, &table_));
  check(mdb_txn_commit(transaction));
}

SmallCommit::~SmallCommit() {
  mdb_env_close(environment_);
}

double SmallCommit::seconds() {
  std::uint64_t key = ++next_ % 64;
  std::uint64_t value[8] = {next_};
  return seconds_of([&] {
    MDB_txn* transaction = nullptr;
    MDB_val lmdb_key{sizeof(key), &key};
    MDB_val lmdb_value{sizeof(value), value};
    if (mdb_txn_begin(environment_, nullptr, 0, &transaction) != 0 ||
        mdb_put(transaction, table_, &lmdb_key, &lmdb_value, 0) != 0 ||
        mdb_txn_commit(transaction) != 0) {
      throw std::runtime_error("a commit of the floor failed");
    }
  });
}

}  // namespace cairn::bench
