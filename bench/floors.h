// What the machine can do at best: the same bytes by the plainest means, without any of Cairn's
// code. All memory is touched before it is timed, and used again from round to round.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <span>

struct MDB_env;

namespace cairn::bench {

/// Memory that has been touched, aligned to 2 MiB.
class Memory {
 public:
  explicit Memory(std::size_t bytes);
  std::span<std::byte> span() const noexcept { return {data_.get(), bytes_}; }
  std::byte* data() const noexcept { return data_.get(); }

 private:
  struct Delete {
    void operator()(std::byte* data) const noexcept;
  };
  std::unique_ptr<std::byte[], Delete> data_;
  std::size_t bytes_;
};

void fill_random(std::span<std::byte> out, std::uint64_t seed);

/// Threads for work that keeps a core busy: the cores, at most 8, as Cairn uses.
std::size_t busy_threads();

double memcpy_seconds(std::span<std::byte> to, std::span<const std::byte> from,
                      std::size_t threads);
double hash_seconds(std::span<const std::byte> bytes, std::size_t threads);

/// Requests of 4 MiB, so many at once, by O_DIRECT, then fdatasync. The file is as long already
/// (`overwrite`), or is made by this (append). Where the file system refuses O_DIRECT: buffered.
enum class Target { kOverwrite, kAppend };
double write_seconds(const std::filesystem::path& file, Target target, std::uint64_t bytes);

/// The same for reading, into buffers that are used again.
double read_seconds(const std::filesystem::path& file, std::uint64_t bytes);

/// Makes the kernel forget the file's pages.
void forget_pages(const std::filesystem::path& file);

/// Overwrites 4 KiB of a file that has them, and flushes it.
class SmallOverwrite {
 public:
  explicit SmallOverwrite(const std::filesystem::path& file);
  ~SmallOverwrite();
  double seconds();

 private:
  int descriptor_;
  std::uint64_t next_ = 0;
};

/// One commit of LMDB that puts one row, in a database of its own.
class SmallCommit {
 public:
  explicit SmallCommit(const std::filesystem::path& file);
  ~SmallCommit();
  double seconds();

 private:
  MDB_env* environment_ = nullptr;
  unsigned table_ = 0;
  std::uint64_t next_ = 0;
};

}  // namespace cairn::bench
