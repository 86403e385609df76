// Files and directories. This folder is the one place that makes file system calls, so that tests
// can stand between Cairn and the system by wrapping the calls of these few functions.
//
// Every failure throws `Error` with path, offset and errno: ENOSPC, EDQUOT and EFBIG (a limit on
// the size of files) as no_space, ENOENT and ENOTDIR as not_found where it says so below, EEXIST as
// already_exists, everything else as io. EINTR and short transfers are dealt with inside, but for
// flushes, where EINTR is a failure like any other, and every failure io, also for want of space.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace cairn::io {

/// Identifies a file whatever its name.
struct FileId {
  std::uint64_t device = 0;
  std::uint64_t inode = 0;
  friend auto operator<=>(const FileId&, const FileId&) = default;
};

/// An open file. Move-only; closes on destruction. Threads: positioned calls are safe at once.
class File {
 public:
  enum class Access { kRead, kReadWrite };

  File() = default;
  File(File&& other) noexcept;
  File& operator=(File&& other) noexcept;
  ~File();

  /// Opens an existing regular file. Errors: not_found; io.
  static File open(const std::filesystem::path& path, Access access);
  /// Opens it, or nothing when there is none.
  static std::optional<File> open_if_exists(const std::filesystem::path& path, Access access);
  /// Makes or empties a file.
  static File create(const std::filesystem::path& path);
  /// Makes a file that must not exist yet. Errors: already_exists; io.
  static File create_new(const std::filesystem::path& path);
  /// Opens a file without changing it, or makes an empty one.
  static File open_or_create(const std::filesystem::path& path);

  bool is_open() const noexcept { return descriptor_ >= 0; }
  int descriptor() const noexcept { return descriptor_; }
  const std::filesystem::path& path() const noexcept { return path_; }
  void close() noexcept;

  std::uint64_t bytes() const;
  std::uint64_t allocated_bytes() const;  ///< What the file occupies, holes excluded.
  FileId id() const;

  /// Reads up to `out.size()` bytes at `offset`; fewer only at the end of the file.
  std::size_t read_some(std::uint64_t offset, std::span<std::byte> out) const;
  /// Reads exactly `out.size()` bytes. Errors: truncated when the file ends first.
  void read_exactly(std::uint64_t offset, std::span<std::byte> out) const;
  void write(std::uint64_t offset, std::span<const std::byte> bytes) const;

  /// Opens the file a second time, for transfers past the page cache, if its file system allows
  /// them in blocks of kDirectBlock; see direct.cc for how it is asked and for what holds when both
  /// ways are used on one file. False where it does not: the two functions below then do as
  /// `read_some` and `write`. Errors: io.
  bool enable_direct();
  bool is_direct() const noexcept { return direct_ >= 0; }
  static constexpr std::size_t kDirectBlock = 4096;
  /// As `read_some` and `write`. Offset, length and memory are multiples of kDirectBlock, else
  /// these, too, go through the page cache.
  std::size_t read_some_direct(std::uint64_t offset, std::span<std::byte> out) const;
  void write_direct(std::uint64_t offset, std::span<const std::byte> bytes) const;
  /// True when the page cache holds all of the range, or when that cannot be told.
  bool is_cached(std::uint64_t offset, std::uint64_t bytes) const;

  /// Makes data and size durable (`fdatasync`); `sync_all` with all attributes (`fsync`).
  /// After a failure the file's unsynced contents are unknown: never retry.
  void sync() const;
  void sync_all() const;
  void resize(std::uint64_t bytes) const;
  /// Reserves disk space for [offset, offset + bytes) without changing size or contents. False when
  /// the file system cannot. Errors: no_space; a part may stay reserved, which beyond the end of
  /// the file `resize` gives back.
  bool reserve(std::uint64_t offset, std::uint64_t bytes) const;
  /// Gives the disk space of a range back; it reads as zeros then. False when it cannot.
  bool punch(std::uint64_t offset, std::uint64_t bytes) const;
  /// Asks the system to forget what it holds of a range in memory, so that the next read comes from
  /// the disk. Advice: what is unwritten, mapped or in use stays.
  void drop_cached(std::uint64_t offset, std::uint64_t bytes) const noexcept;

 private:
  File(int descriptor, std::filesystem::path path) noexcept
      : descriptor_(descriptor), path_(std::move(path)) {}
  static std::optional<File> try_open(const std::filesystem::path& path, int flags);

  int descriptor_ = -1;
  int direct_ = -1;  // opened with O_DIRECT, or none
  std::filesystem::path path_;
};

/// What stands at a path, without following a link at its end.
enum class PathKind { kAbsent, kFile, kDirectory, kOther };
PathKind path_kind(const std::filesystem::path& path);

/// Identity of what stands at a path, links followed, or nothing when nothing does.
std::optional<FileId> file_id(const std::filesystem::path& path);

/// Names in a directory, sorted, without "." and "..". Errors: not_found; io.
std::vector<std::string> list_directory(const std::filesystem::path& directory);

/// Makes one directory; false when it is there already.
bool make_directory(const std::filesystem::path& directory);

/// Makes names in a directory durable (`fsync` of the directory; "" is the current one).
void sync_directory(const std::filesystem::path& directory);

void rename_file(const std::filesystem::path& from, const std::filesystem::path& to);
/// Removes a file; false when there is none.
bool remove_file(const std::filesystem::path& path);

/// Bytes that this user may still write where `path` lies; nothing where the system does not say.
std::optional<std::uint64_t> free_bytes(const std::filesystem::path& path) noexcept;

/// Removes what stands at a path with everything below it, as far as that goes; follows no link.
void remove_tree(const std::filesystem::path& path) noexcept;

/// Name of the network file system that holds `path` ("nfs", "cifs", ...), or nothing for a local
/// one, and for FUSE, which does not say. The path must exist. Source: statfs(2), f_type.
std::optional<std::string_view> network_file_system(const std::filesystem::path& path);

/// True when the file system that holds `path` is mounted read-only.
bool on_read_only_file_system(const std::filesystem::path& path);

/// True where files live in memory and are gone after a reboot (tmpfs, ramfs). Errors: io.
bool on_memory_file_system(const std::filesystem::path& path);

std::string host_name();
std::int64_t process_id();
/// Random bytes from the system.
void fill_random(std::span<std::byte> out);
/// Wall clock, nanoseconds since 1970.
std::int64_t unix_time_ns();

}  // namespace cairn::io
