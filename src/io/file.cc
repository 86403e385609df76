#include "io/file.h"

#include "io/failure.h"

#include <algorithm>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>
#include <utility>

namespace cairn::io {
namespace {

// One transfer: Linux moves at most 2 GiB - 4 KiB in one call anyway, and a reservation that
// signals interrupt again and again gets on by whole pieces.
constexpr std::uint64_t kMaxPieceBytes = std::uint64_t{1} << 30;

constexpr mode_t kFileMode = 0666;  // The user's umask takes away from it.

std::string_view name_of_kind(mode_t mode) noexcept {
  if (S_ISDIR(mode)) return "a directory";
  if (S_ISFIFO(mode)) return "a named pipe";
  if (S_ISSOCK(mode)) return "a socket";
  if (S_ISCHR(mode) || S_ISBLK(mode)) return "a device";
  return "something else";
}

struct stat stat_of(const File& file) {
  struct stat status {};
  if (::fstat(file.descriptor(), &status) != 0) fail(errno, "cannot inspect", file.path());
  return status;
}

// Goes through [offset, offset + bytes) by fallocate. False when the file system cannot.
bool allocate(const File& file, int mode, std::uint64_t offset, std::uint64_t bytes,
              std::string_view message) {
  for (std::uint64_t done = 0; done < bytes;) {
    const std::uint64_t piece = std::min(bytes - done, kMaxPieceBytes);
    const int result = retry_interrupted([&] {
      return ::fallocate(file.descriptor(), mode, static_cast<off_t>(offset + done),
                         static_cast<off_t>(piece));
    });
    if (result != 0) {
      if (errno == EOPNOTSUPP || errno == ENOSYS) return false;
      fail(errno, message, file.path(), offset + done);
    }
    done += piece;
  }
  return true;
}

}  // namespace

File::File(File&& other) noexcept
    : descriptor_(std::exchange(other.descriptor_, -1)),
      direct_(std::exchange(other.direct_, -1)),
      path_(std::move(other.path_)) {}

File& File::operator=(File&& other) noexcept {
  if (this != &other) {
    close();
    descriptor_ = std::exchange(other.descriptor_, -1);
    direct_ = std::exchange(other.direct_, -1);
    path_ = std::move(other.path_);
  }
  return *this;
}

File::~File() {
  close();
}

// What close(2) reports is of no use: what must last was flushed before, and even after EINTR the
// descriptor is gone.
void File::close() noexcept {
  if (descriptor_ >= 0) ::close(std::exchange(descriptor_, -1));
  if (direct_ >= 0) ::close(std::exchange(direct_, -1));
}

// O_NONBLOCK lets the opening of a named pipe return, so that it can be refused; it means nothing
// to the regular files that pass.
std::optional<File> File::try_open(const std::filesystem::path& path, int flags) {
  File file(-1, path);  // First: copying the path may fail, and would leave a descriptor behind.
  file.descriptor_ = retry_interrupted(
      [&] { return ::open(path.c_str(), flags | O_CLOEXEC | O_NONBLOCK | O_NOCTTY, kFileMode); });
  if (!file.is_open()) {
    if (means_absent(errno) && (flags & O_CREAT) == 0) return std::nullopt;
    fail(errno, (flags & O_CREAT) != 0 ? "cannot create" : "cannot open", path);
  }
  const struct stat status = stat_of(file);
  if (!S_ISREG(status.st_mode)) {
    throw Error(ErrorCode::kIo,
                "cannot open " + std::string(name_of_kind(status.st_mode)) +
                    " where a regular file is needed",
                {.path = path});
  }
  return file;
}

File File::open(const std::filesystem::path& path, Access access) {
  auto file = open_if_exists(path, access);
  if (!file) {
    throw Error(ErrorCode::kNotFound, "there is no such file",
                {.path = path, .system_errno = ENOENT});
  }
  return *std::move(file);
}

std::optional<File> File::open_if_exists(const std::filesystem::path& path, Access access) {
  return try_open(path, access == Access::kRead ? O_RDONLY : O_RDWR);
}

File File::create(const std::filesystem::path& path) {
  return *try_open(path, O_RDWR | O_CREAT | O_TRUNC);
}

File File::create_new(const std::filesystem::path& path) {
  return *try_open(path, O_RDWR | O_CREAT | O_EXCL);
}

File File::open_or_create(const std::filesystem::path& path) {
  return *try_open(path, O_RDWR | O_CREAT);
}

std::uint64_t File::bytes() const {
  return static_cast<std::uint64_t>(stat_of(*this).st_size);
}

std::uint64_t File::allocated_bytes() const {
  return static_cast<std::uint64_t>(stat_of(*this).st_blocks) * 512;  // Of 512 bytes: stat(2).
}

FileId File::id() const {
  const struct stat status = stat_of(*this);
  return {.device = status.st_dev, .inode = status.st_ino};
}

std::size_t File::read_some(std::uint64_t offset, std::span<std::byte> out) const {
  std::size_t done = 0;
  while (done < out.size()) {
    const std::size_t piece = std::min<std::size_t>(out.size() - done, kMaxPieceBytes);
    const ssize_t got = retry_interrupted([&] {
      return ::pread(descriptor_, out.data() + done, piece, static_cast<off_t>(offset + done));
    });
    if (got < 0) fail(errno, "cannot read", path_, offset + done);
    if (got == 0) break;
    done += static_cast<std::size_t>(got);
  }
  return done;
}

void File::read_exactly(std::uint64_t offset, std::span<std::byte> out) const {
  const std::size_t got = read_some(offset, out);
  if (got == out.size()) return;
  throw Error(ErrorCode::kTruncated,
              "the file ends after " + std::to_string(got) + " of " + std::to_string(out.size()) +
                  " bytes to read",
              {.path = path_, .offset = offset});
}

void File::write(std::uint64_t offset, std::span<const std::byte> bytes) const {
  std::size_t done = 0;
  while (done < bytes.size()) {
    const std::size_t piece = std::min<std::size_t>(bytes.size() - done, kMaxPieceBytes);
    const ssize_t put = retry_interrupted([&] {
      return ::pwrite(descriptor_, bytes.data() + done, piece, static_cast<off_t>(offset + done));
    });
    // No file system takes nothing without an error; if one did, this would never end.
    if (put <= 0) fail(put < 0 ? errno : EIO, "cannot write", path_, offset + done);
    done += static_cast<std::size_t>(put);
  }
}

// Not repeated even after EINTR: a second call may succeed because the first one took note of the
// error and cleared it. No local file system interrupts a flush.
void File::sync() const {
  if (::fdatasync(descriptor_) != 0) fail_to_flush(errno, "cannot flush", path_);
}

void File::sync_all() const {
  if (::fsync(descriptor_) != 0) fail_to_flush(errno, "cannot flush", path_);
}

void File::resize(std::uint64_t bytes) const {
  const int result =
      retry_interrupted([&] { return ::ftruncate(descriptor_, static_cast<off_t>(bytes)); });
  if (result == 0) return;
  const int system_errno = errno;
  fail(system_errno, "cannot change the size to " + std::to_string(bytes) + " bytes", path_);
}

bool File::reserve(std::uint64_t offset, std::uint64_t bytes) const {
  return allocate(*this, FALLOC_FL_KEEP_SIZE, offset, bytes, "cannot reserve space");
}

bool File::punch(std::uint64_t offset, std::uint64_t bytes) const {
  return allocate(*this, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, offset, bytes,
                  "cannot give space back");
}

void File::drop_cached(std::uint64_t offset, std::uint64_t bytes) const noexcept {
  static_cast<void>(::posix_fadvise(descriptor_, static_cast<off_t>(offset),
                                    static_cast<off_t>(bytes), POSIX_FADV_DONTNEED));
}

}  // namespace cairn::io
